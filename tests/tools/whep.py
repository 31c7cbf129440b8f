#!/usr/bin/env python3
"""Watches a broadcast over WHEP with aiortc and writes down every access unit that came over the wire.

usage: whep.py URL OUT [--token TOKEN]

Nothing is decoded, nothing is left out: what is written is what was received, packet by packet, copies and retransmissions
once. Sizes are those of docs/USAGE.md: H.264 as Annex B with 4-byte start codes (RFC 6184 section 5), everything else as the
payloads of a timestamp together. At the end OUT is
  {"end": why, "video": {"units": [bytes, …], "keys": […], "missing": packets}, "audio": the same}
and standard output has said `connected` in between, or `refused STATUS DETAIL`.
"""

import argparse
import asyncio
import json
import pathlib
import sys
import urllib.error
import urllib.request

import aioice.ice
import aiortc
import aiortc.rtcrtpreceiver

CONNECT_SECONDS = 30
IDR, STAP_A, FU_A = 5, 24, 28


class Recorder:
    """Stands where aiortc puts its jitter buffer: behind retransmissions, before decoding."""

    of = {}

    def __init__(self, capacity, is_video=False, **_):
        self.packets, self.last, self.cycles = {}, None, 0
        Recorder.of["video" if is_video else "audio"] = self

    def add(self, packet):
        number = packet.sequence_number
        if self.last is not None and self.last - number > 0x8000:
            self.cycles += 0x10000
        late = self.last is not None and number - self.last > 0x8000
        self.packets[number + self.cycles - 0x10000 * late] = (packet.timestamp, packet.payload)
        self.last = self.last if late else number
        return False, None

    def units(self):
        units = []
        for number in sorted(self.packets):
            timestamp, payload = self.packets[number]
            if not units or units[-1][0] != timestamp:
                units.append((timestamp, []))
            units[-1][1].append(payload)
        return [payloads for _, payloads in units]

    def book(self, size_of):
        sizes = [size_of(payloads) for payloads in self.units()]
        missing = max(self.packets) - min(self.packets) + 1 - len(self.packets) if self.packets else 0
        return {"units": [size for size, _ in sizes], "keys": [key for _, key in sizes], "missing": missing}


def h264(payloads):
    """Bytes as Annex B, and whether the picture is a keyframe."""
    size, key = 0, False
    for payload in payloads:
        kind = payload[0] & 31
        if kind == FU_A:
            begins = payload[1] & 0x80
            size += len(payload) - 2 + (4 + 1 if begins else 0)
            key |= payload[1] & 31 == IDR
        elif kind == STAP_A:
            at = 1
            while at < len(payload):
                length = payload[at] << 8 | payload[at + 1]
                key |= payload[at + 2] & 31 == IDR
                size, at = size + 4 + length, at + 2 + length
        else:
            size += 4 + len(payload)
            key |= kind == IDR
    return size, key


def opus(payloads):
    return sum(len(payload) for payload in payloads), True


def request(url, token, sdp):
    headers = {"content-type": "application/sdp", "accept": "application/sdp"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    with urllib.request.urlopen(urllib.request.Request(url, sdp.encode(), headers), timeout=60) as answer:
        return answer.read().decode()


async def watch(url, token):
    peer = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
    for kind in ("video", "audio"):
        peer.addTransceiver(kind, direction="recvonly")
    over, connected = asyncio.get_running_loop().create_future(), asyncio.Event()

    def changed():
        if peer.connectionState == "connected":
            print("connected", flush=True)
            connected.set()
        elif peer.connectionState in ("closed", "failed") and not over.done():
            over.set_result(peer.connectionState)

    peer.on("connectionstatechange", changed)
    await peer.setLocalDescription(await peer.createOffer())
    try:
        answer = await asyncio.to_thread(request, url, token, peer.localDescription.sdp)
    except urllib.error.HTTPError as refused:
        print("refused", refused.code, json.load(refused).get("detail"), flush=True)
        sys.exit(2)
    await peer.setRemoteDescription(aiortc.RTCSessionDescription(answer, "answer"))
    # A handshake that the other side gave up goes on here for ever.
    asyncio.get_running_loop().call_later(CONNECT_SECONDS, lambda: connected.is_set() or over.done() or over.set_result("unconnected"))
    return await over


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--token")
    arguments = parser.parse_args()
    # On this machine alone, and nothing is decoded.
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    aiortc.rtcrtpreceiver.JitterBuffer = Recorder
    aiortc.rtcrtpreceiver.depayload = lambda codec, payload: payload
    end = asyncio.run(watch(arguments.url, arguments.token))
    recorders = {"video": h264, "audio": opus}
    book = {kind: Recorder.of[kind].book(size_of) for kind, size_of in recorders.items()}
    arguments.out.write_text(json.dumps({"end": end, **book}))


if __name__ == "__main__":
    main()
