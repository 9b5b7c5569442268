"""Headers of programs, put together from their specifications. There is no code behind any of them."""

import struct

ELF = (
    b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
)
ELF32_BIG = b"\x7fELF\x01\x02\x01" + bytes(9) + struct.pack(">HHI", 2, 8, 1) + bytes(28)
CUDA = b"\x7fELF\x02\x01\x01" + bytes([0x33, 7]) + bytes(7) + struct.pack("<HHI", 2, 190, 1) + bytes(40)
PE = (
    b"MZ"
    + bytes(58)
    + struct.pack("<I", 128)
    + bytes(64)
    + b"PE\0\0"
    + struct.pack("<HHIIIHHH", 0x8664, 3, 0, 0, 0, 0xF0, 0x22, 0x20B)
    + bytes(64)
)
MACHO = struct.pack("<7I", 0xFEEDFACF, 0x01000007, 3, 2, 16, 1296, 0x85) + bytes(8)
FAT = struct.pack(">7I", 0xCAFEBABE, 2, 0x01000007, 3, 4096, 8192, 12)
JAVA = struct.pack(">IHHHB", 0xCAFEBABE, 0, 61, 20, 10) + bytes(40)
DEX = b"dex\n035\0" + bytes(40)
WASM = b"\0asm\1\0\0\0\1\4\1\x60\0\0" + bytes(20)
SCRIPTS = {
    "shell": b"#!/bin/sh\ncurl example.org/x\n",
    "env": b"#!/usr/bin/env python3\nimport os\n",
    "bash with options": b"#! /usr/local/bin/bash -eu\ntrue\n",
}
