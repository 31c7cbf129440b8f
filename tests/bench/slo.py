"""Latency as the gateway reports it, beside what a publisher and a viewer outside measure: slo.py [moq] [rtmp]

Both need cargo build --release; MOQGATE_BINARY names another program. A publisher keeps when it sent each frame, 50 a
second for about 20 s, and a viewer when it had it. Then p50, p95, p99 and max of both are compared: they may differ by
2 ms, which is what the two ways through the loopback and the rounding to milliseconds may take. Over MoQ both are a test
of gateways/moq; over RTMP they are here, the publisher in a process of its own. Over SRT there is nothing to compare: its
buffers at both ends, and the pace of its player, are part of what an outside sees.

A virtual machine is not always given its processors. A frame that lies in a socket meanwhile is late outside only, and
says nothing of either side. So a watch on each processor looks for such gaps, and frames whose flight falls into one are
left out, counted, and printed. All run at real-time priority where that is allowed.
"""

import hashlib
import json
import multiprocessing
import os
import pathlib
import random
import socket
import struct
import subprocess
import sys
import time

import rig

FRAMES = 1000  # fewer than the samples that the gateway keeps
RATE = 50
TOLERANCE_MS = 2.0
NAP, GAP = 0.0005, 0.0005  # seconds; a gap is longer than the nap by that


def amf(value):
    if isinstance(value, str):
        return b"\x02" + struct.pack(">H", len(value)) + value.encode()
    if isinstance(value, dict):
        fields = (amf(name)[1:] + amf(inner) for name, inner in value.items())
        return b"\x03" + b"".join(fields) + b"\x00\x00\x09"
    return b"\x05" if value is None else b"\x00" + struct.pack(">d", value)


class Rtmp:
    """As much of a client as it takes to publish or to play one stream."""

    def __init__(self, address, app):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", buffering=1 << 16)
        self.socket.sendall(b"\x03" + bytes(8) + random.randbytes(1528))
        answer = self.file.read(1 + 2 * 1536)
        self.socket.sendall(answer[1:1537])
        self.chunk, self.streams = 128, {}
        self.send(1, 0, 0, struct.pack(">I", 1 << 20))
        self.command(0, "connect", 1, {"app": app, "tcUrl": f"rtmp://{address}/{app}"})
        self.until(b"_result")
        self.command(0, "createStream", 2, None)
        self.until(b"_result")

    def command(self, stream, *values):
        self.send(20, stream, 0, b"".join(map(amf, values)))

    def send(self, kind, stream, at, body):
        head = b"\x03" + at.to_bytes(3) + len(body).to_bytes(3) + bytes([kind]) + struct.pack("<I", stream)
        self.socket.sendall(head + body)

    def until(self, name):
        while True:
            kind, body = self.message()
            if b"_error" in body or b"NetStream.Play.Failed" in body or b"BadName" in body:
                sys.exit(f"refused: {body}")
            if kind == 20 and name in body:
                return

    def message(self):
        """The next message: its type and its body."""
        while True:
            first = self.file.read(1)
            if not first:
                sys.exit("the gateway hung up")
            form, number = first[0] >> 6, first[0] & 63
            if number < 2:
                number = 64 + int.from_bytes(self.file.read(number + 1), "little")
            known = self.streams.setdefault(number, {"body": b"", "long": False})
            head = self.file.read((11, 7, 3, 0)[form])
            if form < 3:
                known["long"] = head[:3] == b"\xff\xff\xff"
            if form < 2:
                known["length"], known["kind"] = int.from_bytes(head[3:6]), head[6]
            if known["long"]:
                self.file.read(4)
            part = min(self.chunk, known["length"] - len(known["body"]))
            known["body"] += self.file.read(part)
            if len(known["body"]) < known["length"]:
                continue
            kind, body = known["kind"], known["body"]
            known["body"] = b""
            if kind == 1:
                self.chunk = int.from_bytes(body)
            return kind, body


def video_tags(file):
    """Time in milliseconds and body of each."""
    data, at = file.read_bytes(), 13
    while at + 11 < len(data):
        size = int.from_bytes(data[at + 1 : at + 4])
        if data[at] == 9:
            yield int.from_bytes(data[at + 4 : at + 7]), data[at + 11 : at + 11 + size]
        at += 11 + size + 4


def is_picture(body):
    return len(body) > 64 and body[1] == 1


def name_of(body):
    """What no container touches: the end of the last slice."""
    return hashlib.sha256(body[-48:]).digest()


def publish(address, clip, sent):
    client = Rtmp(address, "live")
    client.command(1, "publish", 3, None, "probe", "live")
    client.until(b"NetStream.Publish.Start")
    begin = time.monotonic()
    for at, body in video_tags(clip):
        time.sleep(max(0, begin + at / 1000 - time.monotonic()))
        now = time.time_ns()
        client.send(9, 1, at, body)
        if is_picture(body):
            sent.put((name_of(body), now))
    sent.put(None)
    time.sleep(30)  # the report goes with the broadcast


def percentiles(flights):
    late = sorted((got - sent) / 1e6 for sent, got in flights)
    return [late[min(len(late) * percent // 100, len(late) - 1)] for percent in (50, 95, 99, 100)]


def reported(answer, transport):
    entries = answer["entries"]
    entry = next(entry for entry in entries if entry["transport"] == transport)
    return [entry[f"{name}_ms"] for name in ("p50", "p95", "p99", "max")]


def watch(cpu, gaps, stop):
    """Keeps when this processor did not come back from a nap of half a millisecond in time."""
    os.sched_setaffinity(0, {cpu})
    at_once(20)
    found, last = [], time.time_ns()
    while not stop.is_set():
        time.sleep(NAP)
        now = time.time_ns()
        if now - last > (NAP + GAP) * 1e9:
            found.append((last, now))
        last = now
    gaps.put(found)


def watched(probe, gateway):
    """What the probe says, and when the machine stood still meanwhile."""
    gaps, stop = multiprocessing.Queue(), multiprocessing.Event()
    cpus = os.sched_getaffinity(0)
    watches = [multiprocessing.Process(target=watch, args=(cpu, gaps, stop), daemon=True) for cpu in cpus]
    for process in watches:
        process.start()
    inside, flights = probe(gateway)
    stop.set()
    return inside, flights, [gap for _ in cpus for gap in gaps.get()]


def rtmp(gateway):
    clip = rig.scratch / "probe.flv"
    subprocess.run(
        ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-f", "lavfi"]
        + ["-i", f"testsrc2=size=640x360:rate={RATE},noise=alls=20:allf=t", "-frames:v", str(FRAMES + 2 * RATE)]
        + ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", str(RATE), "-pix_fmt", "yuv420p"]
        + ["-b:v", "2500k", "-f", "flv", str(clip)],
        check=True,
    )
    sent = multiprocessing.Queue()
    publisher = multiprocessing.Process(target=publish, args=(gateway.address["rtmp"], clip, sent), daemon=True)
    publisher.start()
    rig.until("the broadcast", lambda: gateway.api("/api/v1/broadcasts")["broadcasts"])
    player = Rtmp(gateway.address["rtmp"], "live")
    player.command(1, "play", 4, None, "probe")
    player.until(b"NetStream.Play.Start")
    joined, got = time.time_ns(), {}
    while len(got) < FRAMES:
        kind, body = player.message()
        if kind == 9 and is_picture(body):
            got[name_of(body)] = time.time_ns()
    inside = reported(gateway.api("/api/v1/slo"), "rtmp")
    times = {}
    while (item := sent.get()) is not None:
        times[item[0]] = item[1]
    publisher.terminate()
    return inside, [(at, got[name]) for name, at in times.items() if name in got and at > joined]


def moq(gateway):
    environment = dict(os.environ, MOQGATE_PROBE="{moq},{http}".format(**gateway.address))
    command = ["cargo", "test", "-q", "--release", "-p", "moqgate-moq", "--test", "it", "--"]
    command += ["latency::the_gateway", "--ignored", "--nocapture"]
    if built := os.environ.get("MOQGATE_PROBE_TEST"):
        command = [pathlib.Path(built), *command[command.index("--") + 1 :]]
    ran = subprocess.run(command, cwd=rig.ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    lines = [line.split(" ", 1) for line in ran.stdout.splitlines() if " " in line]
    flights = [tuple(map(int, rest.split())) for name, rest in lines if name == "flight"]
    return reported(json.loads(next(rest for name, rest in lines if name == "inside")), "moq"), flights


def agree(name, inside, flights, gaps):
    kept = [(sent, got) for sent, got in flights if not any(sent < end and got > begin for begin, end in gaps)]
    held = sum(end - begin for begin, end in gaps) / 1e6
    outside, all_of_them = ([round(late, 2) for late in percentiles(some)] for some in (kept, flights))
    print(f"{name}: p50, p95, p99, max: {inside} ms inside, {outside} ms outside; {len(kept)} frames,")
    print(f"  with {len(flights) - len(kept)} more in {len(gaps)} gaps of {held:.0f} ms: {all_of_them} ms")
    return all(abs(a - b) <= TOLERANCE_MS for a, b in zip(inside, percentiles(kept)))


def at_once(priority):
    """Has this process and all that it starts run before whatever else the machine does."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        print("without real-time priority: the longest may be the scheduler's")


def main():
    at_once(10)
    wanted = sys.argv[1:] or ["moq", "rtmp"]
    good = [agree(probe.__name__, *watched(probe, rig.Gateway())) for probe in (moq, rtmp) if probe.__name__ in wanted]
    sys.exit(0 if all(good) else "they differ by more than 2 ms")


if __name__ == "__main__":
    main()
