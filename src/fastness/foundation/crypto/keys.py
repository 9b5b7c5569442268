"""The words of key management: what a key is for, what it is bound to, and the Protocols of those who hold keys."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import rfc8785
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from fastness.core.digests import BlobId
from fastness.core.errors import Forbidden
from fastness.core.identity import TenantId
from fastness.core.secrets import SecretBytes
from fastness.core.sources import Buffer
from fastness.foundation.crypto.signing import Signer


class Purpose(StrEnum):
    """What a key of the house is for; no key serves two purposes."""

    ATTEST = "attest"
    CHECKPOINT = "checkpoint"
    ALIAS = "alias"
    TLS_CA = "tls-ca"
    KEY_PEPPER = "key-pepper"
    DEDUP = "dedup"
    LOGIN = "login"
    TOKENS = "tokens"
    ROWS = "rows"
    POLICIES = "policies"


@dataclass(frozen=True, slots=True)
class KeyContext:
    """What a data key is bound to; a wrapped key opens for no other tenant, blob or epoch."""

    tenant: TenantId
    blob: BlobId
    epoch: int

    def aad(self, container: str) -> bytes:
        """What a container of the format `container` is bound to, RFC 8785 JSON. Not to the epoch: keys are wrapped
        anew without touching the container.
        """
        return rfc8785.dumps({"format": container, "tenant": self.tenant, "blob": self.blob})


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key under a key-encryption key; safe to store.

    Attributes:
        key_id: the key-encryption key.
        version: its version, from 1.
        wrapped: the data key as wrapped.
    """

    key_id: str
    version: int
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class DestructionReceipt:
    """What was destroyed, so that it can be recorded and matched with what a backup still holds.

    Attributes:
        subject: `key:ID` or `blob:ID`.
        destroyed: false where others still refer to it, so that it was kept.
        fingerprint: SHA-256, in hex, of the stored form of what was destroyed; empty where it was kept.
    """

    subject: str
    destroyed: bool
    fingerprint: str


class Mac(Protocol):
    """A keyed hash for one purpose."""

    def digest(self, data: Buffer) -> bytes:
        """HMAC-SHA-256 of `data`, 32 bytes."""
        ...

    def derived(self, context: bytes) -> Mac:
        """A keyed hash of its own for `context`, such as a tenant; it cannot be exported."""
        ...

    def export(self) -> SecretBytes:
        """The key itself, for another process of the house.

        Raises:
            Forbidden: the purpose of this key does not need it.
        """
        ...


class KeyRing(Protocol):
    """Who holds the key-encryption keys and the keys of the house."""

    def wrap(self, dek: SecretBytes, context: KeyContext) -> WrappedKey:
        """`dek` under the newest key of the context's tenant."""
        ...

    def unwrap(self, key: WrappedKey, context: KeyContext) -> SecretBytes:
        """The data key; the caller wipes it.

        Raises:
            Corrupt: changed, or wrapped for another context.
            NotFound: its key-encryption key is unknown or destroyed.
        """
        ...

    def rotate(self, key_id: str) -> int:
        """Make a new version of the key and return its number; older versions still unwrap."""
        ...

    def destroy(self, key_id: str) -> DestructionReceipt:
        """Destroy all versions of the key: nothing wrapped under it can be read again, by anybody."""
        ...

    def signer(self, purpose: Purpose) -> Signer:
        """The signing key of `purpose`."""
        ...

    def mac(self, purpose: Purpose) -> Mac:
        """The keyed hash of `purpose`."""
        ...


class HmacKey:
    """A `Mac` in memory."""

    def __init__(self, key: SecretBytes, *, exportable: bool) -> None:
        self._key = key
        self._exportable = exportable

    def digest(self, data: Buffer) -> bytes:
        """HMAC-SHA-256 of `data`, 32 bytes."""
        return hmac.digest(self._key.reveal(), data, "sha256")

    def derived(self, context: bytes) -> HmacKey:
        """A keyed hash for `context`. SHA-512 derives, so that no digest (SHA-256) ever equals a derived key."""
        kdf = HKDFExpand(hashes.SHA512(), 32, b"fastness derived mac 1\0" + context)
        return HmacKey(SecretBytes(kdf.derive(self._key.reveal())), exportable=False)

    def export(self) -> SecretBytes:
        """A copy of the key.

        Raises:
            Forbidden: the purpose of this key does not need it.
        """
        if not self._exportable:
            raise Forbidden("key-not-exportable", "this key does not leave the key ring")
        return SecretBytes(self._key.reveal())
