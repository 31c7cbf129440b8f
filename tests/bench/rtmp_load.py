#!/usr/bin/env python3
"""What RTMP publishers cost: processor time and memory of moqgate, and of nginx with its RTMP module beside it.

usage: tests/bench/rtmp_load.py [PUBLISHERS [SECONDS]]     (100 30; needs cargo build --release and
                                                            cargo build --release -p moqgate-rtmp --example load)

All publishers are one process (gateways/rtmp/examples/load.rs), which is measured apart. Every program gets the same load, one
after the other; NGINX=/usr/sbin/nginx and NGINX_RTMP=/usr/lib/nginx/modules/ngx_rtmp_module.so (Debian: libnginx-mod-rtmp) name the
peer, which is left out where it is missing. Memory is what the process has grown by per publisher, media included: moqgate keeps
--retention-age of it, 1 s here, and always the newest group of a track.
"""

import os
import pathlib
import re
import subprocess
import sys
import time

import rig

NGINX = pathlib.Path(os.environ.get("NGINX", "/usr/sbin/nginx"))
MODULE = pathlib.Path(os.environ.get("NGINX_RTMP", "/usr/lib/nginx/modules/ngx_rtmp_module.so"))
WARM_UP = 6  # seconds: until each publisher has been through two groups


def make_flv(path):
    """H.264 without B-frames and AAC at 600 kbit/s together, 30 pictures a second, a keyframe every 2 s."""
    subprocess.run(
        ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
        + ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30,noise=alls=10:allf=t"]
        + ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100", "-t", "10"]
        + ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-bf", "0", "-g", "60", "-pix_fmt", "yuv420p"]
        + ["-b:v", "520k", "-maxrate", "520k", "-bufsize", "260k", "-c:a", "aac", "-b:a", "64k", "-f", "flv", str(path)],
        check=True,
    )
    return path


def nginx():
    port = rig.free_port()
    home = rig.scratch / "nginx"
    (home / "logs").mkdir(parents=True)
    config = home / "nginx.conf"
    config.write_text(
        f"load_module {MODULE};\nworker_processes 1;\nuser root;\ndaemon off;\nmaster_process off;\npid {home}/pid;\nerror_log {home}/logs/error.log;\n"
        "worker_rlimit_nofile 20000;\nevents {{ worker_connections 10000; }}\n".replace("{{", "{").replace("}}", "}")
        + f"rtmp {{ server {{ listen 127.0.0.1:{port}; chunk_size 4096; access_log off; application live {{ live on; }} }} }}\n"
    )
    process = rig.start(NGINX, "-p", home, "-c", config, log="nginx.log")
    rig.until("nginx", lambda: reachable(port))
    return process, f"127.0.0.1:{port}"


def reachable(port):
    with rig.socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def threads(process, file):
    return [(task / file).read_text() for task in pathlib.Path(f"/proc/{process.pid}/task").iterdir()]


def switches(process):
    return sum(int(number) for text in threads(process, "status") for number in re.findall(r"ctxt_switches:\s+(\d+)", text))


def cpu_seconds(process):
    """As the scheduler counts it: work of microseconds falls between the ticks that make /proc/PID/stat."""
    return sum(int(text.split()[0]) for text in threads(process, "schedstat")) / 1e9


def measure(name, process, address, clip, count, seconds):
    empty = rig.resident_mib(process)
    log = f"load-{name}.log"
    binary = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or rig.ROOT / "target") / "release/examples/load"
    load = rig.start(binary, address, clip, count, seconds + WARM_UP + 2, log=log)
    said = lambda: (rig.scratch / log).read_text()
    line = rig.until("the publishers", lambda: re.search(r"(?m)^publishing .*$", said()) or load.poll(), limit=120)
    if not hasattr(line, "group"):
        sys.exit(f"the load ended: {said()}")
    time.sleep(WARM_UP)
    before, began, load_before, switched = cpu_seconds(process), time.monotonic(), cpu_seconds(load), switches(process)
    time.sleep(seconds)
    took = time.monotonic() - began
    share = (cpu_seconds(process) - before) / took * 100
    generator = (cpu_seconds(load) - load_before) / took * 100
    switched = (switches(process) - switched) / took
    grown = rig.resident_mib(process) - empty
    load.wait()
    print(
        f"{name:8} {line[0]}: {share:6.2f} % of a core, {share / count:.4f} % each, {100 / (share / count):5.0f} per core; "
        f"{grown / count * 1024:5.0f} KiB each; {switched:.0f} switches/s; load itself {generator:.1f} %"
    )
    print(f"         {said().splitlines()[-1]}", flush=True)
    return share


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    clip = make_flv(rig.scratch / "clip.flv")
    gateway = rig.Gateway("--retention-age", "1s")
    ours = measure("moqgate", gateway.process, gateway.address["rtmp"], clip, count, seconds)
    if not (NGINX.exists() and MODULE.exists()):
        print("no nginx with its RTMP module: nothing to compare with")
        return
    process, address = nginx()
    peer = measure("nginx", process, address, clip, count, seconds)
    print(f"ratio: {ours / peer:.2f}")


if __name__ == "__main__":
    main()
