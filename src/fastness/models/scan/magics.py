"""Names for what no reader covers, for the message only."""

from __future__ import annotations

_MAGICS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "looks like a zip archive (torch, Keras, npz)"),
    (b"PK\x05\x06", "looks like an empty zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "looks like a 7z archive"),
    (b"\x89HDF\r\n\x1a\n", "looks like HDF5 (Keras)"),
    (b"GGUF", "looks like GGUF"),
    (b"Rar!", "looks like a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "looks like zstandard"),
    (b"\x04\x22\x4d\x18", "looks like lz4"),
    (b"\x7fELF", "looks like an ELF executable"),
    (b"MZ", "looks like a Windows executable"),
    (b"#!", "looks like a script"),
    (b"<?xml", "looks like XML"),
    (b"{", "looks like JSON"),
)


def guess(head: bytes) -> str:
    """What the first bytes look like, for the message only."""
    for magic, name in _MAGICS:
        if head.startswith(magic):
            return name
    if head[257:262] == b"ustar":
        return "looks like a tar archive"
    return "an unknown format"
