#!/usr/bin/env python3
"""Calls an SRT listener with libsrt 1.5 and prints how that ended.

usage: srt_call.py HOST PORT STREAMID PASSPHRASE KEYBYTES   (empty strings and 0 leave an option unset)
"""

import ctypes
import json
import socket
import struct
import sys

STREAMID, PASSPHRASE, PBKEYLEN, CONNTIMEO = 46, 26, 27, 36

srt = ctypes.CDLL("libsrt-gnutls.so.1.5")
srt.srt_getlasterror_str.restype = ctypes.c_char_p
srt.srt_rejectreason_str.restype = ctypes.c_char_p


def set_bytes(sock, option, value):
    if value:
        assert srt.srt_setsockflag(sock, option, value, len(value)) == 0, srt.srt_getlasterror_str()


def set_int(sock, option, value):
    if value:
        number = ctypes.c_int(value)
        assert srt.srt_setsockflag(sock, option, ctypes.byref(number), 4) == 0, srt.srt_getlasterror_str()


def main(host, port, streamid, passphrase, key_bytes):
    srt.srt_startup()
    srt.srt_setloglevel(0)
    sock = srt.srt_create_socket()
    set_bytes(sock, STREAMID, streamid.encode())
    set_bytes(sock, PASSPHRASE, passphrase.encode())
    set_int(sock, PBKEYLEN, int(key_bytes))
    set_int(sock, CONNTIMEO, 5000)
    address = struct.pack("=H", socket.AF_INET) + struct.pack("!H", int(port)) + socket.inet_aton(host) + bytes(8)
    connected = srt.srt_connect(sock, address, len(address)) == 0
    reason = 0 if connected else srt.srt_getrejectreason(sock)
    words = "" if connected else srt.srt_rejectreason_str(reason).decode()
    print(json.dumps({"connected": connected, "reason": reason, "words": words}))
    srt.srt_close(sock)
    srt.srt_cleanup()


if __name__ == "__main__":
    main(*sys.argv[1:])
