"""Statements: DSSE's published example, and what an envelope from outside may try."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.clock import system_entropy
from fastness.core.digests import Digest
from fastness.core.errors import Corrupt, Invalid
from fastness.foundation.crypto import SoftwareSigner, sign_statement, verify_statement
from fastness.foundation.crypto.dsse import PAYLOAD_TYPE, STATEMENT_TYPE, pae, verify_envelope
from fastness.foundation.crypto.signing import load_public, verify_signature

ALICE, BOB = SoftwareSigner.create(system_entropy), SoftwareSigner.create(system_entropy)
TRUSTED = {ALICE.keyid: ALICE.public_pem}
SUBJECTS = {"digits": Digest("sha256:" + "ab" * 32)}
GOOD: dict[str, Any] = {
    "_type": STATEMENT_TYPE,
    "subject": [{"name": "digits", "digest": {"sha256": "ab" * 32}}],
    "predicateType": "https://example.com/scan/v1",
    "predicate": {"verdict": "pass", "score": 0.5},
}


def wrap(payload: bytes, signer: SoftwareSigner = ALICE, kind: str = PAYLOAD_TYPE, keyid: str | None = None) -> bytes:
    signature = base64.b64encode(signer.sign(pae(kind, payload))).decode()
    name = signer.keyid if keyid is None else keyid
    return envelope(payload, kind, [{"sig": signature, "keyid": name}])


def envelope(payload: bytes, kind: str, signatures: list[dict[str, str]]) -> bytes:
    text = base64.b64encode(payload).decode()
    return json.dumps({"payload": text, "payloadType": kind, "signatures": signatures}).encode()


def test_the_published_example() -> None:
    signed = pae("http://example.com/HelloWorld", b"hello world")
    assert signed == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    # The signature of the specification is r and s; keys come as PEM and signatures as DER here.
    numbers = ec.EllipticCurvePublicNumbers(
        46950820868899156662930047687818585632848591499744589407958293238635476079160,
        5640078356564379163099075877009565129882514886557779369047442380624545832820,
        ec.SECP256R1(),
    )
    pem = numbers.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    raw = base64.b64decode("A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==")
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    verify_signature(load_public(pem), signed, der)
    document = envelope(
        b"hello world", "http://example.com/HelloWorld", [{"sig": base64.b64encode(der).decode(), "keyid": ""}]
    )
    assert verify_envelope(document, {"example": pem})[2] == {"example"}
    with pytest.raises(Corrupt, match="other than an in-toto statement"):
        verify_statement(document, {"example": pem})


def test_the_encoding_counts_bytes_and_not_letters() -> None:
    assert pae("é", "ü".encode()) == "DSSEv1 2 é 2 ü".encode()


def test_a_statement_comes_back_as_it_was_signed() -> None:
    predicate = {"score": 0.25, "checks": ["a", None, True], "text": "grün"}
    statement = verify_statement(sign_statement(ALICE, SUBJECTS, "https://example.com/x/v1", predicate), TRUSTED)
    assert statement.subjects == SUBJECTS
    assert statement.predicate == predicate
    assert statement.predicate_type == "https://example.com/x/v1"
    assert statement.keyids == {ALICE.keyid}


def test_both_alphabets_of_base64_are_read() -> None:
    document = json.loads(wrap(json.dumps({**GOOD, "predicate": {"text": "???>>>~~~"}}).encode()))
    document["payload"] = document["payload"].replace("+", "-").replace("/", "_")
    document["signatures"][0]["sig"] = document["signatures"][0]["sig"].replace("+", "-").replace("/", "_")
    assert verify_statement(json.dumps(document).encode(), TRUSTED).predicate == {"text": "???>>>~~~"}


def test_only_keys_that_signed_are_named() -> None:
    payload = json.dumps(GOOD).encode()
    signed = pae(PAYLOAD_TYPE, payload)
    real = {"sig": base64.b64encode(ALICE.sign(signed)).decode(), "keyid": ALICE.keyid}
    borrowed = {**real, "keyid": BOB.keyid}
    both = {**TRUSTED, BOB.keyid: BOB.public_pem}
    document = envelope(payload, PAYLOAD_TYPE, [borrowed, real, real])
    assert verify_statement(document, both).keyids == {ALICE.keyid}


def test_a_signature_without_a_key_id_is_tried_with_every_key() -> None:
    both = {BOB.keyid: BOB.public_pem, **TRUSTED}
    assert verify_statement(wrap(json.dumps(GOOD).encode(), keyid=""), both).keyids == {ALICE.keyid}


def _without(*path: str) -> bytes:
    document: dict[str, Any] = json.loads(json.dumps(GOOD))
    place: Any = document
    for part in path[:-1]:
        place = place[int(part)] if isinstance(place, list) else place[part]
    del place[path[-1]]
    return wrap(json.dumps(document).encode())


def _tampered() -> bytes:
    document = json.loads(wrap(json.dumps(GOOD).encode()))
    document["payload"] = base64.b64encode(json.dumps({**GOOD, "predicate": {"verdict": "PASS"}}).encode()).decode()
    return json.dumps(document).encode()


REFUSED = {
    "empty": (b"", "envelope-malformed"),
    "not JSON": (b"\xff\xfe", "envelope-malformed"),
    "a list": (b"[]", "envelope-malformed"),
    "deep": (b"[" * 100_000, "envelope-malformed"),
    "no signatures": (envelope(json.dumps(GOOD).encode(), PAYLOAD_TYPE, []), "signature-untrusted"),
    "too many signatures": (envelope(b"{}", PAYLOAD_TYPE, [{"sig": ""}] * 65), "envelope-malformed"),
    "bad base64": (json.dumps({"payload": "?", "payloadType": "x", "signatures": []}).encode(), "envelope-malformed"),
    "another signer": (wrap(json.dumps(GOOD).encode(), BOB), "signature-untrusted"),
    "another signer under a trusted name": (
        wrap(json.dumps(GOOD).encode(), BOB, keyid=ALICE.keyid),
        "signature-untrusted",
    ),
    "payload changed": (_tampered(), "signature-untrusted"),
    "another type": (wrap(json.dumps(GOOD).encode(), kind="application/json"), "statement-type"),
    "payload no JSON": (wrap(b"hello"), "statement-malformed"),
    "payload not UTF-8": (wrap(b'"\xff"'), "statement-malformed"),
    "payload deep": (wrap(b"[" * 100_000), "statement-malformed"),
    "payload with NaN": (wrap(b'{"predicate": NaN}'), "statement-malformed"),
    "a number beyond floats": (wrap(b'{"predicate": 1e999}'), "statement-malformed"),
    "a number too long to parse": (wrap(b'{"predicate": ' + b"9" * 5000 + b"}"), "statement-malformed"),
    "half a surrogate pair": (wrap(json.dumps({**GOOD, "predicateType": "\ud800"}).encode()), "statement-malformed"),
    "a name twice": (wrap(json.dumps(GOOD).encode()[:-1] + b', "predicate": {}}'), "statement-malformed"),
    "another version": (wrap(json.dumps({**GOOD, "_type": "v2"}).encode()), "statement-malformed"),
    "no subject": (_without("subject"), "statement-malformed"),
    "no subject name": (_without("subject", "0", "name"), "statement-malformed"),
    "no SHA-256": (_without("subject", "0", "digest", "sha256"), "statement-malformed"),
    "no predicate type": (_without("predicateType"), "statement-malformed"),
    "a subject twice": (
        wrap(json.dumps({**GOOD, "subject": GOOD["subject"] * 2}).encode()),
        "statement-malformed",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    document, code = REFUSED[case]
    with pytest.raises(Corrupt) as caught:
        verify_statement(document, TRUSTED)
    assert caught.value.code == code


def test_nobody_is_trusted_by_default() -> None:
    with pytest.raises(Corrupt) as caught:
        verify_statement(wrap(json.dumps(GOOD).encode(), keyid=""), {})
    assert caught.value.code == "signature-untrusted"


@given(st.data())
def test_every_change_of_an_envelope_is_refused_or_changes_nothing(data: st.DataObject) -> None:
    document = wrap(json.dumps(GOOD).encode())
    statement = verify_statement(document, TRUSTED)
    start = data.draw(st.integers(0, len(document)))
    end = data.draw(st.integers(start, min(len(document), start + 8)))
    changed = document[:start] + data.draw(st.binary(max_size=8)) + document[end:]
    with contextlib.suppress(Corrupt):
        assert verify_statement(changed, TRUSTED) == statement


@given(st.binary(max_size=200))
def test_whatever_is_signed_is_a_statement_or_corrupt(payload: bytes) -> None:
    with pytest.raises(Corrupt) as caught:
        verify_statement(wrap(payload), TRUSTED)
    assert caught.value.code == "statement-malformed"


@pytest.mark.parametrize(
    ("subjects", "kind", "predicate"),
    [
        ({}, "x", {}),
        (SUBJECTS, "", {}),
        ({"a": Digest("sha256:short")}, "x", {}),
        (SUBJECTS, "x", {"score": float("nan")}),
        (SUBJECTS, "x", {"count": 2**60}),
        (SUBJECTS, "x", {"data": b"bytes"}),
    ],
)
def test_what_cannot_be_stated_is_not_signed(subjects: dict[str, Digest], kind: str, predicate: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        sign_statement(ALICE, subjects, kind, predicate)
