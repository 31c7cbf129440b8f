#!/usr/bin/env python3
"""Makes the RTP and AAC seeds of fuzz/corpus out of the clips in fixtures/ and the examples of the payload formats.

A seed is a row of records: flags, length on 16 bits, payload (fuzz/src/rtp.rs).
"""

import hashlib
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
MARKER, NEXT, LOST, TWICE, LATER, PAUSE, REPORT = 1, 2, 4, 8, 16, 32, 64
SLICE = 60  # bytes that are kept of a slice


def put(target, records):
    data = b"".join(bytes([flags]) + len(body).to_bytes(2, "big") + body for flags, body in records)
    folder = ROOT / "fuzz/corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def elementary(name, pid):
    """The payload of one pid's PES packets, each in a piece."""
    data, found = (ROOT / "fixtures" / name).read_bytes(), []
    for at in range(0, len(data), 188):
        packet = data[at : at + 188]
        if int.from_bytes(packet[1:3], "big") & 0x1FFF != pid or not packet[3] & 0x10:
            continue
        body = packet[4 + (1 + packet[4] if packet[3] & 0x20 else 0) :]
        if packet[1] & 0x40:
            found.append(b"")
            body = body[9 + body[8] :]
        if found:
            found[-1] += body
    return found


def units(picture):
    return [unit.rstrip(b"\0") for unit in picture.split(b"\0\0\1")[1:]]


def video(target, name, header, aggregation, fragment):
    """Pictures as single units, aggregated, in fragments, and over a bad network."""
    pictures = [units(picture) for picture in elementary(name, 256)[:4]]
    kind = (lambda unit: unit[0] & 31) if header == 1 else (lambda unit: unit[0] >> 1 & 63)
    small = lambda unit: unit[: SLICE if len(unit) > 400 else 400]
    single, joined, cut = [], [], []
    for picture in pictures:
        rows = [small(unit) for unit in picture]
        single += [(NEXT if n == 0 else MARKER if n == len(rows) - 1 else 0, unit) for n, unit in enumerate(rows)]
        sized = b"".join(len(unit).to_bytes(2, "big") + unit for unit in rows)
        joined.append((NEXT | MARKER, aggregation + sized))
        for n, unit in enumerate(rows):
            body, third = unit[header:], max(1, len(unit) // 3)
            pieces = [body[at : at + third] for at in range(0, len(body), third)]
            for m, piece in enumerate(pieces):
                edge = (0x80 if m == 0 else 0) | (0x40 if m == len(pieces) - 1 else 0) | kind(unit)
                last = n == len(rows) - 1 and m == len(pieces) - 1
                flags = (NEXT if n == m == 0 else 0) | (MARKER if last else 0)
                cut.append((flags, fragment + bytes([edge]) + piece))
    put(target, single)
    put(target, joined)
    put(target, cut)
    put(target, [(flags | (LOST, TWICE, LATER, PAUSE)[n % 4] if n % 5 == 4 else flags, body) for n, (flags, body) in enumerate(cut * 2)])
    put("rtp_export", [(MARKER, b"\0" + b"".join(b"\0\0\0\1" + small(unit) for unit in picture)) for picture in pictures])
    return single


def main():
    h264 = video("rtp_h264", "plain.ts", 1, b"\x78", b"\x7c")
    video("rtp_h265", "hevc.ts", 2, b"\x60\x01", b"\x62\x01")
    vp8_key, vp8_delta = bytes.fromhex("1002009d012a4001b400") + b"\x5a" * 40, b"\x11\x02\x00" + b"\x5a" * 20
    vp8 = [
        (NEXT, b"\x90\x80\x91\x11" + vp8_key[:30]), (MARKER, b"\x80\x80\x91\x11" + vp8_key[30:]),
        (NEXT | MARKER, b"\x10" + vp8_delta), (NEXT | MARKER, b"\x90\xe0\x91\x12\x07\x40" + vp8_delta),
        (NEXT | MARKER, b"\x90\xf0\x13\x08\x25" + vp8_delta),
    ]
    put("rtp_vp8", vp8)
    vp9_key, vp9_delta = bytes.fromhex("824983422013f00b30") + b"\x5a" * 40, b"\x86\x00" + b"\x5a" * 20
    put("rtp_vp9", [
        (NEXT, b"\x88\x91\x11" + vp9_key[:30]), (MARKER, b"\x84\x91\x11" + vp9_key[30:]),
        (NEXT | MARKER, b"\xcc\x91\x12" + vp9_delta), (NEXT | MARKER, b"\xec\x13\x20\x07" + vp9_delta),
        (NEXT, b"\xae\x14\x20\x07\x38\x01\x40\x00\xb4\x02\x80\x01\x68\x01\x04\x09" + vp9_key), (MARKER, b"\xbc\x14\x22" + vp9_delta),
        (NEXT | MARKER, b"\xdc\x15\x03\x05\x06" + vp9_delta),
    ])
    sequence, frame = bytes.fromhex("080200000521e7f66017c002"), b"\x30\x10" + b"\x5a" * 40
    put("rtp_av1", [
        (NEXT | MARKER, b"\x28" + bytes([len(sequence)]) + sequence + frame),
        (NEXT | MARKER, b"\x08" + bytes([len(sequence)]) + sequence + bytes([len(frame)]) + frame),
        (NEXT, b"\x68" + bytes([len(sequence)]) + sequence + frame[:20]), (MARKER, b"\x90" + frame[20:]),
        (NEXT | MARKER, b"\x10\x30\x30" + b"\x5a" * 9),
    ])
    put("rtp_export", [(MARKER, b"\0\x0a" + bytes([len(sequence) - 1]) + sequence[1:] + b"\x32" + bytes([len(frame) - 1]) + frame[1:])])
    packets = [unit[unit.index(b"\xfc") :] for unit in elementary("opus.ts", 257)[:6] if b"\xfc" in unit]
    opus = [(NEXT | MARKER | (REPORT if n == 3 else 0), packet[:80]) for n, packet in enumerate(packets)] + [(NEXT, b"\xfc\xff\xfe")] * 3
    put("rtp_opus", opus)
    mixed = [record for row in zip(opus, vp8, h264) for record in row]
    put("rtp_streams", [(flags | (REPORT if n % 4 == 3 else 0), body) for n, (flags, body) in enumerate(mixed)])
    for text in (
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        "sprop-parameter-sets=Z0IACpZTBYmI,aMljiA==",
        "profile-id=1;sprop-vps=QAEMAf//;sprop-sps=QgEB;sprop-pps=RAHB",
        "minptime=10;useinbandfec=1;stereo=1",
    ):
        folder = ROOT / "fuzz/corpus/rtp_fmtp"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha256(text.encode()).hexdigest()[:16]).write_text(text)
    for name, pid, config in (("plain.ts", 257, "1190"), ("hevc.ts", 257, "1188"), ("tone44.ts", 256, "1210")):
        frames = b"".join(elementary(name, pid))
        units_of, at = [], 0
        while at + 7 < len(frames) and len(units_of) < 8:
            length = (frames[at + 3] & 3) << 11 | frames[at + 4] << 3 | frames[at + 5] >> 5
            units_of.append(frames[at + 7 : at + length])
            at += length
        put("aac", [(0, bytes.fromhex(config))] + [(0, unit) for unit in units_of])


if __name__ == "__main__":
    main()
