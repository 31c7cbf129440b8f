#!/usr/bin/env python3
"""A random world: publishers and viewers come, go and are killed, moqgate itself is killed and restarted, and the ledger is
compared with books that know nothing of moqgate.

usage: tests/bench/world.py [--seconds 40] [--seed 1] [--interval 2] [--binary PATH]

The books are kept here: of a publisher, the access units of its clip (tools/ts_manifest.py) that its ffmpeg says it has sent;
of a viewer, the access units in what it wrote down. Of those the ledger must say:

  finished   a publisher that sent all of its clip and left, and a viewer that stayed until the end: exactly that
  pulled     of a native MoQ publisher no more is asked for than somebody watches: no less than its viewers got
  killed     a client that was killed, or whose moqgate was: at most what was sent, and at least what was sent one interval earlier
  never      more than was sent: nothing is counted twice

What the numbers of moqgate hold beside the media (the catalog) is measured once per protocol, before the world begins, and is
the same for every session after that. Now and then another process holds the database for five seconds, as a backup or a
stalled disk does: that costs no frame. With --seconds 600 it is the long run; the short one is a test.
"""

import argparse
import json
import pathlib
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import rig

# Between what a client sent and what moqgate accepted: the latency of SRT, the start of a player, a busy machine.
SLACK_SECONDS = 2.0
LATENCY_MICROS = 1_000_000
# A varint of a time stamp between 16 ms and 17 minutes.
STAMP_BYTES = 4
PUBLISHERS_MAX = 4
STALL_SECONDS = 5
# Sound that lies long before the first picture of a player is taken out of the model for it, and not sent (docs/USAGE.md).
LEAD_MAX = 10
GROUP_PICTURES, GROUP_SOUND_MAX = 30, 60
VIEWERS_MAX = 6


def manifest(path):
    listed = subprocess.run([sys.executable, rig.ROOT / "tools/ts_manifest.py", path], check=True, capture_output=True)
    tracks = json.loads(listed.stdout)["tracks"]
    return {track["codec"]: track["units"] for track in tracks}


def flv_units(path):
    """Sizes of the access units in an FLV file, by codec, as moqgate counts them: Annex-B, which is as long as AVCC."""
    data, at, sizes = path.read_bytes(), 13, {"h264": [], "aac": []}
    while at + 11 <= len(data):
        kind, size = data[at], int.from_bytes(data[at + 1 : at + 4], "big")
        body = data[at + 11 : at + 11 + size]
        if kind == 9 and len(body) > 5 and body[1] == 1:
            sizes["h264"].append(len(body) - 5)
        elif kind == 8 and len(body) > 2 and body[1] == 1:
            sizes["aac"].append(len(body) - 2)
        at += 11 + size + 4
    return sizes


class Clip:
    def __init__(self, loops):
        self.path = rig.scratch / f"clip{loops}.ts"
        source = rig.ROOT / "fixtures/plain.ts"
        command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-stream_loop", str(loops - 1), "-i", str(source)]
        subprocess.run(command + ["-map", "0", "-c", "copy", "-f", "mpegts", str(self.path)], check=True)
        self.units = manifest(self.path)
        self.frames = sum(len(units) for units in self.units.values())
        self.bytes = sum(unit[1] + STAMP_BYTES for units in self.units.values() for unit in units)
        self.start = min(units[0][0] for units in self.units.values())

    def frames_until(self, seconds):
        return sum(1 for units in self.units.values() for unit in units if unit[0] - self.start <= seconds * 90000)

    def tail_bytes(self, counts):
        return sum(unit[1] + STAMP_BYTES for codec, n in counts.items() for unit in self.units[codec][len(self.units[codec]) - n :])


class Publisher:
    def __init__(self, gateway, number, protocol, clip):
        self.path, self.protocol, self.clip, self.fate = f"live/{number}", protocol, clip, None
        self.progress = rig.scratch / f"progress{number}"
        command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-stats_period", "0.1", "-progress", self.progress]
        command += ["-re", "-i", clip.path, "-map", "0", "-c", "copy"]
        if protocol == "srt":
            command += ["-f", "mpegts", gateway.srt_url(self.path, f"&latency={LATENCY_MICROS}")]
        else:
            command += ["-f", "flv", f"rtmp://{gateway.address['rtmp']}/{self.path}"]
        self.process = rig.start(*command, log=f"publisher{number}.log")

    def kill(self):
        self.process.kill()

    def sent_seconds(self):
        if not self.progress.exists():
            return 0.0
        stamps = re.findall(r"out_time_us=(-?\d+)", self.progress.read_text())
        return max(0, int(stamps[-1])) / 1e6 if stamps else 0.0

    def end(self, fate):
        self.fate, self.until = fate, self.sent_seconds()
        self.kill()
        self.process.wait()


class NativePublisher(Publisher):
    """The released client, which is fed by ffmpeg."""

    def __init__(self, gateway, number, clip):
        self.path, self.protocol, self.clip, self.fate = f"live/{number}", "moq", clip, None
        self.progress = rig.scratch / f"progress{number}"
        command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-stats_period", "0.1", "-progress", self.progress]
        command += ["-re", "-i", clip.path, "-map", "0", "-c", "copy", "-f", "mpegts", "-"]
        self.feeder = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        url = f"http://{gateway.address['moq']}/"
        words = [str(MOQ), "--log-level", "error", "--connect", url, "--connect-websocket-enabled=false"]
        words += ["--broadcast", self.path, "import", "ts"]
        silent = subprocess.DEVNULL
        self.process = subprocess.Popen(words, stdin=self.feeder.stdout, stdout=silent, stderr=silent)
        self.feeder.stdout.close()
        rig.running += [self.feeder, self.process]

    def kill(self):
        self.process.kill()
        self.feeder.kill()


class Viewer:
    def __init__(self, gateway, number, protocol, publisher):
        self.protocol, self.publisher, self.fate = protocol, publisher, None
        self.path = publisher.path
        self.copy = rig.scratch / f"viewer{number}.{'flv' if protocol == 'rtmp' else 'ts'}"
        if protocol == "srt":
            url = f"srt://{gateway.address['srt']}?mode=caller&latency=1000&streamid=#!::r={self.path},m=request"
            command = ["srt-live-transmit", "-loglevel:fatal", "-a:no", url, "file://con"]
        elif protocol == "rtmp":
            url = f"rtmp://{gateway.address['rtmp']}/{self.path}"
            command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-i", url]
            command += ["-c", "copy", "-copyinkf", "-copypriorss", "1", "-f", "flv", "-"]
        else:
            url = f"http://{gateway.address['moq']}/"
            command = [MOQ, "--log-level", "error", "--connect", url, "--connect-websocket-enabled=false"]
            command += ["--broadcast", self.path, "export", "ts", "--max-age", "30s"]
        with open(self.copy, "wb") as output:
            words = [str(word) for word in command]
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL)
        rig.running.append(self.process)
        self.began = publisher.sent_seconds()

    def end(self, fate):
        self.fate, self.until = fate, self.publisher.sent_seconds()
        self.process.kill()
        self.process.wait()

    def received(self):
        """How many access units of each codec it got, and whether they are the last of the clip."""
        if self.protocol == "rtmp":
            return {codec: len(sizes) for codec, sizes in flv_units(self.copy).items()}
        data = self.copy.read_bytes()
        if not data:
            return {"h264": 0, "aac": 0}
        whole = rig.scratch / "whole.ts"
        whole.write_bytes(data[: len(data) // 188 * 188])
        return {codec: len(units) for codec, units in manifest(whole).items()}


MOQ = next((path for name in ("peers-release", "peers") if (path := rig.TOOLS / name / "bin/moq").exists()), None)


class Gateway(rig.Gateway):
    """moqgate on a data folder of its own, on the same ports after every start."""

    def __init__(self, binary, data, interval):
        self.binary, self.data, self.interval = binary, data, interval
        self.ports = {name: rig.free_port() for name in ("moq", "srt", "rtmp", "http")}
        self.starts, self.polls = 0, []
        self.start()

    def start(self):
        self.starts += 1
        listen = [word for name, port in self.ports.items() for word in (f"--{name}-listen", f"127.0.0.1:{port}")]
        more = ["--data-dir", self.data, "--usage-interval", f"{int(self.interval * 1000)}ms", "--retention-age", "60s"]
        log = f"moqgate{self.starts}.log"
        self.process = rig.start(self.binary, *listen, *more, "--srt-play-wait", "2s", log=log)
        self.log = rig.scratch / log
        line = rig.until("the ready line", lambda: re.search(r"(?m)^ready .*$", self.log.read_text()))[0]
        self.address = dict(word.split("=", 1) for word in line.split()[1:])

    def usage(self):
        rows = self.api("/api/v1/usage")["usage"]
        sides = ("ingress", "egress")
        return {(row["path"], row["protocol"], side): row[side] for row in rows for side in sides if row[side]["frames"]}

    def hold_database(self):
        """As a backup does that takes its time: no other writer gets in."""
        connection = sqlite3.connect(self.data / "moqgate.sqlite", isolation_level=None, timeout=10)
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(STALL_SECONDS)
        connection.execute("COMMIT")
        connection.close()

    def poll(self):
        self.polls.append((time.monotonic(), self.usage()))
        self.polls = self.polls[-200:]

    def ledger(self, by="path,protocol"):
        command = [str(self.binary), "usage", "report", "--data-dir", str(self.data), "--format", "json", "--by", by]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    def sums(self):
        return {(line["path"], line["protocol"], line["direction"]): line for line in self.ledger()}


class World:
    def __init__(self, gateway, seed):
        self.gateway, self.random = gateway, random.Random(seed)
        self.publishers, self.viewers, self.number = [], [], 0
        self.clips = [Clip(loops) for loops in (1, 2, 4)]
        self.beside, self.wrong, self.kills, self.stalls = {}, [], [], []

    def publish(self, protocol, clip):
        self.number += 1
        if protocol == "moq":
            publisher = NativePublisher(self.gateway, self.number, clip)
        else:
            publisher = Publisher(self.gateway, self.number, protocol, clip)
        self.publishers.append(publisher)
        return publisher

    def watch(self, publisher, protocol):
        self.number += 1
        viewer = Viewer(self.gateway, self.number, protocol, publisher)
        self.viewers.append(viewer)
        return viewer

    def live(self, clients):
        return [client for client in clients if client.fate is None]

    def reap(self):
        for client in self.live(self.publishers) + self.live(self.viewers):
            if client.process.poll() is not None:
                client.fate, client.until = "finished", client.sent_seconds() if isinstance(client, Publisher) else 0
                if client.process.returncode != 0 and isinstance(client, Publisher):
                    client.fate = "killed"

    def calibrate(self):
        """What a session is charged beside the media: one calm publisher of each protocol."""
        calm = [self.publish(protocol, self.clips[0]) for protocol in ("srt", "rtmp")]
        for publisher in calm:
            publisher.process.wait()
        self.settle()
        sums = self.gateway.sums()
        for publisher in calm:
            publisher.fate = "finished"
            line = sums[(publisher.path, publisher.protocol, "ingress")]
            frames, extra = line["frames"] - publisher.clip.frames, line["bytes"] - publisher.clip.bytes
            if not (1 <= frames <= 2 and 100 < extra < 2000):
                sys.exit(f"{publisher.protocol}: {frames} frames and {extra} bytes beside the media: is something lost?")
            self.beside[publisher.protocol] = (frames, extra)
        print(f"beside the media (frames, bytes): {self.beside}")

    def settle(self):
        rig.until("all sessions to end", lambda: not self.gateway.api("/api/v1/sessions")["sessions"])
        time.sleep(2 * self.gateway.interval)

    def step(self):
        self.reap()
        publishers, viewers = self.live(self.publishers), self.live(self.viewers)
        what = self.random.choices(["publish", "watch", "kill publisher", "kill viewer"], [40, 50, 3, 4])[0]
        if what == "publish" and len(publishers) < PUBLISHERS_MAX:
            self.publish(self.random.choice(["srt", "rtmp"] + ["moq"] * bool(MOQ)), self.random.choice(self.clips))
        elif what == "watch" and publishers and len(viewers) < VIEWERS_MAX:
            publisher = self.random.choice(publishers)
            taken = {viewer.protocol for viewer in self.viewers if viewer.publisher is publisher}
            free = [name for name in ("srt", "rtmp", "moq") if name not in taken and (name != "moq" or MOQ)]
            if free and publisher.sent_seconds() > 0.5:
                self.watch(publisher, self.random.choice(free))
        elif what == "kill publisher" and publishers:
            self.random.choice(publishers).end("killed")
        elif what == "kill viewer" and viewers:
            self.random.choice(viewers).end("killed")

    def kill_moqgate(self):
        self.reap()
        self.gateway.poll()
        before = self.gateway.polls
        self.gateway.process.kill()
        at = time.monotonic()
        self.gateway.process.wait()
        for client in self.live(self.publishers) + self.live(self.viewers):
            client.end("killed")
        sums = self.gateway.sums()
        earlier = [usage for when, usage in before if when <= at - self.gateway.interval - SLACK_SECONDS / 2]
        # What was used up to one interval before is in the ledger, and nothing that moqgate had not counted.
        for key, used in (earlier[-1] if earlier else {}).items():
            if sums.get(key, {"bytes": 0})["bytes"] < used["bytes"]:
                self.wrong.append(f"killed moqgate: {key}: {sums.get(key)} in the ledger, {used} an interval earlier")
        last = before[-1][1]
        lost = sum(used["bytes"] - sums.get(key, {"bytes": 0})["bytes"] for key, used in last.items())
        self.kills.append(lost)
        self.gateway.polls = []
        self.gateway.start()

    def run(self, seconds, kill_every):
        end, next_kill, next_poll = time.monotonic() + seconds, time.monotonic() + kill_every, 0
        next_stall = time.monotonic() + 2
        while time.monotonic() < end:
            self.step()
            if time.monotonic() >= next_poll:
                self.gateway.poll()
                next_poll = time.monotonic() + 0.5
            if time.monotonic() >= next_stall:
                self.stalls.append(threading.Thread(target=self.gateway.hold_database))
                self.stalls[-1].start()
                # Not in the interval before a kill, which is not to lose more than that.
                next_stall = next_kill + 2
            if time.monotonic() >= next_kill and end - time.monotonic() > kill_every / 2:
                self.kill_moqgate()
                next_kill = time.monotonic() + kill_every
            time.sleep(self.random.uniform(0.05, 0.6))
        for thread in self.stalls:
            thread.join()
        for publisher in self.live(self.publishers):
            publisher.process.wait()
        rig.until("viewers to leave", lambda: self.reap() or not self.live(self.viewers), 60)
        self.settle()

    def check(self):
        rows = self.gateway.usage()
        self.gateway.process.send_signal(signal.SIGTERM)
        if self.gateway.process.wait(30) != 0:
            self.wrong.append("moqgate did not stop in order")
        sums = self.gateway.sums()
        # The books of the last run of moqgate, and its ledger: every row of every path that only it saw.
        for key, used in rows.items():
            if any(used[name] != sums[key][name] for name in ("groups", "frames", "bytes", "fetches", "datagrams")):
                self.wrong.append(f"{key}: {used} counted, {sums[key]} in the ledger")
        totals = {"publishers": [0, 0], "viewers": [0, 0], "frames": 0, "bytes": 0, "damaged": 0, "exact": 0, "lead": 0}
        for publisher in self.publishers:
            line = sums.get((publisher.path, publisher.protocol, "ingress"), {"frames": 0, "bytes": 0})
            self.check_publisher(publisher, line, totals)
        for viewer in self.viewers:
            line = sums.get((viewer.path, viewer.protocol, "egress"), {"frames": 0, "bytes": 0})
            self.check_viewer(viewer, line, totals)
        lines = self.gateway.ledger("session,path,protocol")
        doubles = len(lines) - len({(line["session"], line["path"], line["direction"]) for line in lines})
        return totals, doubles

    def check_publisher(self, publisher, line, totals):
        frames, extra = self.beside.get(publisher.protocol, (0, 0))
        clip, name = publisher.clip, f"{publisher.protocol} publisher of {publisher.path}"
        totals["publishers"][publisher.fate == "killed"] += 1
        totals["frames"] += line["frames"]
        totals["bytes"] += line["bytes"]
        if publisher.protocol == "moq":
            return
        if publisher.fate == "finished":
            totals["exact"] += 1
            if (line["frames"], line["bytes"]) != (clip.frames + frames, clip.bytes + extra):
                if self.is_damaged(publisher.path):
                    totals["damaged"] += 1
                else:
                    self.wrong.append(f"{name}: {line['frames'], line['bytes']}, sent {clip.frames + frames, clip.bytes + extra}")
            return
        most = clip.frames_until(publisher.until + SLACK_SECONDS) + frames
        least = clip.frames_until(publisher.until - self.gateway.interval - SLACK_SECONDS - LATENCY_MICROS / 1e6)
        if not least <= line["frames"] <= most:
            self.wrong.append(f"{name}, killed: {line['frames']} frames, must lie between {least} and {most}")

    def check_viewer(self, viewer, line, totals):
        name = f"{viewer.protocol} viewer of {viewer.path}"
        totals["viewers"][viewer.fate == "killed"] += 1
        got = viewer.received() if viewer.fate == "finished" and viewer.publisher.fate == "finished" else None
        if viewer.publisher.protocol == "moq":
            if got and line["frames"] < sum(got.values()):
                self.wrong.append(f"{name}: {line['frames']} frames charged, got {got}")
            return
        most = viewer.publisher.clip.frames + self.beside[viewer.publisher.protocol][0]
        if line["frames"] > most:
            self.wrong.append(f"{name}: {line['frames']} frames of a clip of {most}")
        if got is None or self.is_damaged(viewer.path):
            return
        media, extra = sum(got.values()), self.beside[viewer.publisher.protocol][1]
        totals["exact"] += bool(media)
        # The released MoQ client may leave its first group out, although QUIC has taken it for it.
        leads = [(0, sound) for sound in range(LEAD_MAX + 1)]
        leads += [(GROUP_PICTURES, sound) for sound in range(GROUP_SOUND_MAX + 1)] * (viewer.protocol == "moq")
        for pictures, sound in leads:
            taken = {"h264": got.get("h264", 0) + pictures, "aac": got.get("aac", 0) + sound}
            frames = media + pictures + sound + 1
            expected = (frames, viewer.publisher.clip.tail_bytes(taken) + extra) if media else (0, 0)
            if (line["frames"], line["bytes"]) == expected:
                totals["lead"] += pictures + sound > 0
                return
        self.wrong.append(f"{name}: {line['frames'], line['bytes']} charged, got {got}")

    def is_damaged(self, path):
        """Whether SRT gave up packets of it: then the clip that was sent is not what arrived."""
        logs = "".join(log.read_text() for log in rig.scratch.glob("moqgate*.log"))
        return any(f"path={path} " in line + " " and re.search(r" dropped=[1-9]|damage", line) for line in logs.splitlines())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--interval", type=float, default=2)
    parser.add_argument("--kill-every", type=float, default=15)
    parser.add_argument("--binary", type=pathlib.Path, default=rig.ROOT / "target/release/moqgate")
    parser.add_argument("--keep", type=pathlib.Path, help="copy the ledger and the logs there")
    arguments = parser.parse_args()
    data = rig.scratch / "data"
    gateway = Gateway(arguments.binary, data, arguments.interval)
    world = World(gateway, arguments.seed)
    world.calibrate()
    began = time.monotonic()
    world.run(arguments.seconds, arguments.kill_every)
    totals, doubles = world.check()
    print(f"{time.monotonic() - began:.0f} s, seed {arguments.seed}, interval {arguments.interval} s, moqgate killed {len(world.kills)} times")
    print(f"publishers: {totals['publishers'][0]} finished, {totals['publishers'][1]} killed; {totals['frames']} frames, {totals['bytes']} bytes")
    print(f"viewers: {totals['viewers'][0]} finished, {totals['viewers'][1]} killed")
    print(f"compared to the byte: {totals['exact']}, of which {totals['lead']} were charged a little from before what they wrote")
    print(f"database held for {STALL_SECONDS} s: {len(world.stalls)} times")
    print(f"publishers with packets that SRT gave up: {totals['damaged']}; bytes lost with a killed moqgate: {world.kills}")
    print(f"differences: {len(world.wrong)}, double counts: {doubles}")
    for wrong in world.wrong:
        print(f"  {wrong}")
    if arguments.keep:
        subprocess.run(["cp", "-r", str(rig.scratch), str(arguments.keep)], check=True)
    sys.exit(1 if world.wrong or doubles else 0)


if __name__ == "__main__":
    main()
