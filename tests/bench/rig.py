"""What the benchmark scripts share: processes that end with the script, processor time, and the gateway's API."""

import atexit
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TOOLS = pathlib.Path(
    os.environ.get("MOQGATE_TOOLS")
    or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "moqgate"
)
TICKS = os.sysconf("SC_CLK_TCK")
scratch = pathlib.Path(tempfile.mkdtemp(prefix="moqgate-bench-"))
running = []


@atexit.register
def end():
    for process in running:
        process.kill()
    for process in running:
        process.wait()
    shutil.rmtree(scratch, ignore_errors=True)


def start(*command, log=None):
    output = open(scratch / log, "wb") if log else subprocess.DEVNULL
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    running.append(process)
    return process


def until(what, probe, limit=30):
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        value = probe()
        if value:
            return value
        time.sleep(0.05)
    sys.exit(f"{what}: not within {limit} s")


def free_port():
    """A port that is free for UDP and TCP now."""
    while True:
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            try:
                tcp.bind(udp.getsockname())
                return udp.getsockname()[1]
            except OSError:
                continue


def cpu_seconds(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def make_clip(path, seconds, size, video_kbits, audio_kbits=128):
    """H.264 with B-frames and AAC at a constant rate, as an encoder in the field sends it."""
    subprocess.run(
        ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
        + ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate=30,noise=alls=20:allf=t"]
        + ["-itsoffset", "0.05", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", str(seconds)]
        + ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "60", "-pix_fmt", "yuv420p"]
        + ["-b:v", f"{video_kbits}k", "-minrate", f"{video_kbits}k", "-maxrate", f"{video_kbits}k"]
        + ["-bufsize", f"{video_kbits // 2}k", "-x264-params", "nal-hrd=cbr"]
        + ["-c:a", "aac", "-b:a", f"{audio_kbits}k", "-ac", "2", "-f", "mpegts", str(path)],
        check=True,
    )
    return path


def push(clip, url, loops=-1):
    return start(
        *["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-re", "-stream_loop", loops, "-i", clip],
        *["-map", "0", "-c", "copy", "-f", "mpegts", url],
        log="push.log",
    )


class Gateway:
    def __init__(self, *arguments):
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
        binary = pathlib.Path(os.environ.get("MOQGATE_BINARY") or target / "release/moqgate")
        if not binary.exists():
            sys.exit("build it first: cargo build --release")
        names = ("moq", "srt", "rtmp", "webrtc", "http")
        listen = [word for name in names for word in (f"--{name}-listen", "127.0.0.1:0")]
        self.process = start(binary, *listen, *arguments, log="moqgate.log")
        log = scratch / "moqgate.log"
        line = until("the ready line", lambda: re.search(r"(?m)^ready .*$", log.read_text()))[0]
        self.address = dict(word.split("=", 1) for word in line.split()[1:])

    def api(self, path):
        with urllib.request.urlopen(f"http://{self.address['http']}{path}", timeout=10) as answer:
            return json.load(answer)

    def ingress(self, path):
        rows = self.api("/api/v1/usage")["usage"]
        return next((row["ingress"] for row in rows if row["path"] == path and row["protocol"] == "srt"), None)

    def srt_url(self, path, more=""):
        return f"srt://{self.address['srt']}?linger=10&streamid=#!::r={path},m=publish{more}"
