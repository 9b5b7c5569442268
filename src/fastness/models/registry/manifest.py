"""The manifest of a version: everything it is made of, as canonical JSON whose digest is signed.

The bytes are RFC 8785 (JCS), stored and hashed as they stand. A manifest names its tenant, model and number, so that
one version's manifest, attestations or approvals never pass for another's, even where the files are the same.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec
import rfc8785

from fastness.core.digests import BlobId, Digest
from fastness.core.errors import Corrupt, Invalid
from fastness.core.identity import PrincipalId, TenantId
from fastness.core.signature import ModelSignature


class Predicate(StrEnum):
    """What a signed statement of the house says about its subject."""

    MANIFEST = "urn:fastness:predicate:manifest:v1"
    SCAN = "urn:fastness:predicate:scan:v1"
    BEHAVIOUR = "urn:fastness:predicate:behaviour:v1"
    ALLOWANCE = "urn:fastness:predicate:allowance:v1"
    ALIAS = "urn:fastness:predicate:alias:v1"


class ManifestFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One stored file of a version."""

    path: str
    size: int
    sha256: Digest
    blob: BlobId


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a version is.

    Attributes:
        number: 1 for the first version of a model, without gaps.
        formats: what the scan recognised.
        loader: the loader that can run it, or empty.
        signature: its interface; None where no loader can run it.
        labels: names of the classes, in the order of the output.
        author: who pushed it.
        created_at: RFC 3339, UTC.
        scan: digest of the scan report.
        behaviour: digest of the report card, or empty where it was not assessed.
    """

    tenant: TenantId
    model: str
    number: int
    files: tuple[ManifestFile, ...]
    formats: tuple[str, ...]
    loader: str
    signature: ModelSignature | None
    labels: tuple[str, ...]
    author: PrincipalId
    created_at: str
    scan: Digest
    behaviour: str


def canonical(document: msgspec.Struct) -> bytes:
    """The document as RFC 8785 JSON: one text for one value, whoever writes it.

    Raises:
        Invalid: it holds a number or text that JSON does not.
    """
    try:
        return rfc8785.dumps(msgspec.to_builtins(document))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise Invalid(
            "document-unwritable", f"a {type(document).__name__} holds a number or text that JSON does not"
        ) from error


def digest_bytes(data: bytes) -> Digest:
    """SHA-256 of `data`."""
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def parse_manifest(data: bytes) -> Manifest:
    """The manifest behind stored bytes.

    Raises:
        Corrupt: not the bytes of a manifest.
    """
    try:
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Corrupt("manifest-corrupt", "a stored manifest cannot be read", "Restore the records.") from error
