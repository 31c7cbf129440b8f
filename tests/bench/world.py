"""A random world: publishers and viewers come, go and are killed, moqgate itself is killed and restarted, and the ledger is
compared with books that know nothing of moqgate.

usage: tests/bench/world.py [--seconds 40] [--seed 1] [--interval 2] [--binary PATH]

Everybody is a program of somebody else: ffmpeg over SRT and RTMP, a newer ffmpeg over WHIP, the released `moq`,
srt-live-transmit, and aiortc over WHEP (tests/tools/whep.py). The books are kept here. Of a publisher they hold the access
units of its clip (tools/ts_manifest.py) that it says it has sent. Of a viewer they hold what came over the wire to it: what it
wrote down, or, where it does not write all of it, what it says that it received. That is so for two:

  moq        leaves out its first group when a newer one overtakes it, and sound before its first picture. Its own trace of its
             protocol names every group that it was sent (`Group { subscribe, sequence }`), and what is in a group of the clip
             is known. A group of a native publisher's catalog is not, so that those viewers are compared group by group.
  whep.py    keeps the packets that it received, so that nothing is left out.

Of those the ledger must say:

  finished   a publisher that sent all of its clip and left, and a viewer that stayed until the end: exactly that, groups,
             frames and bytes
  pulled     of a native MoQ publisher no more is asked for than somebody watches: no group that it did not send, and no less than
             its viewers got. The released client closes its connection as soon as it has written everything, and what QUIC has not
             delivered by then is gone (RFC 9000 section 10.2): it is said how many left so, and everybody else's groups are all there
  killed     a client that was killed, or whose moqgate was, be it that the client had left less than an interval before: at most
             what was sent, and at least what was sent one interval earlier
  never      more than was sent: nothing is counted twice; and in no account of the ledger does a number or a time come twice

What the numbers of moqgate hold beside the media (the catalog) is measured once per protocol, before the world begins, and is
the same for every session after that. Now and then another process holds the database for five seconds, as a backup or a
stalled disk does: that costs no frame. With --seconds 600 it is the long run; the short one is a test.
"""

import argparse
import json
import os
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

sys.path.insert(0, str(rig.ROOT / "tools"))
import ts_manifest  # noqa: E402

# Between what a client sent and what moqgate accepted: the latency of SRT, the start of a player, a busy machine.
SLACK_SECONDS = 2.0
LATENCY_MICROS = 1_000_000
# A varint of a time stamp between 16 ms and 17 minutes.
STAMP_BYTES = 4
PUBLISHERS_MAX = 4
VIEWERS_MAX = 6
STALL_SECONDS = 5
# A clip takes seconds; ffmpeg's WHIP muxer rarely waits for good.
HANG_SECONDS = 60
HANGS_MAX = 3
# Delimiters and filler mean nothing in RTP, so that neither is in a frame that came by it (docs/USAGE.md).
IDLE_NALS = (9, 12)
# Both clocks of a record are read once per interval, and cut to milliseconds.
CLOCK_MILLIS = 5
# A client that is killed without a word is taken for gone when it has been silent for this long.
SILENCE_SECONDS = 60
TRACE = "error,moq_net::lite::message=trace,moq_net::lite::subscriber=info,moq_net::lite::publisher=info"


def manifest(path, is_rtp=False):
    """Access units of each codec: [pts, bytes, keyframe]."""
    data, tracks = path.read_bytes(), {}
    found = ts_manifest.streams(data)
    for pid, units in ts_manifest.pes_units(data, found).items():
        codec = ts_manifest.codec_of(*found[pid])
        tracks[codec] = ts_manifest.units_of(codec, found[pid][0], units)
        if is_rtp and codec == "h264":
            for unit, (_, body) in zip(tracks[codec], units):
                kept = [nal for nal in ts_manifest.nal_units(body) if nal[0] & 31 not in IDLE_NALS]
                unit[1] = sum(4 + len(nal) for nal in kept)
    return tracks


def flv_units(path):
    """How many access units of each codec there are in an FLV file."""
    data, at, counts = path.read_bytes(), 13, {"h264": 0, "aac": 0}
    while at + 11 <= len(data):
        kind, size = data[at], int.from_bytes(data[at + 1 : at + 4], "big")
        body = data[at + 11 : at + 11 + size]
        if kind == 9 and len(body) > 5 and body[1] == 1:
            counts["h264"] += 1
        elif kind == 8 and len(body) > 2 and body[1] == 1:
            counts["aac"] += 1
        at += 11 + size + 4
    return counts


def plus(*amounts):
    """Sums (groups, frames, bytes)."""
    return tuple(map(sum, zip((0, 0, 0), *amounts)))


class Clip:
    def __init__(self, loops, is_rtp=False):
        self.path = rig.scratch / f"clip{loops}{'rtp' * is_rtp}.ts"
        source = rig.ROOT / "fixtures/plain.ts"
        command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-stream_loop", str(loops - 1), "-i", str(source)]
        codecs = ["-c:v", "copy", "-c:a", "libopus", "-b:a", "96k"] if is_rtp else ["-c", "copy"]
        subprocess.run(command + ["-map", "0"] + codecs + ["-f", "mpegts", str(self.path)], check=True)
        self.units = manifest(self.path, is_rtp)
        self.sound = "opus" if is_rtp else "aac"
        self.frames = sum(len(units) for units in self.units.values())
        self.start = min(units[0][0] for units in self.units.values())

    def frames_until(self, seconds):
        return sum(1 for units in self.units.values() for unit in units if unit[0] - self.start <= seconds * 90000)

    def last(self, counts):
        """Groups, frames and bytes of the last so many units: a picture's group begins with a keyframe, each sound is one."""
        amounts = []
        for codec, count in counts.items():
            units = self.units[codec][len(self.units[codec]) - count :] if count else []
            groups = sum(key for _, _, key in units)
            amounts.append((groups, count, sum(size + STAMP_BYTES for _, size, _ in units)))
        return plus(*amounts)

    def all(self):
        return self.last({codec: len(units) for codec, units in self.units.items()})

    def groups(self, codec, numbers):
        """Groups, frames and bytes of the groups of one track with these numbers."""
        groups = []
        for _, size, key in self.units[codec]:
            if key:
                groups.append((1, 0, 0))
            groups[-1] = plus(groups[-1], (0, 1, size + STAMP_BYTES))
        return plus(*(groups[number] for number in numbers))


class Publisher:
    def __init__(self, gateway, number, protocol, clip):
        self.path, self.protocol, self.clip, self.fate = f"live/{number}", protocol, clip, None
        self.progress = rig.scratch / f"progress{number}"
        program = NEWER_FFMPEG if protocol == "webrtc" else "ffmpeg"
        command = [program, "-hide_banner", "-loglevel", "error", "-nostdin", "-stats_period", "0.1", "-progress", self.progress]
        command += ["-re", "-i", clip.path, "-map", "0", "-c", "copy"]
        if protocol == "srt":
            command += ["-f", "mpegts", gateway.srt_url(self.path, f"&latency={LATENCY_MICROS}")]
        elif protocol == "rtmp":
            command += ["-f", "flv", f"rtmp://{gateway.address['rtmp']}/{self.path}"]
        else:
            command += ["-f", "whip", f"http://{gateway.address['http']}/whip/{self.path}"]
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
        self.trace = rig.scratch / f"publisher{number}.trace"
        command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-stats_period", "0.1", "-progress", self.progress]
        command += ["-re", "-i", clip.path, "-map", "0", "-c", "copy", "-f", "mpegts", "-"]
        self.feeder = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        words = moq(gateway, self.path) + ["import", "ts"]
        with open(self.trace, "wb") as trace:
            self.process = subprocess.Popen(
                words, stdin=self.feeder.stdout, stdout=subprocess.DEVNULL, stderr=trace, env={**os.environ, "RUST_LOG": TRACE}
            )
        self.feeder.stdout.close()
        rig.running += [self.feeder, self.process]

    def kill(self):
        self.process.kill()
        self.feeder.kill()

    def sent(self):
        """How many groups it sent, and whether it was asked for all of its tracks until the end."""
        trace = plain(self.trace)
        return len(re.findall(r"encoding self=Group \{", trace)), "cancelled" not in trace


class Viewer:
    def __init__(self, gateway, number, protocol, publisher):
        self.protocol, self.publisher, self.fate = protocol, publisher, None
        self.path = publisher.path
        self.copy = rig.scratch / f"viewer{number}.{dict(rtmp='flv', webrtc='json').get(protocol, 'ts')}"
        self.trace = rig.scratch / f"viewer{number}.trace"
        if protocol == "srt":
            url = f"srt://{gateway.address['srt']}?mode=caller&latency=1000&streamid=#!::r={self.path},m=request"
            command = ["srt-live-transmit", "-loglevel:fatal", "-a:no", url, "file://con"]
        elif protocol == "rtmp":
            url = f"rtmp://{gateway.address['rtmp']}/{self.path}"
            command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-i", url]
            command += ["-c", "copy", "-copyinkf", "-copypriorss", "1", "-f", "flv", "-"]
        elif protocol == "webrtc":
            url = f"http://{gateway.address['http']}/whep/{self.path}"
            command = [PYTHON, rig.ROOT / "tests/tools/whep.py", url, self.copy]
        else:
            command = moq(gateway, self.path) + ["export", "ts", "--max-age", "30s"]
        output = rig.scratch / "said" if protocol == "webrtc" else self.copy
        with open(output, "wb") as output, open(self.trace, "wb") as trace:
            words, environment = [str(word) for word in command], {**os.environ, "RUST_LOG": TRACE}
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=trace, env=environment)
        rig.running.append(self.process)
        self.began = publisher.sent_seconds()

    def end(self, fate):
        self.fate, self.until = fate, self.publisher.sent_seconds()
        self.process.kill()
        self.process.wait()

    def groups(self):
        """Of a native viewer: the numbers of the groups that it was sent, by track."""
        trace, names, numbers = plain(self.trace), {}, {}
        for subscription, name in re.findall(r"encoding self=Subscribe \{ id: (\d+), broadcast: [^,]*, track: \"([^\"]*)\"", trace):
            names[subscription] = name
        for subscription, number in re.findall(r"decoded result=Group \{ subscribe: (\d+), sequence: (\d+)", trace):
            numbers.setdefault(names[subscription], []).append(int(number))
        return numbers

    def received(self):
        """What came over the wire to it, of a clip: (groups, frames, bytes), and how many catalogs."""
        clip = self.publisher.clip
        if self.protocol == "moq":
            groups = self.groups()
            catalogs = len(groups.pop("catalog.json", []))
            of = {"avc3": "h264", clip.sound: clip.sound}
            return plus(*(clip.groups(of[name.split(".")[1]], numbers) for name, numbers in groups.items())), catalogs
        counts = self.counts()
        if self.protocol != "webrtc":
            return clip.last(counts), bool(sum(counts.values()))
        if not sum(counts.values()):
            return (0, 0, 0), 0
        book = json.loads(self.copy.read_text())
        pictures, sound = clip.last({"h264": counts["h264"]}), book["audio"]["units"]
        # A picture on the wire has no delimiters, which its publisher may have sent and its viewer is charged for.
        sent = [size for _, size, _ in manifest(clip.path, True)["h264"][-counts["h264"] :]] if counts["h264"] else []
        if sent != book["video"]["units"] or book["video"]["missing"] or book["audio"]["missing"]:
            return None, 0
        return plus(pictures, (len(sound), len(sound), sum(size + STAMP_BYTES for size in sound))), 1

    def counts(self):
        """How many access units of each codec it got: the last ones of the clip."""
        if self.protocol == "rtmp":
            return {codec: count for codec, count in flv_units(self.copy).items() if count}
        if self.protocol == "webrtc":
            if not self.copy.exists():
                return {}
            book = json.loads(self.copy.read_text())
            return {"h264": len(book["video"]["units"]), "sound": len(book["audio"]["units"])}
        data = self.copy.read_bytes()
        if not data:
            return {}
        whole = rig.scratch / "whole.ts"
        whole.write_bytes(data[: len(data) // 188 * 188])
        return {codec: len(units) for codec, units in manifest(whole).items()}


def plain(trace):
    """Without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", trace.read_text())


def moq(gateway, path):
    words = [str(MOQ), "--log-level", "error", "--connect", f"http://{gateway.address['moq']}/"]
    return words + ["--connect-websocket-enabled=false", "--broadcast", path]


def python():
    """A python with aiortc."""
    for python in (rig.TOOLS / "python/bin/python", sys.executable):
        if subprocess.run([python, "-c", "import aiortc"], stderr=subprocess.DEVNULL).returncode == 0:
            return python
    return None


NEWER_FFMPEG = next(iter(sorted(rig.TOOLS.glob("python/lib/*/site-packages/imageio_ffmpeg/binaries/ffmpeg-*"))), None)
PYTHON = python() if (rig.TOOLS / "python/bin/python").exists() else None
MOQ = next((path for name in ("peers-release", "peers") if (path := rig.TOOLS / name / "bin/moq").exists()), None)


class Gateway(rig.Gateway):
    """moqgate on a data folder of its own, on the same ports after every start."""

    def __init__(self, binary, data, interval):
        self.binary, self.data, self.interval = binary, data, interval
        self.ports = {name: rig.free_port() for name in ("moq", "srt", "rtmp", "webrtc", "http")}
        self.starts, self.polls = 0, []
        self.start()

    def start(self):
        self.starts += 1
        listen = [word for name, port in self.ports.items() for word in (f"--{name}-listen", f"127.0.0.1:{port}")]
        more = ["--data-dir", self.data, "--usage-interval", f"{int(self.interval * 1000)}ms", "--retention-age", "60s"]
        waits = [word for name in ("srt", "rtmp", "webrtc") for word in (f"--{name}-play-wait", "2s")]
        log = f"moqgate{self.starts}.log"
        self.process = rig.start(self.binary, *listen, *more, *waits, log=log)
        self.log = rig.scratch / log
        line = rig.until("the ready line", lambda: re.search(r"(?m)^ready .*$", self.log.read_text()))[0]
        self.address = dict(word.split("=", 1) for word in line.split()[1:])

    def usage(self):
        rows = self.api("/api/v1/usage")["usage"]
        sides = ("ingress", "egress")
        return {(row["path"], row["tier"], row["protocol"], side): row[side] for row in rows for side in sides if row[side]["frames"]}

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

    def ledger(self, by="path,tier,protocol"):
        command = [str(self.binary), "usage", "report", "--data-dir", str(self.data), "--format", "json", "--by", by]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    def sums(self):
        return {(line["path"], line["tier"], line["protocol"], line["direction"]): line for line in self.ledger()}

    def doubles(self):
        """Records that say again what another one of their account says, by its number or by its time."""
        connection = sqlite3.connect(f"file:{self.data / 'moqgate.sqlite'}?mode=ro", uri=True)
        records = connection.execute("SELECT account, sequence, from_ms, to_ms FROM usage_records ORDER BY account, sequence").fetchall()
        accounts = connection.execute("SELECT count(*), count(DISTINCT boot || '/' || number) FROM usage_accounts").fetchone()
        connection.close()
        again = accounts[0] - accounts[1]
        for (account, number, _, end), (next_account, next_number, begin, _) in zip(records, records[1:]):
            again += account == next_account and (next_number != number + 1 or begin + CLOCK_MILLIS < end)
        return again


class World:
    def __init__(self, gateway, seed):
        self.gateway, self.random = gateway, random.Random(seed)
        self.publishers, self.viewers, self.number = [], [], 0
        self.protocols = ["srt", "rtmp"] + ["moq"] * bool(MOQ) + ["webrtc"] * bool(NEWER_FFMPEG)
        self.players = ["srt", "rtmp"] + ["moq"] * bool(MOQ) + ["webrtc"] * bool(PYTHON)
        self.clips = {is_rtp: [Clip(loops, is_rtp) for loops in (1, 2, 4)] for is_rtp in (False, True)}
        self.beside, self.wrong, self.kills, self.stalls, self.slow = {}, [], [], [], 0

    def publish(self, protocol, length):
        self.number += 1
        clip = self.clips[protocol == "webrtc"][length]
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
                client.left = time.monotonic()
                if client.process.returncode != 0 and isinstance(client, Publisher):
                    client.fate = "killed"

    def calibrate(self):
        """What a session is charged beside the media: one calm publisher of each protocol."""
        calm = [self.publish(protocol, 0) for protocol in self.protocols if protocol != "moq"]
        calm = [self.whole(publisher) for publisher in calm]
        self.settle()
        sums = self.gateway.sums()
        for publisher in calm:
            publisher.fate, publisher.left = "finished", 0
            charged, sent = amounts(sums, publisher, "ingress"), publisher.clip.all()
            groups, frames, extra = (more - less for more, less in zip(charged, sent))
            if not (groups == frames == 1 and 100 < extra < 2000):
                sys.exit(f"{publisher.protocol}: {charged} charged, {sent} sent: is something lost?")
            self.beside[publisher.protocol] = (groups, frames, extra)
        print(f"beside the media (groups, frames, bytes): {self.beside}")

    def whole(self, publisher):
        """The publisher when it has ended, or another of its protocol in place of one that hangs."""
        for _ in range(HANGS_MAX):
            try:
                publisher.process.wait(HANG_SECONDS)
                return publisher
            except subprocess.TimeoutExpired:
                print(f"{publisher.protocol}: hangs, another one takes its place")
                publisher.end("killed")
                publisher = self.publish(publisher.protocol, 0)
        sys.exit(f"{publisher.protocol}: every publisher hangs")

    def settle(self):
        gone = lambda: not self.gateway.api("/api/v1/sessions")["sessions"]  # noqa: E731
        rig.until("all sessions to end", gone, SILENCE_SECONDS)
        time.sleep(2 * self.gateway.interval)

    def step(self):
        self.reap()
        publishers, viewers = self.live(self.publishers), self.live(self.viewers)
        what = self.random.choices(["publish", "watch", "kill publisher", "kill viewer"], [40, 50, 3, 4])[0]
        if what == "publish" and len(publishers) < PUBLISHERS_MAX:
            self.publish(self.random.choice(self.protocols), self.random.randrange(3))
        elif what == "watch" and publishers and len(viewers) < VIEWERS_MAX:
            publisher = self.random.choice(publishers)
            taken = {viewer.protocol for viewer in self.viewers if viewer.publisher is publisher}
            free = [name for name in self.players if name not in taken]
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
        # Whoever left in the last interval may have a record of it, and may not.
        for client in self.publishers + self.viewers:
            if client.fate == "finished" and client.left > at - self.gateway.interval - SLACK_SECONDS:
                client.fate = "killed"
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
                next_stall = max(next_kill, time.monotonic() + STALL_SECONDS) + 2
            if time.monotonic() >= next_kill and end - time.monotonic() > kill_every / 2:
                self.kill_moqgate()
                next_kill = time.monotonic() + kill_every
            time.sleep(self.random.uniform(0.05, 0.6))
        for thread in self.stalls:
            thread.join()
        deadline = time.monotonic() + SILENCE_SECONDS
        while self.reap() or self.live(self.publishers) and time.monotonic() < deadline:
            time.sleep(0.1)
        # Once in a few hundred times the WHIP muxer of ffmpeg goes on with a packet for each report that it receives.
        for publisher in self.live(self.publishers):
            self.slow += 1
            publisher.end("killed")
        deadline = time.monotonic() + SILENCE_SECONDS
        while self.reap() or self.live(self.viewers) and time.monotonic() < deadline:
            time.sleep(0.1)
        for viewer in self.live(self.viewers):
            said = viewer.trace.read_text()[-500:]
            self.wrong.append(f"{viewer.protocol} viewer {viewer.copy.stem} of {viewer.path} ({viewer.publisher.protocol}) does not leave: {said}")
            viewer.end("killed")
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
        totals = Totals()
        for publisher in self.publishers:
            self.check_publisher(publisher, amounts(sums, publisher, "ingress"), totals)
        for viewer in self.viewers:
            self.check_viewer(viewer, amounts(sums, viewer, "egress"), totals)
        return totals, self.gateway.doubles()

    def check_publisher(self, publisher, charged, totals):
        name, clip = f"{publisher.protocol} publisher of {publisher.path}", publisher.clip
        totals.count("publishers", publisher, charged)
        if publisher.protocol == "moq":
            if publisher.fate == "finished":
                sent, stayed = publisher.sent()
                if charged[0] > sent:
                    self.wrong.append(f"{name}: {charged[0]} groups charged, {sent} sent")
                totals.by_group += 1
                totals.undelivered += stayed and charged[0] < sent
            return
        if publisher.fate == "finished":
            expected = plus(clip.all(), self.beside[publisher.protocol])
            if charged != expected and self.is_damaged(publisher.path):
                totals.damaged += 1
            elif charged != expected:
                self.wrong.append(f"{name}: {charged} charged, {expected} sent")
            else:
                totals.equal("publishers", publisher)
            return
        most = clip.frames_until(publisher.until + SLACK_SECONDS) + self.beside[publisher.protocol][1]
        least = clip.frames_until(publisher.until - self.gateway.interval - SLACK_SECONDS - LATENCY_MICROS / 1e6)
        if not least <= charged[1] <= most:
            self.wrong.append(f"{name}, killed: {charged[1]} frames, must lie between {least} and {most}")

    def check_viewer(self, viewer, charged, totals):
        publisher, name = viewer.publisher, f"{viewer.protocol} viewer of {viewer.path} ({viewer.publisher.protocol})"
        totals.count("viewers", viewer, charged)
        stayed = viewer.fate == "finished" and publisher.fate == "finished"
        if publisher.protocol == "moq":
            got = sum(viewer.counts().values()) if stayed and viewer.protocol != "moq" else 0
            if charged[1] < got:
                self.wrong.append(f"{name}: {charged[1]} frames charged, got {got}")
            if stayed and viewer.protocol == "moq":
                sent = sum(map(len, viewer.groups().values()))
                if charged[0] != sent:
                    self.wrong.append(f"{name}: {charged[0]} groups charged, {sent} came")
            totals.by_group += stayed
            return
        beside = self.beside[publisher.protocol]
        # Sound that is made Opus here comes in frames of 20 ms, more than there were.
        most = publisher.clip.frames * (2 if viewer.protocol == "webrtc" else 1) + beside[1]
        if charged[1] > most:
            self.wrong.append(f"{name}: {charged[1]} frames of a clip of {most}")
        if not stayed or self.is_damaged(viewer.path):
            return
        media, catalogs = viewer.received()
        # Who came too late for the media may have been told what there was.
        allowed = [plus(media, *[beside] * catalogs)] if media else []
        if media == (0, 0, 0):
            allowed.append(beside)
        if charged in allowed:
            totals.equal("viewers", viewer, media[1] > 0)
        else:
            self.wrong.append(f"{name}: {charged} charged, got {media} and {catalogs} catalogs")

    def is_damaged(self, path):
        """Whether SRT or RTP gave up packets of it: then the clip that was sent is not what arrived."""
        logs = "".join(log.read_text() for log in rig.scratch.glob("moqgate*.log"))
        return any(f"path={path} " in line + " " and re.search(r" dropped=[1-9]|damage", line) for line in logs.splitlines())


def amounts(sums, client, direction):
    """What the ledger says of a client: groups, frames, bytes."""
    line = sums.get((client.path, "", client.protocol, direction))
    return (line["groups"], line["frames"], line["bytes"]) if line else (0, 0, 0)


class Totals:
    """What was compared."""

    def __init__(self):
        self.clients = {"publishers": [0, 0], "viewers": [0, 0]}
        self.exact, self.by_group, self.damaged, self.empty, self.undelivered = {}, 0, 0, 0, 0
        self.frames, self.bytes = {"publishers": 0, "viewers": 0}, {"publishers": 0, "viewers": 0}

    def count(self, side, client, charged):
        self.clients[side][client.fate == "killed"] += 1
        self.frames[side] += charged[1]
        self.bytes[side] += charged[2]

    def equal(self, side, client, has_media=True):
        if not has_media:
            self.empty += 1
            return
        of = self.exact.setdefault(side, {})
        of[client.protocol] = of.get(client.protocol, 0) + 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--interval", type=float, default=2)
    parser.add_argument("--kill-every", type=float, default=20)
    parser.add_argument("--binary", type=pathlib.Path, default=rig.ROOT / "target/release/moqgate")
    parser.add_argument("--keep", type=pathlib.Path, help="copy the ledger and the logs there")
    arguments = parser.parse_args()
    data = rig.scratch / "data"
    for what, found in (("the newer ffmpeg", NEWER_FFMPEG), ("aiortc", PYTHON), ("moq", MOQ)):
        if not found:
            print(f"{what} is not installed: its part of the world is left out")
    gateway = Gateway(arguments.binary, data, arguments.interval)
    world = World(gateway, arguments.seed)
    world.calibrate()
    began = time.monotonic()
    world.run(arguments.seconds, arguments.kill_every)
    totals, doubles = world.check()
    print(f"{time.monotonic() - began:.0f} s, seed {arguments.seed}, interval {arguments.interval} s, moqgate killed {len(world.kills)} times")
    for side, (finished, killed) in totals.clients.items():
        print(f"{side}: {finished} finished, {killed} killed; {totals.frames[side]} frames, {totals.bytes[side]} bytes in the ledger")
        print(f"  finished and equal to the byte, by protocol: {totals.exact.get(side, {})}")
    print(f"compared group by group, as a native publisher was: {totals.by_group}; came too late for any media: {totals.empty}")
    print(f"native publishers that left before the last groups were delivered: {totals.undelivered}; encoders that never ended: {world.slow}")
    print(f"database held for {STALL_SECONDS} s: {len(world.stalls)} times")
    print(f"publishers of which packets were lost on the way, by moqgate's own log: {totals.damaged}; bytes lost with a killed moqgate: {world.kills}")
    print(f"differences: {len(world.wrong)}, double counts: {doubles}")
    for wrong in world.wrong:
        print(f"  {wrong}")
    if arguments.keep:
        subprocess.run(["cp", "-r", str(rig.scratch), str(arguments.keep)], check=True)
    sys.exit(1 if world.wrong or doubles else 0)


if __name__ == "__main__":
    main()
