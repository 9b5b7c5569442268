"""Proof of possession: client certificates and signing keys, by which principals prove who they are without sending a secret.

Both are credentials as API keys are: with rights that only narrow, addresses, a rate, an expiry, and revocation. What is
stored is public; the private half stays with its owner.
"""

from fastness.access.possession.keys import Kind, PossessionRow, add_signing_key, found_keys, revoke_possession
from fastness.access.possession.nonces import Nonce, Nonces
from fastness.access.possession.settings import SignatureSettings
from fastness.access.possession.shown import Shown, proofs
from fastness.access.possession.snapshot import PossessionKey, PossessionKeys, PossessionProjection

__all__ = [
    "Kind",
    "Nonce",
    "Nonces",
    "PossessionKey",
    "PossessionKeys",
    "PossessionProjection",
    "PossessionRow",
    "Shown",
    "SignatureSettings",
    "add_signing_key",
    "found_keys",
    "proofs",
    "revoke_possession",
]
