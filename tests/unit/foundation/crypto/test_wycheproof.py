"""Wycheproof's cases through the primitives that the package uses, called as the package calls them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding, aes_key_wrap_with_padding

from fastness.core.errors import Corrupt, Invalid
from fastness.foundation.crypto.signing import load_public, verify_signature
from tests.needs import need_data


def cases(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    document = json.loads(gzip.decompress(need_data(f"vectors/wycheproof/{name}.json.gz").read_bytes()))
    for group in document["testGroups"]:
        for case in group["tests"]:
            yield group, case


def raw(case: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(case[name]) for name in names]


def test_aes_gcm() -> None:
    replayed = refused = 0
    for _, case in cases("aes_gcm_test"):
        key, nonce, aad, plain, sealed, tag = raw(case, "key", "iv", "aad", "msg", "ct", "tag")
        out = bytearray(len(plain))
        valid = case["result"] == "valid"
        try:
            AESGCM(key).decrypt_into(nonce, sealed + tag, aad, out)
        except InvalidTag:
            assert not valid, case["tcId"]
        except ValueError:
            # The library takes nonces of 64 to 1024 bits; ours have 96.
            assert not 8 <= len(nonce) <= 128, case["tcId"]
            refused += 1
            continue
        else:
            assert valid, case["tcId"]
            assert out == plain, case["tcId"]
            again = bytearray(len(plain) + 16)
            AESGCM(key).encrypt_into(nonce, plain, aad, again)
            assert again == sealed + tag, case["tcId"]
        replayed += 1
    assert (replayed, refused) == (283, 33)


def test_aes_kwp() -> None:
    seen = 0
    for _, case in cases("aes_kwp_test"):
        key, plain, wrapped = raw(case, "key", "msg", "ct")
        if case["result"] == "valid":
            assert aes_key_unwrap_with_padding(key, wrapped) == plain, case["tcId"]
            assert aes_key_wrap_with_padding(key, plain) == wrapped, case["tcId"]
        else:
            with pytest.raises((InvalidUnwrap, ValueError)):
                aes_key_unwrap_with_padding(key, wrapped)
                pytest.fail(f"case {case['tcId']} was accepted: {case['comment']}")
        seen += 1
    assert seen == 254


def test_hkdf() -> None:
    seen = 0
    for _, case in cases("hkdf_sha384_test"):
        secret, salt, info, expected = raw(case, "ikm", "salt", "info", "okm")
        if case["result"] == "valid":
            assert HKDF(hashes.SHA384(), case["size"], salt, info).derive(secret) == expected, case["tcId"]
        else:
            with pytest.raises(ValueError, match="larger"):
                HKDF(hashes.SHA384(), case["size"], salt, info)
        seen += 1
    assert seen == 83


@pytest.mark.parametrize(("name", "count"), [("ed25519_test", 151), ("ecdsa_secp256r1_sha256_test", 484)])
def test_signatures(name: str, count: int) -> None:
    seen = 0
    for group, case in cases(name):
        message, signature = raw(case, "msg", "sig")
        try:
            verify_signature(load_public(group["publicKeyPem"].encode()), message, signature)
        except (Corrupt, Invalid):
            accepted = False
        else:
            accepted = True
        assert accepted == (case["result"] == "valid"), f"case {case['tcId']}: {case['comment']}"
        seen += 1
    assert seen == count
