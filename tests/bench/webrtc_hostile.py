#!/usr/bin/env python3
"""Hostile WebRTC peers beside a healthy pair: how much memory they take, and when it is free again.

usage: tests/bench/webrtc_hostile.py [OFFERS]     (10000; needs cargo build --release and
                                                   cargo build --release -p moqgate-webrtc --example webrtc_load)

1. offers that never connect, from a hundred loopback addresses, publishing and watching; 2. binding requests with a fragment that nobody
has; 3. with one of a session, but without the key; 4. ClientHellos that lie, from an address that such a request has named; 5. bodies of
1 MB and offers with thousands of media sections. A publisher and a viewer go on beside all of it, and what the viewer lost is the last
line.
"""

import concurrent.futures
import http.client
import os
import re
import socket
import struct
import sys
import time

import rig
import webrtc_load

ADDRESSES = 100
THREADS = 16
FLOOD_SECONDS = 5
HEALTHY_SECONDS = 100  # longer than all of it takes
OFFER = (rig.ROOT / "gateways/webrtc/tests/it/offer.sdp").read_text()
COOKIE = 0x2112A442


def post(gateway, path, body, number=0):
    host, port = gateway.address["http"].rsplit(":", 1)
    source = (f"127.0.1.{1 + number % ADDRESSES}", 0)
    client = http.client.HTTPConnection(host, int(port), timeout=30, source_address=source)
    try:
        client.request("POST", path, body, {"Content-Type": "application/sdp"})
        answer = client.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except OSError:
        return 0, ""  # Cut off while it still wrote.
    finally:
        client.close()


def metrics(gateway):
    with rig.urllib.request.urlopen(f"http://{gateway.address['http']}/metrics", timeout=10) as answer:
        return answer.read().decode()


def live(gateway):
    """Sessions there are."""
    return len([session for session in gateway.api("/api/v1/sessions")["sessions"] if session["protocol"] == "webrtc"])


def offers(gateway, count):
    def one(number):
        kind = "whip/live/hostile" + str(number) if number % 2 else "whep/live/cam0"
        body = OFFER if number % 2 else OFFER.replace("a=sendonly", "a=recvonly")
        return post(gateway, "/" + kind, body, number)[0]

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(one, range(count)))
    return {status: found.count(status) for status in sorted(set(found))}


def stun(username):
    name = username.encode()
    attribute = struct.pack("!HH", 6, len(name)) + name + b"\0" * (-len(name) % 4)
    return struct.pack("!HHI", 1, len(attribute), COOKIE) + os.urandom(12) + attribute


def flood(gateway, datagram):
    """As many datagrams as one thread makes, from a hundred ports. Gives the rate."""
    host, port = gateway.address["webrtc"].rsplit(":", 1)
    sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(ADDRESSES)]
    for each in sockets:
        each.connect((host, int(port)))
        each.setblocking(False)
    sent, end = 0, time.monotonic() + FLOOD_SECONDS
    while time.monotonic() < end:
        for each in sockets:
            try:
                each.send(datagram())
                sent += 1
            except OSError:
                pass
    return sent / FLOOD_SECONDS


def hello():
    """A DTLS 1.2 ClientHello (RFC 6347 section 4.2) whose lengths and fragments lie."""
    body = b"\xfe\xfd" + os.urandom(32) + bytes([os.urandom(1)[0] % 33]) + os.urandom(200)
    length, offset = struct.pack("!I", len(body) * 100)[1:], os.urandom(3)
    handshake = b"\x01" + length + os.urandom(2) + offset + struct.pack("!I", len(body))[1:] + body
    return b"\x16\xfe\xfd\0\0\0\0" + os.urandom(4) + struct.pack("!H", len(handshake)) + handshake


def report(gateway, what, before, began):
    rig.until("the sessions to be freed", lambda: live(gateway) <= 2, limit=60)
    freed = time.monotonic() - began
    peak = int(re.search(r"VmHWM:\s+(\d+)", (rig.pathlib.Path(f"/proc/{gateway.process.pid}/status")).read_text())[1]) / 1024
    print(f"{what}; freed {freed:.1f} s after the last; {rig.resident_mib(gateway.process) - before:+.1f} MiB, peak {peak - before:+.1f} MiB", flush=True)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10000
    gateway = webrtc_load.gateway()
    clip = webrtc_load.make_pictures(rig.scratch / "clip.h264")
    load, said = webrtc_load.start(gateway, clip, 1, 1, HEALTHY_SECONDS)
    time.sleep(5)
    before = rig.resident_mib(gateway.process)

    began = time.monotonic()
    answers = offers(gateway, count)
    took = time.monotonic() - began
    report(gateway, f"{count} offers within {took:.1f} s, answered {answers}", before, time.monotonic())

    rate = flood(gateway, lambda: stun("nobody:here"))
    report(gateway, f"{rate:.0f} binding requests a second with an unknown fragment", before, time.monotonic())

    status, answer = post(gateway, "/whip/live/named", OFFER)
    fragment = re.search(r"a=ice-ufrag:(\S+)", answer)[1]
    rate = flood(gateway, lambda: stun(f"{fragment}:cl1e"))
    report(gateway, f"{rate:.0f} a second with a known one ({status})", before, time.monotonic())

    status, answer = post(gateway, "/whip/live/hello", OFFER)
    fragment = re.search(r"a=ice-ufrag:(\S+)", answer)[1]
    turn = iter(range(1 << 60))
    rate = flood(gateway, lambda: stun(f"{fragment}:cl1e") if next(turn) < 3 * ADDRESSES else hello())
    report(gateway, f"{rate:.0f} ClientHellos a second ({status})", before, time.monotonic())

    section = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:{}\r\na=sendonly\r\na=rtpmap:96 VP8/90000\r\n"
    many = OFFER + "".join(section.format(number) for number in range(2, 700))
    thousands = OFFER + "m=video 9 RTP/AVP 96\r\n" * 2500
    statuses = [post(gateway, "/whip/live/large", body, number)[0]
                for number, body in enumerate([OFFER + "a=x\r\n" * 200_000, many, thousands] * 20)]
    report(gateway, f"20 each of 1 MB, 700 sections, 2500 sections: {statuses[:3]}", before, time.monotonic())

    load.wait()
    print(f"the publisher and the viewer beside it: {said().splitlines()[-1]}")
    print("\n".join(re.findall(r"moqgate_webrtc_(?:ignored|refused|sessions)\S* [1-9]\d*", metrics(gateway))))


if __name__ == "__main__":
    main()
