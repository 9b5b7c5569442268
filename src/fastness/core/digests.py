"""Content digests and identifiers of stored things."""

from __future__ import annotations

import re
from typing import NewType

from fastness.core.errors import Invalid

Digest = NewType("Digest", str)
"""`sha256:` and 64 lower-case hex digits."""

BlobId = NewType("BlobId", str)
"""64 lower-case hex digits; keyed, so that it tells outsiders nothing about the content."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_BLOB = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)


def parse_digest(text: str) -> Digest:
    """The digest in `text`.

    Raises:
        Invalid: not `sha256:` and 64 hex digits.
    """
    if not _DIGEST.fullmatch(text):
        raise Invalid("digest-malformed", "not a digest", "Write sha256: and 64 lower-case hex digits.")
    return Digest(text)


def parse_blob_id(text: str) -> BlobId:
    """The blob id in `text`; safe to use as a file name.

    Raises:
        Invalid: not 64 hex digits.
    """
    if not _BLOB.fullmatch(text):
        raise Invalid("blob-id-malformed", "not a blob id")
    return BlobId(text)


def parse_name(text: str) -> str:
    """A name for a model, alias or environment; safe in paths and URLs.

    Raises:
        Invalid: empty, longer than 64, or with characters other than a-z, 0-9, dot, dash, underscore.
    """
    if not _NAME.fullmatch(text) or ".." in text:
        raise Invalid(
            "name-malformed",
            f"{text[:80]!r} is not a name",
            "Use 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning and ending with a letter or digit.",
        )
    return text
