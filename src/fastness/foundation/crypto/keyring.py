"""The sealed key ring: the keys of one house in a folder, sealed under a root that is never stored.

Each entry is one file, AES-256-GCM under the root with the ring's id and the entry's name as associated data, so an
entry cannot be changed, renamed, or moved in from another ring. All entries are opened when the ring is.

Data keys are wrapped in two steps. From the tenant's key-encryption key a wrapping key is derived for exactly one
context (HKDF-SHA-256; info is the RFC 8785 JSON of tenant, blob, epoch, key id and version), and the data key is wrapped
under it with AES-256-KWP (RFC 5649). KWP takes no associated data; through the derivation a key taken to another tenant,
blob, epoch or version meets another wrapping key and fails its integrity check. KWP is deterministic, so there is no
nonce to repeat over any number of keys.

What it misses: an older copy of the folder is accepted (the ledger shows what happened since); a process that has the
ring open keeps a key that another process destroys, until it opens the ring again; whoever can read the memory of the
process can read the keys. Cost: a wrap takes some ten microseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import rfc8785
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding, aes_key_wrap_with_padding

from fastness.core.clock import Entropy, system_entropy
from fastness.core.digests import parse_name
from fastness.core.errors import Conflict, Corrupt, Invalid, NotFound
from fastness.core.identity import TenantId
from fastness.core.secrets import SecretBytes
from fastness.foundation.crypto.keys import DestructionReceipt, HmacKey, KeyContext, Mac, Purpose, WrappedKey
from fastness.foundation.crypto.shelf import FolderShelf, MemoryShelf, Shelf
from fastness.foundation.crypto.signing import RingSigner, Signer
from fastness.foundation.crypto.unlock import Unlock, new_root, open_root

_SIGNING = (Purpose.ATTEST, Purpose.CHECKPOINT, Purpose.ALIAS, Purpose.POLICIES)
_HASHING = (Purpose.KEY_PEPPER, Purpose.DEDUP, Purpose.LOGIN, Purpose.TOKENS, Purpose.ROWS)
# A ring made before these gets them when it is opened.
_LATER = frozenset({Purpose.LOGIN.value, Purpose.TOKENS.value, Purpose.ROWS.value, Purpose.POLICIES.value})
_EXPORTABLE = frozenset({Purpose.KEY_PEPPER})
_KEY_ENCRYPTION, _SECRET = "kek-", "secret-"


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one sealed file holds.

    Attributes:
        kind: what the material is; it never changes.
        label: for people: the tenant of a key-encryption key, the purpose of another.
        current: the version that new things use; 0 when the key was destroyed.
        versions: number to key material.
    """

    kind: Literal["kek", "sign", "mac", "secret"]
    label: str
    current: int
    versions: dict[int, bytes]

    def __repr__(self) -> str:
        return f"Entry({self.kind}, {self.label}, version {self.current}, ***)"


class _SealedEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    nonce: bytes
    sealed: bytes


class _Entries:
    """The entries of one ring, opened; turns them into file contents and back."""

    def __init__(self, shelf: Shelf, ring: str, root: SecretBytes, entropy: Entropy) -> None:
        self.shelf = shelf
        self._ring = ring
        self._cipher = AESGCM(bytes(root.reveal()))
        self._entropy = entropy
        self._opened: dict[str, Entry] = {}

    def get(self, name: str) -> Entry | None:
        if name not in self._opened and name in self.shelf.names():
            self.load(name)
        return self._opened.get(name)

    def load(self, name: str) -> Entry:
        entry = self._opened[name] = self._open(name, self.shelf.read(name))
        return entry

    def save(self, name: str, entry: Entry) -> Entry:
        self.shelf.write(name, self.seal(name, entry))
        self._opened[name] = entry
        return entry

    def complete(self, missing: Sequence[str], made: Mapping[str, Entry]) -> list[str]:
        """Add the keys that a ring made before their purpose lacks; the names of all entries."""
        with self.shelf.changing():
            for name in set(missing) - set(self.shelf.names()):  # else another process was faster
                self.save(name, made[name])
        return self.shelf.names()

    def key(self, key_id: str, *, fresh: bool = False) -> Entry:
        """A key-encryption key that was not destroyed; a fresh one as it stands on the shelf now."""
        entry = self.get(key_id) if key_id.startswith(_KEY_ENCRYPTION) else None
        if entry is None:
            raise NotFound("key-unknown", "the key-encryption key is not in this ring", "Restore the key ring.")
        if fresh:
            entry = self.load(key_id)
        if not entry.current:
            raise NotFound("key-destroyed", f"{key_id} was destroyed; what it protected cannot be read again")
        return entry

    def seal(self, name: str, entry: Entry) -> bytes:
        nonce = self._entropy(12)
        sealed = self._cipher.encrypt(nonce, msgspec.json.encode(entry), self._bound_to(name))
        return msgspec.json.encode(_SealedEntry(name, nonce, sealed))

    def _open(self, name: str, data: bytes) -> Entry:
        try:
            stored = msgspec.json.decode(data, type=_SealedEntry)
            plain = self._cipher.decrypt(stored.nonce, stored.sealed, self._bound_to(name))
            entry = msgspec.json.decode(plain, type=Entry)
        except (msgspec.MsgspecError, InvalidTag, ValueError) as error:
            raise _corrupt(name) from error
        # Comparing the encodings refuses what decodes alike, such as other white space.
        if stored.name != name or msgspec.json.encode(stored) != data:
            raise _corrupt(name)
        return entry

    def _bound_to(self, name: str) -> bytes:
        return rfc8785.dumps({"format": "fastness-keyring-entry-1", "ring": self._ring, "name": name})


class SealedKeyRing:
    """The embedded key ring; made by `create`, `open` or `in_memory`. Threads may share it."""

    def __init__(self, entries: _Entries, entropy: Entropy) -> None:
        self._entries = entries
        self._shelf = entries.shelf
        self._entropy = entropy

    @classmethod
    def create(cls, path: Path, unlock: Unlock, entropy: Entropy) -> SealedKeyRing:
        """A new ring with all keys of the house in the folder `path`, durable on return.

        Raises:
            Conflict: `keyring-exists`; nothing is ever overwritten.
            Unavailable: the folder cannot be written.
        """
        FolderShelf.refuse_existing(path)
        record, root = new_root(unlock, entropy)
        entries = _Entries(FolderShelf(path, entropy), record.ring, root, entropy)
        root.wipe()
        sealed = {name: entries.seal(name, entry) for name, entry in _house_keys(entropy).items()}
        FolderShelf.create(path, entropy, msgspec.json.encode(record), sealed)
        return cls._checked(entries, entropy)

    @classmethod
    def open(cls, path: Path, unlock: Unlock, entropy: Entropy = system_entropy) -> SealedKeyRing:
        """The ring in the folder `path`; every entry is opened and checked.

        Raises:
            NotFound: `keyring-missing`, there is none.
            Unauthenticated: `keyring-locked`, the secret is not the right one.
            Corrupt: `keyring-corrupt`, a byte was changed or a key is missing.
        """
        shelf = FolderShelf(path, entropy)
        record, root = open_root(shelf.root(), unlock)
        entries = _Entries(shelf, record.ring, root, entropy)
        root.wipe()
        return cls._checked(entries, entropy)

    @classmethod
    def in_memory(cls, entropy: Entropy) -> SealedKeyRing:
        """A new ring that is gone with the process."""
        entries = _Entries(MemoryShelf(), "memory", SecretBytes(entropy(32)), entropy)
        for name, entry in _house_keys(entropy).items():
            entries.save(name, entry)
        return cls(entries, entropy)

    @classmethod
    def _checked(cls, entries: _Entries, entropy: Entropy) -> SealedKeyRing:
        names = entries.shelf.names()
        missing = sorted({p.value for p in (*_SIGNING, *_HASHING)} - set(names))
        if missing and _LATER.issuperset(missing):
            names = entries.complete(missing, _house_keys(entropy))
            missing = []
        if missing:
            raise Corrupt("keyring-corrupt", f"the key ring lacks {', '.join(missing)}", "Restore it from a backup.")
        for name in names:
            entries.load(name)
        return cls(entries, entropy)

    @staticmethod
    def key_id(tenant: TenantId) -> str:
        """The id of the key-encryption key of `tenant`."""
        return _KEY_ENCRYPTION + hashlib.sha256(tenant.encode()).hexdigest()[:32]

    def wrap(self, dek: SecretBytes, context: KeyContext) -> WrappedKey:
        """`dek` under the tenant's newest key-encryption key, which is made where the tenant has none yet.

        Raises:
            NotFound: `key-destroyed`, the tenant's key was destroyed.
        """
        key_id = self.key_id(context.tenant)
        if self._entries.get(key_id) is None:
            with self._shelf.changing():
                if key_id not in self._shelf.names():  # else another thread or process was faster
                    self._entries.save(key_id, Entry("kek", context.tenant, 1, {1: self._entropy(32)}))
        entry = self._entries.key(key_id)
        with_key = _wrapping_key(key_id, entry, entry.current, context)
        return WrappedKey(key_id, entry.current, aes_key_wrap_with_padding(with_key, bytes(dek.reveal())))

    def unwrap(self, key: WrappedKey, context: KeyContext) -> SecretBytes:
        """The data key; the caller wipes it.

        Raises:
            Corrupt: `key-corrupt`, it was changed or wrapped for another context.
            NotFound: `key-unknown` or `key-destroyed`, its key-encryption key is not there.
        """
        entry = self._entries.key(key.key_id)
        if key.version not in entry.versions:
            entry = self._entries.key(key.key_id, fresh=True)  # another process may have rotated it
        with_key = _wrapping_key(key.key_id, entry, key.version, context)
        try:
            return SecretBytes(aes_key_unwrap_with_padding(with_key, key.wrapped))
        except (InvalidUnwrap, ValueError) as error:
            raise Corrupt("key-corrupt", "the data key was changed, or belongs to another tenant or blob") from error

    def rotate(self, key_id: str) -> int:
        """Make a new version of a key-encryption key and return its number; older versions still unwrap.

        Raises:
            NotFound: `key-unknown` or `key-destroyed`.
        """
        with self._shelf.changing():
            entry = self._entries.key(key_id, fresh=True)
            version = entry.current + 1
            versions = {**entry.versions, version: self._entropy(32)}
            self._entries.save(key_id, msgspec.structs.replace(entry, current=version, versions=versions))
        return version

    def destroy(self, key_id: str) -> DestructionReceipt:
        """Destroy all versions of a key-encryption key. A tombstone stays, so that the tenant gets no new one.

        Raises:
            NotFound: `key-unknown` or `key-destroyed`.
        """
        with self._shelf.changing():
            entry = self._entries.key(key_id, fresh=True)
            fingerprint = hashlib.sha256(self._shelf.read(key_id)).hexdigest()
            self._entries.save(key_id, msgspec.structs.replace(entry, current=0, versions={}))
        return DestructionReceipt(f"key:{key_id}", destroyed=True, fingerprint=fingerprint)

    def signer(self, purpose: Purpose) -> Signer:
        """The signing key of `purpose`.

        Raises:
            Invalid: `purpose-wrong`, it has none.
        """
        return RingSigner(_house_key(self._entries, purpose, _SIGNING))

    def mac(self, purpose: Purpose) -> Mac:
        """The keyed hash of `purpose`.

        Raises:
            Invalid: `purpose-wrong`, it has none.
        """
        return HmacKey(_house_key(self._entries, purpose, _HASHING), exportable=purpose in _EXPORTABLE)

    def seal(self, name: str, content: SecretBytes) -> None:
        """Keep a secret of the house under `name`, durable on return.

        Raises:
            Conflict: `secret-exists`; a secret is not overwritten.
            Invalid: not a name, or too long.
        """
        entry_name = _SECRET + parse_name(name)
        if len(content) > 1 << 16:
            raise Invalid("secret-long", "a sealed secret has at most 64 KiB")
        with self._shelf.changing():
            if entry_name in self._shelf.names():
                raise Conflict("secret-exists", f"the key ring holds {name} already")
            self._entries.save(entry_name, Entry("secret", name, 1, {1: bytes(content.reveal())}))

    def unseal(self, name: str) -> SecretBytes:
        """The secret kept under `name`.

        Raises:
            NotFound: `secret-unknown`.
        """
        entry = self._entries.get(_SECRET + parse_name(name))
        if entry is None:
            raise NotFound("secret-unknown", f"the key ring holds no {name}")
        return SecretBytes(entry.versions[entry.current])


def _house_key(entries: _Entries, purpose: Purpose, allowed: Sequence[Purpose]) -> SecretBytes:
    if purpose not in allowed:
        raise Invalid("purpose-wrong", f"{purpose} has no such key; choose from {', '.join(allowed)}")
    entry = entries.get(purpose.value)
    if entry is None:
        raise Corrupt("keyring-corrupt", f"the key ring lacks {purpose}")
    return SecretBytes(entry.versions[entry.current])


def _wrapping_key(key_id: str, entry: Entry, version: int, context: KeyContext) -> bytes:
    """The key for exactly this context; see the module's docstring."""
    if version not in entry.versions:
        raise NotFound("key-unknown", f"version {version} of the key-encryption key is not in this ring")
    try:
        info = rfc8785.dumps(
            {
                "use": "fastness-dek-wrap-1",
                "key": key_id,
                "version": version,
                "tenant": context.tenant,
                "blob": context.blob,
                "epoch": context.epoch,
            }
        )
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise Corrupt("key-corrupt", "the data key is bound to what it cannot be bound to") from error
    return HKDF(hashes.SHA256(), 32, None, info).derive(entry.versions[version])


def _corrupt(name: str) -> Corrupt:
    return Corrupt("keyring-corrupt", f"{name} of the key ring fails its authentication", "Restore it from a backup.")


def _house_keys(entropy: Entropy) -> dict[str, Entry]:
    keys = {p.value: Entry("sign", p, 1, {1: entropy(32)}) for p in _SIGNING}
    return keys | {p.value: Entry("mac", p, 1, {1: entropy(32)}) for p in _HASHING}
