"""Encrypted containers, key rings, signed statements and the embedded certificate authority.

The return type of `KeyRing.mac` is the Protocol `keys.Mac`.
"""

from fastness.foundation.crypto import floe, references
from fastness.foundation.crypto.ca import CertificateAuthority
from fastness.foundation.crypto.dsse import Statement, sign_statement, verify_statement
from fastness.foundation.crypto.keyring import SealedKeyRing
from fastness.foundation.crypto.keys import DestructionReceipt, KeyContext, KeyRing, Purpose, WrappedKey
from fastness.foundation.crypto.signing import Signer, SoftwareSigner
from fastness.foundation.crypto.unlock import Unlock

__all__ = [
    "CertificateAuthority",
    "DestructionReceipt",
    "KeyContext",
    "KeyRing",
    "Purpose",
    "SealedKeyRing",
    "Signer",
    "SoftwareSigner",
    "Statement",
    "Unlock",
    "WrappedKey",
    "floe",
    "references",
    "sign_statement",
    "verify_statement",
]
