"""Latency as the gateway reports it, beside what a publisher and a viewer measure: slo.py

A native publisher sends 1024 frames of 12.5 kB, 50 a second, and keeps when; a viewer keeps when it had them. Then
p50, p95, p99 and max of both are compared: they may differ by 2 ms, which is what the two ways through the loopback and
the rounding to milliseconds may take.
"""

import os
import subprocess
import sys

import rig

gateway = rig.Gateway()
environment = dict(os.environ, MOQGATE_PROBE="{moq},{http}".format(**gateway.address))
command = ["cargo", "test", "-q", "--release", "-p", "moqgate-moq", "--test", "it", "--"]
command += ["latency::the_gateway", "--ignored", "--nocapture"]
sys.exit(subprocess.run(command, cwd=rig.ROOT, env=environment).returncode)
