#!/usr/bin/env python3
"""Makes the RTMP and FLV seeds of fuzz/corpus: from the recorded encoders in fixtures/rtmp, and by hand where those say
too little: enhanced RTMP, wraps, aggregates, interleaved chunk streams, every AMF0 marker, the forms of stream keys.

usage: tools/fuzz_seeds_rtmp.py [FLV_FILE ...]

Of each FLV_FILE the first tags become a seed; those that are there are a third of a second of 64x48 from ffmpeg 5.1 (H.264
with AAC and MP3) and 9.0 (HEVC and AAC, AV1 and Opus, VP9 and FLAC, H.264 and AC-3, two tracks of each).
"""

import pathlib
import struct
import sys

from fuzz_seeds import ROOT, put

LONGEST = 5000  # of a recording; the first pictures are in it
HANDSHAKE = 1 + 2 * 1536
END = b"\0\0\x09"
ASC = bytes.fromhex("af001190")
AAC = b"\xaf\x01!!!"
AVC = bytes.fromhex("17000000000164000dffe1001a6764000dacd941419f9f011000000300100000030320f142996001000468efbcb0fdf8f800")
FLV = b"FLV\x01\x05\0\0\0\x09\0\0\0\0"


def text(value):
    return b"\x02" + named(value)


def named(value):
    return struct.pack(">H", len(value)) + value


def number(value):
    return b"\0" + struct.pack(">d", value)


def tag(kind, time, body):
    head = bytes([kind]) + len(body).to_bytes(3, "big") + (time & 0xFFFFFF).to_bytes(3, "big") + bytes([time >> 24, 0, 0, 0])
    return head + body + (len(body) + 11).to_bytes(4, "big")


def chunk(csid, kind, body, stream=0, time=0, size=128):
    extended = time.to_bytes(4, "big") if time >= 0xFFFFFF else b""
    out = bytes([csid]) + min(time, 0xFFFFFF).to_bytes(3, "big") + len(body).to_bytes(3, "big") + bytes([kind])
    out += stream.to_bytes(4, "little") + extended
    for at in range(0, max(len(body), 1), size):
        out += (bytes([0xC0 | csid]) + extended if at else b"") + body[at : at + size]
    return out


def set_chunk_size(size):
    return chunk(2, 1, struct.pack(">I", size))


CONNECT = (
    text(b"connect") + number(1) + b"\x03" + named(b"app") + text(b"live") + named(b"tcUrl") + text(b"rtmp://host/live")
    + named(b"fourCcList") + b"\x0a\0\0\0\2" + text(b"av01") + text(b"*")
    + named(b"videoFourCcInfoMap") + b"\x03" + named(b"*") + number(4) + END + named(b"capsEx") + number(6) + END
)
CREATE = text(b"createStream") + number(4) + b"\x05"
PUBLISH = text(b"publish") + number(5) + b"\x05" + text(b"cam0?token=x") + text(b"live")
PLAY = text(b"play") + number(5) + b"\x05" + text(b"cam0") + number(-2000)
DELETE = text(b"deleteStream") + number(7) + b"\x05" + number(1)


def session(last, *more):
    start = set_chunk_size(4096) + chunk(3, 20, CONNECT, size=4096) + chunk(3, 20, CREATE) + chunk(3, 20, last, stream=1)
    return start + b"".join(more)


def recordings():
    for recording in sorted((ROOT / "fixtures/rtmp").glob("*.bin")):
        data = recording.read_bytes()
        if recording.stem.endswith(("-takes", "-gives")):
            put("rtmp_client", bytes([99, recording.stem.endswith("-gives")]) + data[: HANDSHAKE + LONGEST])
            continue
        put("rtmp_handshake", b"\xc8" + data[: HANDSHAKE + 30])
        put("rtmp_chunks", b"\x10" + data[HANDSHAKE:][:LONGEST])
        for step in (6, 255):
            put("rtmp_session", bytes([step]) + data[HANDSHAKE:][:LONGEST])


def messages():
    for seed in (b"\0GET / HTTP/1.1\r\n", b"\0\x16\x03\x01", b"\x09\x06" + bytes(1536), b"\xff\x03" + bytes(3072) + b"\2\0\0"):
        put("rtmp_handshake", seed)
    commands = [CONNECT, CREATE, PUBLISH, PLAY, DELETE, b"\0" + CONNECT, text(b"_checkbw") + number(0)]
    for name in (b"releaseStream", b"FCPublish"):
        commands.append(text(name) + number(2) + b"\x05" + text(b"cam0"))
    commands.append(text(b"onStatus") + number(0) + b"\x05\x03" + named(b"code") + text(b"x") + END)
    for seed in commands:
        put("rtmp_command", seed)
    for seed in (
        CONNECT,
        text(b"onMetaData") + b"\x08\0\0\0\x14" + named(b"width") + number(1280) + named(b"stereo") + b"\1\1" + END,
        b"\x0a\0\0\0\1" * 20 + b"\x05",
        b"\x0b" + bytes(10) + b"\x0c\0\0\0\3abc\x0f\0\0\0\1x\x0d\x06\x07\0\1",
        b"\x10" + named(b"Class") + named(b"a") + number(float("nan")) + END,
        b"\x11\x04\x81\x82\x83\x84\x11\x06\x07abc\x11\x05" + bytes(8) + b"\x11\x02\x11\x03\x11\x00",
        b"\x02\0\3\xff\xfe\xfd",
        b"\x03" + named(b"a") + number(1) + named(b"a") + number(2) + named(b"") + number(3) + END,
    ):
        put("rtmp_amf0", seed)
    for seed in (
        b"live\0cam0", b"live?secret=x\0cam0", b"live?secret=x/cam0\0", b"live\0rtmp://host/live/cam0?token=x", b"live\0mp4:cam0",
        b"live/..\0a", b"\0live/cam0?user=u&pass=p", b"live?token=a\0b?token=c", b"//live//\0/cam0/",
        b"ve/cam0?user=u&pass=plive/cam0?user",
    ):
        put("rtmp_key", seed)


def chunks():
    cut = chunk(6, 9, bytes(200), 1)[: 12 + 128]
    put("rtmp_chunks", b"\3" + set_chunk_size(0))
    put("rtmp_chunks", b"\1" + cut + chunk(4, 8, bytes(300), 1) + b"\xc6" + bytes(72))
    put("rtmp_chunks", b"\2" + chunk(6, 9, bytes(300), 1, 0x1000000) + b"\x46\0\0\x28\0\0\5\x09abcde\xc6abcde")
    wide = chunk(0, 8, b"abc")[1:]
    put("rtmp_chunks", b"\5\x00\x05" + wide + b"\x01\x05\x01" + wide + b"\xc0\x05abc")
    put("rtmp_chunks", b"\7" + cut + chunk(2, 2, b"\0\0\0\6") + chunk(6, 9, b"xyz", 1))


def sessions():
    video, config, audio = chunk(4, 9, AVC, 1), chunk(4, 8, ASC, 1), chunk(4, 8, AAC, 1, 0x1000000)
    delete = chunk(4, 20, DELETE, 1)
    put("rtmp_session", b"\x08" + session(PUBLISH, video, config, audio, chunk(4, 8, b"", 1), delete))
    aggregate = chunk(4, 22, b"".join(tag(8, 21 * i, AAC) for i in range(3)), 1)
    put("rtmp_session", b"\x08" + session(PUBLISH, aggregate, delete, chunk(3, 20, CREATE), chunk(3, 20, PLAY, 1)))
    ping, buffer = chunk(2, 4, b"\0\6\0\0\0\7"), chunk(2, 4, b"\0\3\0\0\0\1\0\0\x0b\xb8")
    put("rtmp_session", b"\x0a" + session(PLAY, buffer, ping, chunk(2, 5, b"\0\x26\x25\xa0"), chunk(2, 3, b"\0\0\0\1")))
    put("rtmp_session", b"\x09" + session(PUBLISH))
    put("rtmp_session", b"\2" + set_chunk_size(0))
    put("rtmp_session", b"\2" + set_chunk_size(1) + chunk(3, 20, CONNECT, size=1))


def files(names):
    for name in names:
        data, at = pathlib.Path(name).read_bytes(), len(FLV)
        while at + 11 <= len(data) and at < LONGEST:
            at += 11 + int.from_bytes(data[at + 1 : at + 4], "big") + 4
        put("flv", data[:at])
    put("flv", FLV + tag(8, 0xFFFFFFF0, ASC) + tag(9, 0xFFFFFFF0, AVC) + b"".join(tag(8, time, AAC) for time in (0xFFFFFFF0, 5, 26)))
    av1 = bytes.fromhex("906176303181000c000a0b0200000521e7f66017c002")
    nanoseconds = bytes.fromhex("97020003e80161763031") + b"\x12\0"
    colour = bytes.fromhex("d461763031") + text(b"colorInfo") + b"\x03" + named(b"colorConfig") + b"\x03" + END + END
    put("flv", FLV + tag(9, 0, av1) + tag(9, 40, nanoseconds) + tag(9, 80, colour))
    several = bytes.fromhex("961061766331") + b"\x01\0\0\4\0\0\0\0\x02\0\0\3abc"
    codecs = bytes.fromhex("9520") + b"Opus\0\0\0\x02abmp4a\1\0\0\2\x11\x90"
    put("flv", FLV + tag(9, 0, several) + tag(8, 0, codecs))
    odd = [(8, b""), (9, b""), (18, b""), (9, b"\x52\0"), (9, b"\x1c\0\0\0\0"), (8, b"\x22abc")]
    put("flv", FLV + b"".join(tag(kind, 5, body) for kind, body in odd))


if __name__ == "__main__":
    recordings()
    messages()
    chunks()
    sessions()
    files(sys.argv[1:])
