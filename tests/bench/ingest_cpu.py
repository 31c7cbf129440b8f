#!/usr/bin/env python3
"""Processor time of SRT ingest: moqgate and the released `moq import srt`, side by side in one run.

usage: tests/bench/ingest_cpu.py [SECONDS]     (60; needs cargo build --release and a release build of moq-cli in
                                                peers-release/bin of the tools folder)

Both get the same clip from an ffmpeg of their own at the same time, both serve MoQ, nobody watches. What is reported is
user and system time from /proc in percent of one core, per half of the run, so that a drift shows.
"""

import sys

import rig

VIDEO_KBITS = 4150  # and sound and TS: 4.3 Mbit/s together, minus what the multiplexer leaves out


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    clip = rig.make_clip(rig.scratch / "clip.ts", 10, "1280x720", VIDEO_KBITS)
    rate = clip.stat().st_size * 8 / 10 / 1e6

    gateway = rig.Gateway()
    moq_port, srt_port = rig.free_port(), rig.free_port()
    peer = rig.start(
        *[rig.TOOLS / "peers-release/bin/moq", "--listen", f"127.0.0.1:{moq_port}", "--listen-tls-generate", "localhost"],
        *["--auth-public", "**", "--broadcast", "live/cam0", "import", "srt", "--listen", f"127.0.0.1:{srt_port}", "--latency", "120ms"],
        log="peer.log",
    )
    rig.push(clip, gateway.srt_url("live/cam0"))
    rig.until("the gateway's stream", lambda: (gateway.ingress("live/cam0") or {}).get("frames", 0) > 100)
    idle = rig.cpu_seconds(peer)
    peer_push = rig.push(clip, f"srt://127.0.0.1:{srt_port}?streamid=live/cam0")
    rig.until("the peer's stream", lambda: rig.cpu_seconds(peer) > idle + 0.05)
    measured = {"moqgate": gateway.process, "moq import srt": peer}
    print(f"{rate:.2f} Mbit/s, {seconds} s, no viewer")
    before_bytes = gateway.ingress("live/cam0")["bytes"]
    for half in (1, 2):
        before = {name: rig.cpu_seconds(process) for name, process in measured.items()}
        rig.time.sleep(seconds / 2)
        for name, process in measured.items():
            share = (rig.cpu_seconds(process) - before[name]) / (seconds / 2) * 100
            print(f"  half {half}  {name:15} {share:5.2f} % of a core, {rig.resident_mib(process):5.1f} MiB resident")
    got = (gateway.ingress("live/cam0")["bytes"] - before_bytes) * 8 / seconds / 1e6
    print(f"  moqgate was charged {got:.2f} Mbit/s of payload")
    if peer_push.poll() is not None:
        sys.exit("the peer dropped its encoder: its figures are void")


if __name__ == "__main__":
    main()
