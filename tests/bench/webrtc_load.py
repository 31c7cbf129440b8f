#!/usr/bin/env python3
"""What WHIP publishers and WHEP viewers cost: processor time and memory of moqgate, and what viewers lose.

usage: tests/bench/webrtc_load.py [SECONDS [PUBLISHERS VIEWERS]...]
       (20, then 50 publishers alone, 1 with 200 viewers, 50 with 200; needs cargo build --release and
        cargo build --release -p moqgate-webrtc --example webrtc_load)

All peers are one process (gateways/webrtc/examples/webrtc_load.rs), which is measured apart: when its pictures leave late, it is the load
that is at its end and not the gateway. Each run has a gateway of its own. A viewer's share is what a run with viewers takes more than
its publishers alone would, of which the first run tells the price. Memory is what the process has grown by, media included: it
keeps --retention-age of it, 1 s here, and always the newest group of a track.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import time

import rig
from rtmp_load import cpu_seconds, switches

WARM_UP = 6  # seconds: until each publisher has been through two groups


def make_pictures(path):
    """H.264 without B-frames at 530 kbit/s, 30 pictures a second, a keyframe every 2 s, a delimiter before each picture."""
    subprocess.run(
        ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
        + ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30,noise=alls=10:allf=t", "-t", "10"]
        + ["-c:v", "libx264", "-profile:v", "baseline", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "60"]
        + ["-pix_fmt", "yuv420p", "-b:v", "530k", "-maxrate", "530k", "-bufsize", "265k", "-x264-params", "aud=1:sliced-threads=0"]
        + ["-f", "h264", str(path)],
        check=True,
    )
    return path


def load_binary():
    binary = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or rig.ROOT / "target") / "release/examples/webrtc_load"
    if not binary.exists():
        sys.exit("build it first: cargo build --release -p moqgate-webrtc --example webrtc_load")
    return binary


def gateway():
    return rig.Gateway(
        "--retention-age", "1s", *os.environ.get("MOQGATE_ARGUMENTS", "").split()
    )


def start(gateway, clip, publishers, viewers, seconds):
    """The load, once all of its peers are connected, and what it says."""
    log = f"load-{publishers}-{viewers}.log"
    load = rig.start(load_binary(), gateway.address["http"], clip, publishers, viewers, seconds, log=log)
    said = lambda: (rig.scratch / log).read_text()
    connected = rig.until("the peers", lambda: re.search(r"(?m)^connected .*$", said()) or load.poll() is not None, limit=300)
    if connected is True:
        sys.exit(f"the load ended: {said()}")
    return load, said


def measure(clip, publishers, viewers, seconds):
    ours = gateway()
    empty = rig.resident_mib(ours.process)
    load, said = start(ours, clip, publishers, viewers, seconds + WARM_UP)
    time.sleep(WARM_UP)
    before, began = cpu_seconds(ours.process), time.monotonic()
    load_before, switched = cpu_seconds(load), switches(ours.process)
    time.sleep(seconds - 1)
    took = time.monotonic() - began
    share = (cpu_seconds(ours.process) - before) / took * 100
    generator = (cpu_seconds(load) - load_before) / took * 100
    switched = (switches(ours.process) - switched) / took
    grown = rig.resident_mib(ours.process) - empty
    load.wait()
    report = json.loads(said().splitlines()[-1])
    ours.process.kill()
    print(
        f"{publishers:4} publishers {viewers:4} viewers: {share:6.2f} % of a core, {grown:6.1f} MiB more, {switched:.0f} switches/s; "
        f"load itself {generator:.1f} %, late by {report['late_us'] / 1e3:.1f} ms on average and {report['latest_us'] / 1e3:.0f} ms "
        f"at most; sent {report['sent']}, received {report['received']} packets, {report['received_frames']} frames, "
        f"lost {report['lost']}; {report['ended']} cut off",
        flush=True,
    )
    return share, grown


def main():
    numbers = [int(word) for word in sys.argv[1:]] or [20]
    seconds, runs = numbers[0], list(zip(numbers[1::2], numbers[2::2])) or [(50, 0), (1, 200), (50, 200)]
    clip = make_pictures(rig.scratch / "clip.h264")
    publisher = memory = 0.0
    for publishers, viewers in runs:
        share, grown = measure(clip, publishers, viewers, seconds)
        if not viewers:
            publisher, memory = share / publishers, grown / publishers
            print(f"     a publisher: {publisher:.4f} %, {100 / publisher:.0f} per core, {memory * 1024:.0f} KiB", flush=True)
            continue
        viewer, more = (share - publisher * publishers) / viewers, (grown - memory * publishers) / viewers
        print(f"     a viewer: {viewer:.4f} %, {100 / viewer:.0f} per core, {more * 1024:.0f} KiB", flush=True)


if __name__ == "__main__":
    main()
