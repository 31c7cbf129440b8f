#!/usr/bin/env python3
"""Ten thousand connections to the RTMP port that say nothing, beside a publisher: how many are held, for how long, in how much memory.

usage: tests/bench/rtmp_idle.py [CONNECTIONS]     (10000; needs cargo build --release and
                                                   cargo build --release -p moqgate-rtmp --example load)

They come from a hundred loopback addresses, so that the limit of all pending connections is reached and not that of one place.
"""

import os
import pathlib
import re
import resource
import socket
import sys
import time

import rig
import rtmp_load

ADDRESSES = 100


def connect(number, port):
    idle = socket.socket()
    idle.bind((f"127.0.1.{1 + number % ADDRESSES}", 0))
    idle.settimeout(5)
    try:
        idle.connect(("127.0.0.1", port))
    except OSError:
        idle.close()
        return None
    idle.setblocking(False)
    return idle


def is_open(idle):
    try:
        return idle.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10000
    limit = min(count + 1000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    gateway = rig.Gateway("--retention-age", "1s")
    clip = rtmp_load.make_flv(rig.scratch / "clip.flv")
    binary = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or rig.ROOT / "target") / "release/examples/load"
    load = rig.start(binary, gateway.address["rtmp"], clip, 1, 40, log="load.log")
    rig.until("the publisher", lambda: "publishing" in (rig.scratch / "load.log").read_text())
    time.sleep(8)
    before, port = rig.resident_mib(gateway.process), int(gateway.address["rtmp"].rsplit(":", 1)[1])
    began = time.monotonic()
    idle = [found for found in (connect(number, port) for number in range(count)) if found]
    took = time.monotonic() - began
    time.sleep(0.5)
    held, during = sum(map(is_open, idle)), rig.resident_mib(gateway.process)
    print(f"{len(idle)} connected within {took:.1f} s, {held} held; {(during - before) * 1024 / max(held, 1):.1f} KiB each", flush=True)
    rig.until("all of them to be cut off", lambda: not any(map(is_open, idle)), limit=60)
    print(f"all cut off after {time.monotonic() - began:.1f} s; {rig.resident_mib(gateway.process) - before:+.1f} MiB")
    load.wait()
    print(f"the publisher: {(rig.scratch / 'load.log').read_text().splitlines()[-1]}")
    reasons = re.findall(r'moqgate_rtmp_(?:turned_away|failed)_total\{[^}]*\} [1-9]\d*', metrics(gateway))
    print("\n".join(reasons))


def metrics(gateway):
    with rig.urllib.request.urlopen(f"http://{gateway.address['http']}/metrics", timeout=10) as answer:
        return answer.read().decode()


if __name__ == "__main__":
    main()
