"""aiortc as a client of WHIP and WHEP (RFC 9725), which counts the media that it sends or receives.

    aiortc_peer.py publish URL [--codec VP8]
    aiortc_peer.py watch URL

Counts go to standard output, one JSON object per line: {"picture": [frames, bytes], "sound": [frames, bytes], "done": ...}.
Bytes are those of access units with start codes of four bytes, of VP8 frames and of Opus packets: RTP and its payload
headers are not among them. SIGTERM ends the session with a DELETE; a publisher first takes one to send nothing more.
"""

import argparse
import array
import asyncio
import fractions
import json
import math
import signal
import urllib.parse
import urllib.request

import aioice.ice
import av
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc import MediaStreamTrack, rtcrtpreceiver, rtcrtpsender
from aiortc.codecs import depayload, is_rtx
from aiortc.contrib.media import MediaBlackhole
from aiortc.rtp import unwrap_rtx

FRAME_RATE = 30
SAMPLE_RATE = 48_000
SAMPLES = 960


class Counts:
    """Frames and bytes of each kind; the pieces of a frame share a timestamp."""

    def __init__(self):
        self.stamps = {"video": set(), "audio": set()}
        self.bytes = {"video": 0, "audio": 0}
        self.done = False

    def add(self, kind, stamp, size):
        self.stamps[kind].add(stamp)
        self.bytes[kind] += size

    def show(self):
        of = lambda kind: [len(self.stamps[kind]), self.bytes[kind]]
        print(json.dumps({"picture": of("video"), "sound": of("audio"), "done": self.done}), flush=True)


class Picture(MediaStreamTrack):
    """A grey that brightens and a bar that moves, until it is over."""

    kind = "video"

    def __init__(self, over):
        super().__init__()
        self.sent, self.over = 0, over
        self.width, self.height = 320, 180

    async def recv(self):
        await due(self, self.sent / FRAME_RATE)
        frame = av.VideoFrame(self.width, self.height, "yuv420p")
        for index, plane in enumerate(frame.planes):
            line = bytearray([(self.sent * 3) % 200 if index == 0 else 128] * plane.line_size)
            at = (self.sent * 5) % (plane.width - 16)
            line[at : at + 16] = b"\xf0" * 16
            plane.update(bytes(line) * plane.height)
        frame.pts, frame.time_base = self.sent * 90_000 // FRAME_RATE, fractions.Fraction(1, 90_000)
        self.sent += 1
        return frame


class Tone(MediaStreamTrack):
    """440 Hz, until it is over."""

    kind = "audio"

    def __init__(self, over):
        super().__init__()
        self.sent, self.over = 0, over

    async def recv(self):
        await due(self, self.sent / SAMPLE_RATE)
        samples = (math.sin((self.sent + at) * 440 * math.tau / SAMPLE_RATE) for at in range(SAMPLES))
        frame = av.AudioFrame(format="s16", layout="mono", samples=SAMPLES)
        frame.planes[0].update(array.array("h", (int(8000 * sample) for sample in samples)).tobytes())
        frame.pts, frame.sample_rate = self.sent, SAMPLE_RATE
        frame.time_base = fractions.Fraction(1, SAMPLE_RATE)
        self.sent += SAMPLES
        return frame


async def due(track, after):
    loop = asyncio.get_running_loop()
    if not hasattr(track, "began"):
        track.began = loop.time()
    await asyncio.sleep(max(0, track.began + after - loop.time()))
    if track.over.is_set():
        await asyncio.Future()


def count_sent(counts):
    """Counts what encoders give to packetisers: put together again, as a receiver does."""
    original = rtcrtpsender.RTCRtpSender._next_encoded_frame

    async def counted(self, codec):
        frame = await original(self, codec)
        for payload in frame.payloads if frame else ():
            counts.add(self.kind, frame.timestamp, len(depayload(codec, payload)))
        return frame

    rtcrtpsender.RTCRtpSender._next_encoded_frame = counted


def count_received(counts):
    """Counts every packet once, whether it came at once or was sent again."""
    original, seen = rtcrtpreceiver.RTCRtpReceiver._handle_rtp_packet, set()

    async def counted(self, packet, arrival_time_ms):
        codecs, kind = self._RTCRtpReceiver__codecs, self._RTCRtpReceiver__kind
        media, codec = packet, codecs.get(packet.payload_type)
        if codec and is_rtx(codec):
            media, codec = None, codecs.get(codec.parameters.get("apt"))
            if codec and len(packet.payload) >= 2:
                media = unwrap_rtx(packet, payload_type=codec.payloadType, ssrc=0)
        if media and codec and media.payload and (kind, media.sequence_number) not in seen:
            seen.add((kind, media.sequence_number))
            counts.add(kind, media.timestamp, len(depayload(codec, media.payload)))
        await original(self, packet, arrival_time_ms)

    rtcrtpreceiver.RTCRtpReceiver._handle_rtp_packet = counted


async def request(method, url, body=None):
    headers = {"Content-Type": "application/sdp"} if body else {}
    asked = urllib.request.Request(url, data=body and body.encode(), method=method, headers=headers)
    answer = await asyncio.to_thread(urllib.request.urlopen, asked, timeout=20)
    return answer.headers.get("Location"), answer.read().decode()


async def run(arguments):
    counts, over, leave = Counts(), asyncio.Event(), asyncio.Event()
    end = lambda: (leave if over.is_set() or arguments.role == "watch" else over).set()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    if arguments.role == "publish":
        count_sent(counts)
        transceiver = connection.addTransceiver(Picture(over), direction="sendonly")
        known = RTCRtpSender.getCapabilities("video").codecs
        wanted = [codec for codec in known if codec.mimeType == f"video/{arguments.codec}"]
        transceiver.setCodecPreferences(wanted)
        connection.addTransceiver(Tone(over), direction="sendonly")
    else:
        count_received(counts)
        sink = MediaBlackhole()
        connection.on("track", sink.addTrack)
        for kind in ("video", "audio"):
            connection.addTransceiver(kind, direction="recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    location, answer = await request("POST", arguments.url, connection.localDescription.sdp)
    await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    if arguments.role == "watch":
        await sink.start()
    while not leave.is_set():
        counts.show()
        before, ending = counts.bytes.copy(), over.is_set()
        try:
            await asyncio.wait_for(leave.wait(), 0.2)
        except asyncio.TimeoutError:
            pass
        # A picture that was begun before the end was encoded and sent meanwhile.
        counts.done = ending and counts.bytes == before
    await request("DELETE", urllib.parse.urljoin(arguments.url, location))
    await connection.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=["publish", "watch"])
    parser.add_argument("url")
    parser.add_argument("--codec", default="VP8", choices=["VP8", "H264"])
    arguments = parser.parse_args()
    # Everything here is on one machine.
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    asyncio.run(run(arguments))


main()
