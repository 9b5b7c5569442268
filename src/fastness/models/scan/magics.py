"""Names for what no reader covers, and what file names promise. Neither decides anything by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

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
_PROMISES: dict[str, tuple[str, ...]] = {
    ".safetensors": ("safetensors",),
    ".onnx": ("onnx",),
    ".npy": ("npy",),
    ".json": (),
    ".txt": (),
    ".md": (),
    ".yaml": (),
    ".yml": (),
    ".csv": (),
    ".png": (),
    ".jpg": (),
    ".h5": (),
    ".gguf": (),
}


def guess(head: bytes) -> str:
    """What the first bytes look like, for the message only."""
    for magic, name in _MAGICS:
        if head.startswith(magic):
            return name
    if head[257:262] == b"ustar":
        return "looks like a tar archive"
    return "an unknown format"


def mismatch(path: str, formats: Sequence[str]) -> str:
    """The suffix of `path` if it promises none of the formats found; otherwise empty."""
    suffix = PurePosixPath(path).suffix.lower()
    promised = _PROMISES.get(suffix)
    return suffix if promised is not None and not set(promised) & set(formats) else ""
