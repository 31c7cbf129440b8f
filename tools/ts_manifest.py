#!/usr/bin/env python3
"""Lists what an MPEG-TS clip holds, access unit by access unit, with a reader of its own.

The tests compare the gateway's usage with these numbers, so nothing here may come from the gateway, and nothing from a
library that could share its mistakes: packets (H.222.0 2.4.3.2), PES headers (2.4.3.6), PSI (2.4.4), then H.264 / H.265
NAL units, ADTS, LOAS, MPEG audio and (E-)AC-3 sync frames are read right here. Clips are clean and short; anything
unexpected is an error, never skipped.

Output: {"tracks": [{"pid", "codec", "units": [[pts, bytes, keyframe], ...]}]}
  pts       90 kHz, as in the PES header; later frames of one PES get the duration of those before them added
  bytes     video: Annex-B with a 4-byte start code before every NAL unit, no trailing zeros
            AAC: the raw data block without ADTS header or LOAS wrapping; all other audio: the whole sync frame
  keyframe  1 for an IDR / IRAP picture, and for all audio
"""

import json
import sys

PACKET = 188
AAC_RATES = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350]
MPEG_RATES = [44100, 48000, 32000]
MP2_KBITS = [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384]
AC3_KBITS = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640]


def packets(data):
    """Yields (pid, unit start, payload) of every packet that has a payload."""
    assert len(data) % PACKET == 0, "not whole packets"
    for at in range(0, len(data), PACKET):
        packet = data[at : at + PACKET]
        assert packet[0] == 0x47, f"no sync byte at {at}"
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        control = packet[3] >> 4 & 3
        offset = 4 + (1 + packet[4] if control & 2 else 0)
        if control & 1:
            yield pid, bool(packet[1] & 0x40), packet[offset:]


def streams(data):
    """Returns {pid: (stream type, descriptors)} of the first program."""
    pmt_pid = None
    for pid, start, payload in packets(data):
        if not start or pid not in (0, pmt_pid):
            continue
        section = payload[1 + payload[0] :]
        body = section[: 3 + ((section[1] & 0x0F) << 8 | section[2]) - 4]
        if pid == 0:
            pmt_pid = (body[10] & 0x1F) << 8 | body[11]
            continue
        at = 12 + ((body[10] & 0x0F) << 8 | body[11])
        found = {}
        while at < len(body):
            length = (body[at + 3] & 0x0F) << 8 | body[at + 4]
            found[(body[at + 1] & 0x1F) << 8 | body[at + 2]] = (body[at], body[at + 5 : at + 5 + length])
            at += 5 + length
        return found
    raise ValueError("no program map")


def pes_units(data, wanted):
    """Returns {pid: [(pts, payload), ...]}."""
    done = {pid: [] for pid in wanted}
    for pid, start, payload in packets(data):
        if pid not in wanted:
            continue
        if start:
            assert payload[:3] == b"\0\0\1" and payload[7] & 0x80, f"PES without PTS on {pid}"
            p = payload[9:14]
            pts = (p[0] >> 1 & 7) << 30 | p[1] << 22 | (p[2] >> 1) << 15 | p[3] << 7 | p[4] >> 1
            length = payload[4] << 8 | payload[5]
            done[pid].append([pts, bytearray(payload[9 + payload[8] :]), length and length - 3 - payload[8]])
        else:
            done[pid][-1][1] += payload
    for units in done.values():
        for _, body, length in units:
            assert not length or length == len(body), "PES length is not what arrived"
    return {pid: [(pts, bytes(body)) for pts, body, _ in units] for pid, units in done.items()}


def nal_units(data):
    """Splits Annex-B into NAL units."""
    starts = []
    at = data.find(b"\0\0\1")
    while at >= 0:
        starts.append(at + 3)
        at = data.find(b"\0\0\1", at + 3)
    ends = [start - 3 for start in starts[1:]] + [len(data)]
    return [data[start:end].rstrip(b"\0") for start, end in zip(starts, ends)]


def video(units, is_key):
    out = []
    for pts, body in units:
        nals = nal_units(body)
        out.append([pts, sum(4 + len(nal) for nal in nals), int(any(is_key(nal) for nal in nals))])
    return out


def audio(units, frame_at):
    """Cuts the joined payloads into frames; frame_at(data, at) -> (whole length, charged bytes, ticks)."""
    joined = b"".join(body for _, body in units)
    stamps, offset = [], 0
    for pts, body in units:
        stamps.append((offset, pts))
        offset += len(body)
    out, at, pts = [], 0, 0
    while at < len(joined):
        while stamps and stamps[0][0] <= at:
            pts = stamps.pop(0)[1]
        length, charged, ticks = frame_at(joined, at)
        out.append([pts, charged, 1])
        at, pts = at + length, pts + ticks
    assert at == len(joined), "a cut frame at the end"
    return out


def adts(data, at):
    assert data[at] == 0xFF and data[at + 1] & 0xF6 == 0xF0, "no ADTS sync"
    length = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    header = 7 if data[at + 1] & 1 else 9
    return length, length - header, 1024 * 90000 // AAC_RATES[data[at + 2] >> 2 & 15]


class Bits:
    def __init__(self, data):
        self.value, self.left = int.from_bytes(data, "big"), len(data) * 8

    def take(self, count):
        self.left -= count
        return self.value >> self.left & (1 << count) - 1


class Loas:
    """ISO 14496-3 1.7: AudioSyncStream with StreamMuxConfig version 0, one program, one layer, AAC-LC."""

    rate = None

    def __call__(self, data, at):
        assert data[at] == 0x56 and data[at + 1] & 0xE0 == 0xE0, "no LOAS sync"
        length = (data[at + 1] & 0x1F) << 8 | data[at + 2]
        bits = Bits(data[at + 3 : at + 3 + length])
        if not bits.take(1):
            self.config(bits)
        size = 0
        while True:
            byte = bits.take(8)
            size += byte
            if byte != 255:
                return 3 + length, size, 1024 * 90000 // self.rate

    def config(self, bits):
        assert bits.take(1) == 0 and bits.take(1) == 1, "only version 0, one framing"
        assert bits.take(6) == 0 and bits.take(4) == 0 and bits.take(3) == 0, "one subframe, program and layer"
        assert bits.take(5) == 2, "AAC-LC"
        self.rate = AAC_RATES[bits.take(4)]
        bits.take(4)
        assert bits.take(3) == 0 and bits.take(3) == 0, "no GASpecificConfig extras, frameLengthType 0"
        bits.take(8)
        assert bits.take(1) == 0, "no other data"
        assert bits.take(1) == 0, "no CRC"


def mp2(data, at):
    assert data[at] == 0xFF and data[at + 1] & 0xFE == 0xFC, "no MPEG-1 Layer II sync"
    rate = MPEG_RATES[data[at + 2] >> 2 & 3]
    length = 144 * MP2_KBITS[data[at + 2] >> 4] * 1000 // rate + (data[at + 2] >> 1 & 1)
    return length, length, 1152 * 90000 // rate


def ac3(data, at):
    assert data[at : at + 2] == b"\x0b\x77", "no AC-3 sync"
    if data[at + 5] >> 3 <= 10:
        assert data[at + 4] >> 6 == 0, "48 kHz only"
        length = 4 * AC3_KBITS[(data[at + 4] & 0x3F) >> 1]
    else:
        length = 2 * (((data[at + 2] & 7) << 8 | data[at + 3]) + 1)
    return length, length, 1536 * 90000 // 48000


def opus(data, at):
    """ETSI TS 103 491 annex: opus_control_header, prefix 0x3FF, then one packet of 20 ms."""
    assert data[at] == 0x7F and data[at + 1] & 0xE0 == 0xE0, "no Opus control header"
    flags, cursor, size = data[at + 1], at + 2, 0
    while True:
        size += data[cursor]
        cursor += 1
        if data[cursor - 1] != 255:
            break
    cursor += 2 * bool(flags & 0x10) + 2 * bool(flags & 0x08)
    assert not flags & 0x04, "no control extension"
    return cursor - at + size, size, 1800


def codec_of(stream_type, descriptors):
    if stream_type == 0x1B:
        return "h264"
    if stream_type == 0x24:
        return "h265"
    if stream_type == 0x06 and b"Opus" in descriptors:
        return "opus"
    return {0x0F: "aac", 0x11: "aac", 0x03: "mp2", 0x04: "mp2", 0x81: "ac3", 0x87: "eac3"}[stream_type]


def units_of(codec, stream_type, units):
    if codec == "h264":
        return video(units, lambda nal: nal[0] & 0x1F == 5)
    if codec == "h265":
        return video(units, lambda nal: 16 <= nal[0] >> 1 & 0x3F <= 23)
    if codec == "aac":
        return audio(units, Loas() if stream_type == 0x11 else adts)
    return audio(units, {"mp2": mp2, "ac3": ac3, "eac3": ac3, "opus": opus}[codec])


def main(path):
    with open(path, "rb") as file:
        data = file.read()
    found = streams(data)
    tracks = []
    for pid, units in pes_units(data, found).items():
        stream_type, descriptors = found[pid]
        codec = codec_of(stream_type, descriptors)
        tracks.append({"pid": pid, "codec": codec, "units": units_of(codec, stream_type, units)})
    json.dump({"tracks": tracks}, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main(sys.argv[1])
