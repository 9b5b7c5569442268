"""Archives put together from bytes, so that each record can lie on its own. Payloads are inert, and none is unpacked."""

import io
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.unit.models.scan.artifacts import EVIL, npy

PLAIN = npy("'<f4'", "(4,)", bytes(16))
"""An honest member."""


@dataclass
class Packed:
    """A member of a zip, with what its two records say of it; what is None is told truly."""

    name: str
    data: bytes
    method: int = 0
    local_name: str | None = None
    flags: int = 0
    local_flags: int | None = None
    crc: int | None = None
    size: int | None = None
    packed: int | None = None
    local_packed: int | None = None
    local_method: int | None = None
    mode: int = 0
    extra: bytes = b""
    version: int = 20
    stream: bytes | None = None
    listed: bool = True
    descriptor: bool = False
    offset: int | None = None

    def body(self) -> bytes:
        """The bytes that stand in the archive."""
        if self.stream is not None:
            return self.stream
        if self.method == 8:
            deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
            return deflate.compress(self.data) + deflate.flush()
        return self.data

    def said(self) -> tuple[int, int, int]:
        """Checksum and both sizes, by the directory."""
        crc = zlib.crc32(self.data) if self.crc is None else self.crc
        packed = len(self.body()) if self.packed is None else self.packed
        return crc, packed, len(self.data) if self.size is None else self.size


def zip_of(*members: Packed, comment: bytes = b"", before: bytes = b"", count: int | None = None) -> bytes:
    """A zip archive of these members."""
    out, directory, listed = bytearray(before), b"", 0
    for one in members:
        at = len(out) if one.offset is None else one.offset
        crc, packed, size = one.said()
        name = (one.name if one.local_name is None else one.local_name).encode()
        flags = one.flags | (8 if one.descriptor else 0)
        local = one.local_flags if one.local_flags is not None else flags
        method = one.method if one.local_method is None else one.local_method
        here = (0, 0, 0) if one.descriptor else (crc, packed if one.local_packed is None else one.local_packed, size)
        if one.offset is None:
            out += struct.pack("<4s5H3I2H", b"PK\3\4", 20, local, method, 0, 33, *here, len(name), len(one.extra))
            out += name + one.extra + one.body()
            out += struct.pack("<4s3I", b"PK\7\x08", crc, packed, size) if one.descriptor else b""
        if one.listed:
            listed += 1
            name = one.name.encode()
            sizes = (crc, packed, size, len(name), len(one.extra), 0, 0, 0, one.mode << 16, at)
            directory += struct.pack(
                "<4s6H3I5H2I", b"PK\1\2", 3 << 8 | 20, one.version, flags, one.method, 0, 33, *sizes
            )
            directory += name + one.extra
    return bytes(out) + directory + end_of(listed if count is None else count, len(directory), len(out), comment)


def end_of(count: int, size: int, offset: int, comment: bytes = b"") -> bytes:
    """The end of an archive."""
    return struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, size, offset, len(comment)) + comment


def end64_of(count: int, size: int, offset: int, at: int) -> bytes:
    """The end of the 64-bit form, which stands at `at`, with its locator."""
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
    return record + struct.pack("<4sIQI", b"PK\6\7", 0, at, 1)


def tar_of(
    *members: tuple[str, bytes], change: Callable[[tarfile.TarInfo], None] | None = None, form: int = tarfile.PAX_FORMAT
) -> bytes:
    """A tar archive; `change` changes each header."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if change is not None:
                change(info)
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return out.getvalue()


def tar_header(name: str, size: int, kind: bytes = b"0", link: str = "", **fields: bytes) -> bytes:
    """One header block, with a checksum that fits."""
    block = bytearray(512)
    block[: len(name)] = name.encode()
    block[100:108], block[108:116], block[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    block[124:136] = fields.get("length", b"%011o\0" % size)
    block[136:148], block[156:157], block[257:265] = b"00000000001\0", kind, fields.get("magic", b"ustar\x0000")
    block[157 : 157 + len(link)] = link.encode()
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def tar_blocks(*parts: bytes) -> bytes:
    """Headers and data, each filled up to whole blocks, and the end."""
    return b"".join(part + bytes(-len(part) % 512) for part in parts) + bytes(1024)


def torch_zip(pickle: bytes, extra: Iterable[Packed] = (), top: str = "archive") -> bytes:
    """An archive as torch lays it out."""
    return zip_of(
        Packed(f"{top}/data.pkl", pickle),
        Packed(f"{top}/byteorder", b"little"),
        Packed(f"{top}/data/0", bytes(64)),
        Packed(f"{top}/version", b"3\n"),
        *extra,
    )


EVIL_MEMBER = Packed("m.pkl", EVIL)
