"""Calls an SRT listener with libsrt 1.5 and prints, as JSON, what libsrt thinks of it.

usage: libsrt_call.py HOST PORT JSON    (JSON: option name -> value, and "send": packets to send)
"""

import ctypes
import json
import socket
import struct
import sys
import time

TEXT = {"streamid": 46, "passphrase": 26, "packetfilter": 60, "congestion": 47}
NUMBER = {
    "pbkeylen": 27, "conntimeo": 36, "rcvlatency": 43, "peerlatency": 44, "transtype": 50,
    "kmrefreshrate": 51, "kmpreannounce": 52, "payloadsize": 49,
}
FILE_MODE = 1

srt = ctypes.CDLL("libsrt-gnutls.so.1.5")
srt.srt_getlasterror_str.restype = ctypes.c_char_p


def check(result):
    assert result != -1, srt.srt_getlasterror_str().decode()


def number(sock, option):
    value, size = ctypes.c_int(), ctypes.c_int(4)
    check(srt.srt_getsockflag(sock, option, ctypes.byref(value), ctypes.byref(size)))
    return value.value


def main(host, port, options):
    options = json.loads(options)
    send, size = options.pop("send", 0), options.get("payloadsize", 1316)
    srt.srt_startup()
    srt.srt_setloglevel(0)
    sock = srt.srt_create_socket()
    # The transmission type resets other options, so it comes first.
    for name in sorted(options, key=lambda name: name != "transtype"):
        value = options[name]
        if name in TEXT:
            data = value.encode()
            check(srt.srt_setsockflag(sock, TEXT[name], data, len(data)))
        else:
            check(srt.srt_setsockflag(sock, NUMBER[name], ctypes.byref(ctypes.c_int(value)), 4))
    address = struct.pack("=H", socket.AF_INET) + struct.pack("!H", int(port)) + socket.inet_aton(host) + bytes(8)
    answer = {"connected": srt.srt_connect(sock, address, len(address)) == 0}
    if answer["connected"]:
        answer["rcvlatency"], answer["peerlatency"] = number(sock, 43), number(sock, 44)
        packet = b"\x47\x1f\xff\x10" + b"\xff" * 184
        payload = (packet * (size // 188 + 1))[:size]
        for sent in range(send):
            check(srt.srt_sendmsg(sock, payload, len(payload), -1, 1))
            if sent % 50 == 49:
                time.sleep(0.01)
        print("sent", file=sys.stderr, flush=True)
        if send:
            # Until the test has seen enough and closes standard input.
            sys.stdin.read()
    else:
        answer["reason"] = srt.srt_getrejectreason(sock)
    print(json.dumps(answer))
    srt.srt_close(sock)
    srt.srt_cleanup()


main(*sys.argv[1:])
