#!/usr/bin/env python3
"""Makes fuzz/corpus out of recorded sessions of released peers and of the clips in fixtures/.

usage: tools/fuzz_seeds.py [SRT_LOG]

SRT_LOG holds one packet per line, `seconds C>L KIND HEX`, as a UDP tap between two libsrt 1.5.1 writes it; without it the
SRT seeds stay as they are. Every moq seed begins with a byte that chooses the version: 0 for lite-06 to 3 for lite-03.
"""

import hashlib
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz/corpus"
VERSIONS = {"lite06": 0, "lite05": 1, "lite04": 2, "lite03": 3}
REQUESTS = {1: "announce_request", 2: "subscribe", 3: "fetch", 4: "probe", 5: "goaway", 6: "track"}
REPLIES = {1: "announcement", 2: "subscribe_reply", 3: "frames", 4: "probe", 6: "track_info"}
LONGEST = 600  # of a moq or SRT seed; mutations of long ones are slow and find nothing more
PACKETS = 60  # of a clip: program tables, a keyframe and some sound
STREAM_IDS = [
    "#!::r=live/cam0,m=publish",
    "#!::u=bob,r=live/cam0?secret=x,m=request,t=stream,h=host",
    "#!:{r=live/cam0,m=publish,x={a=b}}",
    "#!::bmd_uuid=1234,bmd_name=Studio,r=live/cam0,m=publish",
    "publish:live/cam0:user:password",
    "read:live/cam0?token=abc",
    "live/cam0#feedbackplay",
    '"srt://host.example/live/cam0"',
    "host.example/app/stream",
    "",
]

# Both generations of claims, and what is refused in each (server/src/admission/jwt/claims.rs).
CLAIMS = [
    '{"root":"live","put":["cam0"],"get":[""],"exp":4102444800}',
    '{"root":"/live/","put":"cam0","get":["","x"],"exp":1e3,"iat":1,"iss":"a","jti":"b","sub":"acme"}',
    '{"root":"live","publish":["cam0","cam*"],"subscribe":["**","*/x"],"nbf":99.5}',
    '{"publish":["a/**"],"exp":50}',
    '{"put":"","exp":18446744073709551615}',
    '{"put":"","publish":["**"]}',
    '{"root":"a//b","get":"../c"}',
    '{"put":"","cluster":true}',
    '{"put":"","nbf":-1,"exp":null}',
]


def put(target, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def varint(data):
    """(value, the bytes behind it) of a QUIC varint."""
    width = 1 << (data[0] >> 6)
    return int.from_bytes(data[:width], "big") & ((1 << (8 * width - 2)) - 1), data[width:]


def message(data):
    """(the first message with its length, the bytes behind it)."""
    length, rest = varint(data)
    return data[: len(data) - len(rest) + length], rest[length:]


def streams(text):
    """{(case, stream): {sender: bytes}} of one recording; media that the recording cut ends a stream."""
    found, cut, case = {}, set(), 0
    for line in text.splitlines():
        case += line.startswith("# ==")
        match = re.match(r" *\d+ ([CS]) ([CS](?:bidi|uni)\d+) [<>] ([0-9a-f]+)(\.*)", line)
        if match and (case, match[2], match[1]) not in cut:
            found.setdefault((case, match[2]), {}).setdefault(match[1], bytearray()).extend(bytes.fromhex(match[3]))
            if match[4]:
                cut.add((case, match[2], match[1]))
    return found


def moq(recording):
    version = VERSIONS.get(recording.name[:6])
    if version is None:
        return

    def seed(target, data):
        if data:
            put("moq_" + target, bytes([version]) + bytes(data[:LONGEST]))

    for (_, stream), sides in streams(recording.read_text()).items():
        opener = stream[0]
        request, reply = sides.get(opener, b""), sides.get("S" if opener == "C" else "C", b"")
        if not request:
            continue
        kind, body = request[0], request[1:]
        try:
            if "uni" in stream:
                head, rest = message(body)
                seed("setup" if kind == 1 else "group", head)
                seed("frames", rest if kind == 0 else b"")
                continue
            if kind not in REQUESTS:
                continue
            head, rest = message(body) if body else (b"", b"")
            seed(REQUESTS[kind], head)
            seed("subscribe_update", rest if kind == 2 else b"")
            if kind == 1 and version < 2 and reply:
                head, reply = message(reply)
                seed("announce_ok", head)
            seed(REPLIES.get(kind, "goaway"), reply)
        except IndexError:
            continue  # a case about truncated messages


def clips():
    for clip in sorted((ROOT / "fixtures").glob("*.ts")):
        if clip.name != "demo.ts":
            put("ts", b"\xa4" + clip.read_bytes()[: 188 * PACKETS])


def srt(log):
    packets = [bytes.fromhex(hex) for hex in re.findall(r"(?m)^[\d.]+ .>. .*? ([0-9a-f]{32,})", log.read_text())]
    session = b""
    for packet in packets:
        put("srt_packet", packet[:LONGEST])
        control = packet[0] & 0x80
        kind = int.from_bytes(packet[:2], "big") & 0x7FFF
        if control and kind == 0:
            put("srt_handshake", packet[16:])
            if packet[64:]:
                put("srt_extensions", packet[64:])
            key = packet.find(bytes.fromhex("12202901"))
            if key > 0:
                put("srt_keys", packet[key:])
        elif control and kind == 3:
            put("srt_loss_list", packet[16:])
        if not (control and kind == 0) and len(session) < 4000:
            session += len(packet).to_bytes(2, "big") + b"\x05" + packet
    put("srt_connection", session)


def main():
    for recording in sorted((ROOT / "fixtures/moq").glob("lite*.txt")):
        moq(recording)
    # No released peer sends a datagram in these recordings: subscription 1, group 300, 2 s, four bytes.
    put("moq_datagram", bytes.fromhex("01412c801e8480") + b"\x80\x1e\x84\x80")
    put("moq_datagram", bytes.fromhex("00000000"))
    for text in STREAM_IDS:
        put("srt_streamid", text.encode())
    for claims in CLAIMS:
        put("jwt", claims.encode())
    for algorithm in json.loads((ROOT / "server/src/admission/jwt/vectors.json").read_text())["algorithms"]:
        put("jwt", algorithm["token"].encode())
    clips()
    if len(sys.argv) > 1:
        srt(pathlib.Path(sys.argv[1]))


if __name__ == "__main__":
    main()
