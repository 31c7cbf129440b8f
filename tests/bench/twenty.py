#!/usr/bin/env python3
"""Twenty encoders at 5 Mbit/s at once for a minute: is anything lost, what does it cost, how late is a frame.

usage: tests/bench/twenty.py [ENCODERS [SECONDS]]     (20 60; needs cargo build --release)

Every encoder sends the same clip a whole number of times, so that the frames the gateway must have been charged are known
from the clip's manifest (tools/ts_manifest.py). One released `moq` watches one of the streams, so that there is a hand-over
to QUIC to time; the times are the gateway's own, `GET /api/v1/slo`.
"""

import json
import subprocess
import sys
import time

import rig

CLIP_SECONDS = 10
VIDEO_KBITS = 4750


def main():
    encoders = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    loops = max(1, seconds // CLIP_SECONDS)
    clip = rig.make_clip(rig.scratch / "clip.ts", CLIP_SECONDS, "1280x720", VIDEO_KBITS)
    print(f"{encoders} encoders, {clip.stat().st_size * 8 / CLIP_SECONDS / 1e6:.2f} Mbit/s each, {loops * CLIP_SECONDS} s")
    # The bytes of the clip as the encoders send them: ffmpeg repeats it with running timestamps.
    sent = rig.scratch / "sent.ts"
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-stream_loop", str(loops - 1), "-i", str(clip)]
    subprocess.run(command + ["-map", "0", "-c", "copy", "-f", "mpegts", str(sent)], check=True)
    listed = subprocess.run([sys.executable, rig.ROOT / "tools/ts_manifest.py", sent], check=True, capture_output=True)
    tracks = json.loads(listed.stdout)["tracks"]
    units = sum(len(track["units"]) for track in tracks)
    media = sum(unit[1] for track in tracks for unit in track["units"])

    gateway = rig.Gateway()
    paths = [f"live/cam{number}" for number in range(encoders)]
    watcher = rig.TOOLS / "peers-release/bin/moq"
    if not watcher.exists():
        watcher = rig.TOOLS / "peers/bin/moq"
    url = f"http://{gateway.address['moq']}/"
    rig.start(watcher, "--connect", url, "--connect-websocket-enabled=false", "--broadcast", paths[0], "export", "ts")
    began, cpu = time.monotonic(), rig.cpu_seconds(gateway.process)
    pushes = [rig.push(clip, gateway.srt_url(path, "&latency=200000"), loops - 1) for path in paths]
    links, slo = {}, []
    while any(push.poll() is None for push in pushes):
        time.sleep(1)
        for session in gateway.api("/api/v1/sessions")["sessions"]:
            if session["protocol"] == "srt":
                links[session["path"]] = session.get("link", {})
        slo = gateway.api("/api/v1/slo")["entries"] or slo
    share = (rig.cpu_seconds(gateway.process) - cpu) / (time.monotonic() - began) * 100
    rig.until("all broadcasts to end", lambda: not gateway.api("/api/v1/broadcasts")["broadcasts"])

    print(f"moqgate: {share:.1f} % of a core, {rig.resident_mib(gateway.process):.1f} MiB resident")
    lost = 0
    for path in paths:
        got = gateway.ingress(path) or {"frames": 0, "bytes": 0}
        # The catalog is charged too; the media alone is known. Fewer frames than units is a loss.
        missing = max(0, units - got["frames"])
        lost += missing
        if missing or got["bytes"] < media:
            print(f"  {path}: {got['frames']} frames of {units}, {got['bytes']} bytes of {media}; link {links.get(path)}")
    print(f"lost: {lost} of {units * encoders} access units")
    print(f"link of {paths[0]}: {links.get(paths[0])}")
    print(f"latency from arrival to hand-over: {json.dumps(slo)}")
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
