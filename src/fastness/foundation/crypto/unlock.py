"""From a passphrase or a key file to the root key of a key ring.

`root.json` holds how the root is made: method, salt, scrypt cost. All of it goes into the derivation, so a changed
parameter gives another root; a checksum without a key tells damage (`Corrupt`) from a wrong secret (`keyring-locked`).

Cost: scrypt with the shipped parameters takes 128 MiB and about a third of a second.
Source: RFC 7914 (scrypt), RFC 5869 (HKDF); OWASP Password Storage Cheat Sheet (n = 2^17, r = 8, p = 1).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fastness.core.clock import Entropy
from fastness.core.errors import Conflict, Corrupt, Forbidden, Invalid, NotFound, Unauthenticated
from fastness.core.secrets import SecretBytes

_FORMAT = "fastness-keyring-1"
_SHORTEST_PASSPHRASE = 8  # NIST SP 800-63B, section 5.1.1.2
_KEY_FILE_BYTES = range(32, 4097)
_LOG_N = range(14, 21)
_MAX_P = 4


class ScryptCost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How dear a guess is: memory is 128 * 2^log_n * r bytes.

    Raises:
        Invalid: out of range. The bounds hold for stored parameters too, which an attacker may have written.
    """

    log_n: int = 17
    r: int = 8
    p: int = 1

    def __post_init__(self) -> None:
        if self.log_n not in _LOG_N or self.r != 8 or not 1 <= self.p <= _MAX_P:
            raise Invalid("scrypt-cost", "scrypt takes log_n from 14 to 20, r of 8 and p from 1 to 4")


class RootRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`root.json`, without a secret. Texts are lower-case hex.

    Attributes:
        check: derived from the root key; tells whether the secret was the right one.
        checksum: SHA-256 of the record without it.
    """

    format: str
    ring: str
    method: Literal["passphrase", "key-file"]
    salt: str
    cost: ScryptCost | None
    check: str = ""
    checksum: str = ""


@dataclass(frozen=True, slots=True)
class Unlock:
    """What opens a key ring; made by `passphrase`, `key_file` or `new_key_file`."""

    method: Literal["passphrase", "key-file"]
    secret: SecretBytes
    cost: ScryptCost | None

    @classmethod
    def passphrase(cls, secret: SecretBytes, cost: ScryptCost | None = None) -> Unlock:
        """Unlock by a passphrase. `cost` counts when a ring is created; opening takes the stored one.

        Raises:
            Invalid: shorter than 8 bytes.
        """
        if len(secret) < _SHORTEST_PASSPHRASE:
            raise Invalid("passphrase-short", "the passphrase is shorter than 8 characters", "Use a longer one.")
        return cls("passphrase", secret, cost or ScryptCost())

    @classmethod
    def key_file(cls, path: Path) -> Unlock:
        """Unlock by the bytes of a file that nobody else can read.

        Raises:
            NotFound: there is no such file.
            Forbidden: it is a link, or group or others may read or write it, or another user owns it.
            Invalid: it holds fewer than 32 or more than 4096 bytes.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise NotFound("key-file-missing", "the key file does not exist", "Create the home first.") from error
        except OSError as error:
            raise Forbidden("key-file-unsafe", "the key file cannot be opened, or is a link") from error
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077 or found.st_uid not in {0, os.geteuid()}:
                raise Forbidden("key-file-unsafe", "others may read or change the key file", "Run chmod 600 on it.")
            content = os.read(fd, _KEY_FILE_BYTES.stop)
        finally:
            os.close(fd)
        if len(content) not in _KEY_FILE_BYTES:
            raise Invalid("key-file-length", "a key file holds 32 to 4096 random bytes")
        return cls("key-file", SecretBytes(content), None)

    @classmethod
    def new_key_file(cls, path: Path, entropy: Entropy) -> Unlock:
        """Create a key file of 32 random bytes, mode 0600, durable on return.

        Raises:
            Conflict: the file exists.
        """
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileExistsError as error:
            raise Conflict("key-file-exists", "the key file exists; it is not overwritten") from error
        with os.fdopen(fd, "wb", buffering=0) as file:
            file.write(entropy(32))
            os.fsync(fd)
        return cls.key_file(path)

    def stretched(self, salt: bytes, cost: ScryptCost | None) -> bytes:
        """32 bytes from the secret; slow where it is a passphrase."""
        if cost is None:
            return _hkdf(bytes(self.secret.reveal()), salt, b"fastness keyring key file 1")
        n = 1 << cost.log_n
        room = 129 * n * cost.r + (1 << 20) * cost.p  # OpenSSL counts a little more than 128 n r
        return hashlib.scrypt(self.secret.reveal(), salt=salt, n=n, r=cost.r, p=cost.p, maxmem=room, dklen=32)


def new_root(unlock: Unlock, entropy: Entropy) -> tuple[RootRecord, SecretBytes]:
    """The record of a new ring and its root key."""
    bare = RootRecord(_FORMAT, entropy(16).hex(), unlock.method, entropy(32).hex(), unlock.cost)
    root, check = _keys(bare, unlock)
    checked = msgspec.structs.replace(bare, check=check)
    return msgspec.structs.replace(checked, checksum=_checksum(checked)), root


def open_root(data: bytes, unlock: Unlock) -> tuple[RootRecord, SecretBytes]:
    """The record in `data` and the root key.

    Raises:
        Corrupt: the record was changed or is malformed.
        Unauthenticated: `keyring-locked`, the secret is not the one that the ring was made with.
    """
    try:
        record = msgspec.json.decode(data, type=RootRecord)
        bytes.fromhex(record.salt)
    except (msgspec.MsgspecError, Invalid, ValueError) as error:
        raise Corrupt("keyring-corrupt", "root.json of the key ring is malformed", "Restore it.") from error
    unmarked = msgspec.structs.replace(record, checksum="")
    # Comparing the encodings refuses what decodes alike, such as other white space.
    intact = msgspec.json.encode(record) == data and hmac.compare_digest(record.checksum, _checksum(unmarked))
    if not intact or record.format != _FORMAT or (record.cost is None) != (record.method == "key-file"):
        raise Corrupt("keyring-corrupt", "root.json of the key ring was changed", "Restore it from a backup.")
    if record.method != unlock.method:
        raise Unauthenticated("keyring-locked", f"the key ring opens with a {record.method}")
    root, check = _keys(msgspec.structs.replace(record, check="", checksum=""), unlock)
    if not hmac.compare_digest(check, record.check):
        raise Unauthenticated("keyring-locked", f"the {record.method} does not open the key ring")
    return record, root


def _keys(bare: RootRecord, unlock: Unlock) -> tuple[SecretBytes, str]:
    """Root key and check value; every field of the bare record goes into both."""
    stretched = unlock.stretched(bytes.fromhex(bare.salt), bare.cost)
    parameters = msgspec.json.encode(bare)
    root = _hkdf(stretched, None, b"fastness keyring root 1\0" + parameters)
    return SecretBytes(root), _hkdf(stretched, None, b"fastness keyring check 1\0" + parameters).hex()


def _hkdf(secret: bytes, salt: bytes | None, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, info).derive(secret)


def _checksum(record: RootRecord) -> str:
    return hashlib.sha256(msgspec.json.encode(record)).hexdigest()
