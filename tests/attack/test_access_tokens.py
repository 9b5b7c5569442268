"""Tokens that were not issued, not for us, not any more, or not to whoever shows them.

Success rate of the attacks below: 0. Each is refused with the same code and words, whatever was wrong; only the
record says what it was. Sources: RFC 8725; CVE-2015-9235 (`none`, HMAC under a public key), CVE-2018-0114 (embedded
`jwk`), CVE-2022-21449 (zero signature), CVE-2022-39227 (two readings of one token).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from joserfc import jws
from sqlalchemy import update

from fastness.access import tokens
from fastness.access.standing import deactivate, set_roles
from fastness.access.tokens import Rights, Verifier, jose, parse_scope
from fastness.access.tokens.jose import base64url, import_public, make_key, public_jwk, sign
from fastness.access.tokens.tables import TOKEN_KEY
from fastness.core.clock import SECOND
from fastness.core.errors import Conflict, Corrupt, Forbidden, Invalid, NotFound, Unauthenticated
from fastness.core.identity import Action, PrincipalId, Role, Scope, TenantId
from fastness.foundation.crypto import SealedKeyRing
from tests.unit.access.house import ADMIN
from tests.unit.access.issuing import ALICE, Mint, claims_of, header_of


@pytest.fixture
def mint() -> Iterator[Mint]:
    made = Mint()
    yield made
    made.records.close()


def why(mint: Mint, token: bytes, thumbprint: str = "") -> str:
    with pytest.raises(Unauthenticated) as caught:
        mint.verifier.verify(token, mint.clock.now(), thumbprint)
    error = caught.value
    assert error.code == "token-refused"
    assert (error.message, error.hint) == ("the token is not valid", "Get a new one: tokens are short-lived.")
    assert error.__cause__ is None
    return error.audit_code


def raw(header: dict[str, Any] | bytes, claims: dict[str, Any] | bytes, signature: bytes = b"\0" * 64) -> bytes:
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    return b".".join(map(base64url, [*parts, signature]))


def resigned(mint: Mint, header: dict[str, Any] | bytes, claims: bytes | None = None) -> bytes:
    """What the house's own key signs, whatever stands in the header: what a signing oracle would give."""
    key = mint.signing()
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    payload = json.dumps(claims_of(mint.issued())).encode() if claims is None else claims
    signed = base64url(data) + b"." + base64url(payload)
    signature = jws.JWSRegistry.algorithms[key.alg].sign(signed, key.key)
    return signed + b"." + base64url(signature)


def test_the_good_token_is_taken_so_the_others_are_not_refused_for_another_reason(mint: Mint) -> None:
    bearer = mint.verified(mint.issued())
    assert (bearer.principal.id, bearer.principal.roles) == (ALICE, frozenset({Role.DEVELOPER}))
    header = header_of(mint.issued())
    assert mint.verified(resigned(mint, header)).principal.id == ALICE


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, 0, ["ES256"]])
def test_a_token_without_signature(mint: Mint, alg: object) -> None:
    good = mint.issued()
    header = header_of(good) | {"alg": alg}
    assert why(mint, raw(header, claims_of(good))) == "token-algorithm"
    assert why(mint, raw(header, claims_of(good), b"")) == "token-malformed"
    assert why(mint, good.rpartition(".")[0].encode() + b".") == "token-malformed"


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_an_hmac_under_the_public_key(mint: Mint, alg: str) -> None:
    """The confusion of CVE-2015-9235: whatever form of the public key serves as the secret."""
    good = mint.issued()
    key = mint.signing().key
    pem = key.as_bytes(encoding="PEM", private=False)
    for secret in (pem, pem.strip(), key.as_bytes(encoding="DER", private=False), json.dumps(public_jwk(key)).encode()):
        signed = raw(header_of(good) | {"alg": alg}, claims_of(good)).rpartition(b".")[0]
        signature = hmac.digest(secret, signed, alg.replace("HS", "sha"))
        assert why(mint, signed + b"." + base64url(signature.ljust(64, b"\0"))) == "token-algorithm"


def test_another_algorithm_of_the_house_under_the_same_name(mint: Mint) -> None:
    other = make_key("EdDSA")
    forged = sign(other, "at+jwt", claims_of(mint.issued())).encode()
    assert why(mint, forged) == "token-key-unknown"
    renamed = type(other)(mint.signing().kid, other.alg, other.key)
    assert why(mint, sign(renamed, "at+jwt", claims_of(mint.issued())).encode()) == "token-algorithm"
    impostor = make_key("ES256")
    renamed = type(other)(mint.signing().kid, "ES256", impostor.key)
    assert why(mint, sign(renamed, "at+jwt", claims_of(mint.issued())).encode()) == "token-forged"


KIDS = {
    "path": "../../../../dev/null",
    "sql": "x' UNION SELECT 'secret",
    "command": "|whoami",
    "address": "https://evil.example/jwks.json",
    "null": None,
    "number": 0,
    "list": ["a"],
    "object": {"$ne": ""},
    "missing": ...,
    "empty": "",
    "attribute": "__class__",
}


@pytest.mark.parametrize("kid", KIDS.values(), ids=KIDS)
def test_a_key_id_is_looked_up_and_nothing_else(mint: Mint, kid: object) -> None:
    header = header_of(mint.issued()) | {"kid": kid}
    if kid is ...:
        del header["kid"]
    assert why(mint, resigned(mint, header)) == "token-key-unknown"


def embedded() -> dict[str, Any]:
    key = make_key("ES256")
    return {
        "jwk": public_jwk(key.key),
        "jku": "https://evil.example/jwks.json",
        "x5u": "https://evil.example/cert.pem",
        "x5c": ["MIIB"],
        "x5t": "AAAA",
        "x5t#S256": "AAAA",
        "crit": ["exp"],
        "b64": False,
        "zip": "DEF",
        "enc": "A256GCM",
        "cty": "JWT",
        "epk": {},
        "nonce": "a",
        "iss": "https://fastness.example",
    }


@pytest.mark.parametrize("member", embedded())
def test_no_header_brings_a_key_or_changes_the_reading(mint: Mint, member: str) -> None:
    """Also where the house's own key signed it: such a header is never right."""
    header = header_of(mint.issued()) | {member: embedded()[member]}
    assert why(mint, resigned(mint, header)) == "token-header"


def test_a_key_of_ones_own_in_the_header(mint: Mint) -> None:
    """CVE-2018-0114."""
    own = make_key("ES256")
    header = {"alg": "ES256", "kid": own.kid, "typ": "at+jwt", "jwk": public_jwk(own.key)}
    signed = raw(header, claims_of(mint.issued())).rpartition(b".")[0]
    signature = jws.JWSRegistry.algorithms["ES256"].sign(signed, own.key)
    assert why(mint, signed + b"." + base64url(signature)) == "token-header"


@pytest.mark.parametrize(
    "typ", ["JWT", "jwt", "application/at+jwt", "AT+JWT", "refresh", "id+jwt", "", None, "dpop+jwt"]
)
def test_a_token_of_another_kind(mint: Mint, typ: str | None) -> None:
    header = header_of(mint.issued()) | {"typ": typ}
    assert why(mint, resigned(mint, header)) == "token-type"
    del header["typ"]
    assert why(mint, resigned(mint, header)) == "token-type"


def test_duplicated_members(mint: Mint) -> None:
    """Two readers, two meanings: the first wins here, the last wins there."""
    good = mint.issued()
    claims, header = json.dumps(claims_of(good)), json.dumps(header_of(good))
    twice = claims[:-1] + ', "sub": "user:root"}'
    assert why(mint, resigned(mint, header.encode(), twice.encode())) == "token-malformed"
    assert why(mint, resigned(mint, (header[:-1] + ', "alg": "none"}').encode())) == "token-malformed"
    nested = claims[:-1] + ', "cnf": {"x5t#S256": "a", "x5t#S256": "b"}}'
    assert why(mint, resigned(mint, header.encode(), nested.encode())) == "token-malformed"
    escaped = claims[:-1] + ', "\\u0073ub": "user:root"}'
    assert why(mint, resigned(mint, header.encode(), escaped.encode())) == "token-malformed"


def test_two_readings_of_one_token(mint: Mint) -> None:
    """CVE-2022-39227: JSON serialisation, other alphabets, padding, spare bits, white space."""
    good = mint.issued().encode()
    header, claims, signature = good.split(b".")
    last = signature[-1:]
    spare = bytes([last[0] + 1]) if last not in b"zZ9-_" else b"A"
    flattened = json.dumps({"protected": header.decode(), "payload": claims.decode(), "signature": signature.decode()})
    for other in (
        flattened.encode(),
        good + b"=",
        good + b"\n",
        b" " + good,
        good + b"." + signature,
        b"." + good,
        good.replace(b".", b"..", 1),
        header + b"==." + claims + b"." + signature,
        good.replace(b"_", b"/").replace(b"-", b"+") + b"+",
        good[:-1] + spare if spare != last else good + b"A",
        good + b"\0",
        b"\xff" * 400,
        b"",
        b".",
        b"..",
    ):
        assert why(mint, other) in {"token-malformed", "token-forged"}, other


@pytest.mark.parametrize("signature", [b"\0" * 64, b"\xff" * 64, b"\0" * 63 + b"\1", b"\1" + b"\0" * 63, b"\0" * 96])
def test_a_signature_of_zeros(mint: Mint, signature: bytes) -> None:
    """CVE-2022-21449."""
    assert why(mint, mint.issued().encode().rpartition(b".")[0] + b"." + base64url(signature)) == "token-forged"


def test_every_part_is_signed(mint: Mint) -> None:
    good = mint.issued().encode()
    for claims in ({"sub": "user:root"}, {"scope": "keyring.rotate"}, {"exp": 1 << 39}, {"tenant": "other"}):
        header, _, signature = good.split(b".")
        payload = base64url(json.dumps(claims_of(good.decode()) | claims).encode())
        assert why(mint, b".".join([header, payload, signature])).startswith("token-")


def test_size_and_depth(mint: Mint) -> None:
    header = json.dumps(header_of(mint.issued())).encode()
    assert why(mint, b"A" * (1 << 20)) == "token-malformed"
    assert why(mint, resigned(mint, header, b'{"a":' + b"[" * 4000 + b"]" * 500 + b"}")) == "token-malformed"
    assert why(mint, resigned(mint, header, b'{"a":1e999}')) == "token-issuer"
    assert why(mint, resigned(mint, header, b'{"a":NaN}')) == "token-malformed"
    assert why(mint, resigned(mint, header, b'{"exp":' + b"9" * 4300 + b"}")) == "token-malformed"
    assert why(mint, resigned(mint, header, b"[]")) == "token-malformed"
    assert why(mint, resigned(mint, header, b"\xff")) == "token-malformed"
    assert why(mint, resigned(mint, b"{}" * 1000)) == "token-malformed"


CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "no issuer": ({"iss": None}, "token-issuer"),
    "another issuer": ({"iss": "https://evil.example"}, "token-issuer"),
    "issuer with a slash": ({"iss": "https://fastness.example/"}, "token-issuer"),
    "issuers": ({"iss": ["https://fastness.example"]}, "token-issuer"),
    "no audience": ({"aud": None}, "token-audience"),
    "another audience": ({"aud": "https://other.example"}, "token-audience"),
    "several audiences": ({"aud": ["https://fastness.example/api", "https://other.example"]}, "token-audience"),
    "audience as a list": ({"aud": ["https://fastness.example/api"]}, "token-audience"),
    "no expiry": ({"exp": None}, "token-claims"),
    "expiry as text": ({"exp": "99999999999"}, "token-claims"),
    "expiry as truth": ({"exp": True}, "token-claims"),
    "expiry as fraction": ({"exp": 1.8e9}, "token-claims"),
    "expiry far away": ({"exp": 1 << 39}, "token-long-lived"),
    "expiry beyond all bounds": ({"exp": 1 << 60}, "token-claims"),
    "negative expiry": ({"exp": -1}, "token-claims"),
    "no time of issue": ({"iat": None}, "token-claims"),
    "issued tomorrow": ({"iat": 1_700_086_400, "exp": 1_700_086_500}, "token-early"),
    "not yet": ({"nbf": 1_700_000_100}, "token-early"),
    "not-before as text": ({"nbf": "0"}, "token-claims"),
    "no id": ({"jti": None}, "token-claims"),
    "empty id": ({"jti": ""}, "token-claims"),
    "no subject": ({"sub": None}, "token-claims"),
    "unknown subject": ({"sub": "user:mallory"}, "token-principal"),
    "no tenant": ({"tenant": None}, "token-claims"),
    "another tenant": ({"tenant": "other"}, "token-principal"),
    "no client": ({"client_id": None}, "token-claims"),
    "no scope": ({"scope": None}, "token-claims"),
    "scope as list": ({"scope": ["model.infer"]}, "token-claims"),
    "unknown action": ({"scope": "model.infer everything"}, "token-claims"),
    "unknown strength": ({"acr": "god"}, "token-claims"),
    "unknown actor": ({"act": {"sub": "agent:nobody"}}, "token-actor"),
    "actor with more": ({"act": {"sub": "user:alice", "roles": ["administrator"]}}, "token-actor"),
    "actor as text": ({"act": "user:alice"}, "token-actor"),
    "chain too long": (
        {"act": {"sub": "user:alice", "act": {"sub": "user:alice", "act": {"sub": "user:alice", "act": {"sub": "user:alice"}}}}},
        "token-actor",
    ),
    "binding unknown": ({"cnf": {"jkt": "abc"}}, "token-binding"),
    "binding empty": ({"cnf": {}}, "token-binding"),
    "bound twice": ({"cnf": {"x5t#S256": "abc", "jkt": "abc"}}, "token-binding"),
    "bound to another": ({"cnf": {"x5t#S256": "abc"}}, "token-binding"),
    "line break in the subject": ({"sub": "user:alice\nuser:root"}, "token-claims"),
}  # fmt: skip


@pytest.mark.parametrize(("claims", "audit_code"), CLAIMS.values(), ids=CLAIMS)
def test_claims_that_are_wrong_though_the_house_signed_them(
    mint: Mint, claims: dict[str, Any], audit_code: str
) -> None:
    assert why(mint, mint.forged(**claims)) == audit_code


def test_an_expired_token_also_from_memory(mint: Mint) -> None:
    token = mint.issued().encode()
    mint.verified(token)
    mint.clock.advance(604)
    mint.verified(token)  # within the skew
    mint.clock.advance(1)
    assert why(mint, token) == "token-expired"
    fresh = Verifier(mint.snapshot(), os.urandom(32))
    with pytest.raises(Unauthenticated):
        fresh.verify(token, mint.clock.now())


def test_a_role_taken_away_counts_at_once(mint: Mint) -> None:
    token = mint.issued()
    assert mint.verified(token).principal.roles == {Role.DEVELOPER}
    with mint.begin() as tx:
        set_roles(tx, ALICE, frozenset({Role.VIEWER}))
    mint.refresh()
    assert mint.verified(token).principal.roles == {Role.VIEWER}


def test_revocation_reaches_what_was_remembered(mint: Mint) -> None:
    changes: dict[str, dict[str, Any]] = {
        "token": {},
        "family": {"family": "fam-1"},
        "client": {"client": "rogue"},
        "child": {"ancestors": ("parent-1",)},
        "other": {},
    }
    texts = {name: mint.issued(**change) for name, change in changes.items()}
    for text in texts.values():
        mint.verified(text)
    with mint.begin() as tx:
        tokens.revoke(tx, claims_of(texts["token"])["jti"], ALICE, "test")
        tokens.revoke(tx, "fam-1", ALICE, "test")
        tokens.revoke(tx, "client/rogue", ALICE, "test")
        tokens.revoke(tx, "parent-1", ALICE, "test")
        assert not tokens.revoke(tx, "parent-1", ALICE, "test")
    mint.refresh()
    for name, text in texts.items():
        if name == "other":
            mint.verified(text)
        else:
            assert why(mint, text.encode()) == "token-revoked", name


def test_signing_out_everywhere_ends_what_was_issued_also_in_the_same_second(mint: Mint) -> None:
    before = mint.issued()
    with mint.begin() as tx:
        tokens.revoke_all(tx, ALICE, "lost laptop")
    mint.refresh()
    assert why(mint, before.encode()) == "token-revoked"
    mint.clock.advance(1)
    mint.verified(mint.issued())


def test_a_principal_that_was_ended(mint: Mint) -> None:
    agent = mint.person("helper", Role.DEVELOPER)
    token, delegated = mint.issued(principal=agent.id), mint.issued(actors=(agent.id,))
    mint.refresh()
    mint.verified(token)
    assert mint.verified(delegated).principal.actor == agent.id
    with mint.begin() as tx:
        deactivate(tx, agent.id)
    mint.refresh()
    assert why(mint, token.encode()) == "token-principal"
    assert why(mint, delegated.encode()) == "token-actor"


def test_a_stolen_bound_token_is_worth_nothing_without_the_certificate(mint: Mint) -> None:
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(b"certificate").digest()).rstrip(b"=").decode()
    other = base64.urlsafe_b64encode(hashlib.sha256(b"another").digest()).rstrip(b"=").decode()
    token = mint.issued(thumbprint=thumbprint).encode()
    assert why(mint, token) == "token-binding"
    assert mint.verified(token, thumbprint).thumbprint == thumbprint
    assert why(mint, token) == "token-binding"  # also once it is remembered
    assert why(mint, token, other) == "token-binding"


def test_a_row_in_the_table_of_keys_makes_no_issuer(mint: Mint) -> None:
    """Who can write the table, but has no key ring, cannot make the house trust a key."""
    own = Mint()
    with own.records.read(ADMIN) as reading:
        planted = next(iter(reading.execute(TOKEN_KEY.select())))
    with mint.begin() as tx:
        tx.execute(
            update(TOKEN_KEY).where(TOKEN_KEY.c.state == "current").values(wrapped=planted.wrapped, kid=planted.kid)
        )
        tokens.revoke(tx, "x", ALICE, "test")
    mint.signers = tokens.Signers(mint.ring)
    with pytest.raises(Corrupt):
        mint.snapshot()
    own.records.close()


def test_keys_are_swapped_neither_between_rows_nor_between_rings(mint: Mint) -> None:
    with mint.begin() as tx:
        rows = list(tx.execute(TOKEN_KEY.select()))
        for row, other in zip(rows, reversed(rows), strict=True):
            tx.execute(TOKEN_KEY.update().where(TOKEN_KEY.c.kid == row.kid).values(wrapped=other.wrapped))
        tokens.revoke(tx, "x", ALICE, "test")
    with pytest.raises(Corrupt), mint.records.read(ADMIN) as reading:
        tokens.Signers(mint.ring).published(reading)
    with pytest.raises(NotFound), mint.records.read(ADMIN) as reading:
        tokens.Signers(SealedKeyRing.in_memory(os.urandom)).published(reading)


def test_only_the_house_rotates_its_keys(mint: Mint) -> None:
    stranger = Scope(TenantId("other"), PrincipalId("user:root"))
    with mint.begin(stranger) as tx, pytest.raises(Forbidden):
        tokens.rotate_keys(tx, mint.signers)
    with mint.begin() as tx, pytest.raises(Conflict, match="rotation-too-soon"):
        tokens.rotate_keys(tx, mint.signers)


def test_a_withdrawn_key_ends_its_tokens_at_once(mint: Mint) -> None:
    token = mint.issued()
    mint.verified(token)
    betrayed = mint.signing().kid
    with mint.begin() as tx:
        tokens.withdraw_key(tx, mint.signers, betrayed)
    mint.refresh()
    assert why(mint, token.encode()) == "token-key-unknown"
    mint.verified(mint.issued())
    assert mint.signing().kid != betrayed


JWKS: dict[str, dict[str, Any]] = {
    "symmetric": {"kty": "oct", "k": "AAAA"},
    "private": {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43, "d": "A" * 43},
    "another curve": {"kty": "EC", "crv": "P-384", "x": "A" * 64, "y": "A" * 64},
    "not on the curve": {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43},
    "RSA": {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
    "for encryption": {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43, "use": "enc"},
    "for another algorithm": {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43, "alg": "RS256"},
    "no texts": {"kty": "EC", "crv": "P-256", "x": 1, "y": None},
    "empty": {},
}


@pytest.mark.parametrize("jwk", JWKS.values(), ids=JWKS)
def test_keys_that_are_none(jwk: dict[str, Any]) -> None:
    for alg in ("ES256", "EdDSA", "RS256", "HS256", "none"):
        with pytest.raises(Invalid, match="jwk-invalid"):
            import_public(jwk, alg, ("ES256", "EdDSA", "RS256"))


def test_rights_are_never_joined(mint: Mint) -> None:
    rights = parse_scope("model.infer model.read model:digits")
    assert rights.met(parse_scope("model.infer")) == Rights(frozenset({Action.MODEL_INFER}), frozenset({"digits"}))
    bearer = mint.verified(mint.issued(rights))
    assert bearer.principal.actions == frozenset({Action.MODEL_INFER, Action.MODEL_READ})
    assert bearer.principal.models == frozenset({"digits"})
    with pytest.raises(Invalid):
        mint.issued(parse_scope("model:digits"))


def test_nothing_secret_stands_in_the_record(mint: Mint) -> None:
    token = mint.issued(family="fam-9")
    said = repr(mint.events())
    assert token.split(".")[2] not in said
    assert claims_of(token)["jti"] in said


def test_a_flood_of_bad_tokens_neither_fills_the_memory_nor_pushes_others_out(mint: Mint) -> None:
    good = mint.issued().encode()
    mint.verified(good)
    known = dict(mint.verifier._young)
    for number in range(2000):
        with pytest.raises(Unauthenticated):
            mint.verifier.verify(good[:-4] + f"{number:04d}".encode(), mint.clock.now())
    assert mint.verifier._young == known


def test_expired_tokens_are_refused_before_any_signature_is_looked_at(
    mint: Mint, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = mint.issued().encode()
    mint.clock.advance(700)
    never: Callable[..., Any] = lambda *_: pytest.fail("verified")  # noqa: E731
    monkeypatch.setattr(jose, "verify", never)
    assert why(mint, token) == "token-expired"


def test_seconds_are_whole(mint: Mint) -> None:
    claims = claims_of(mint.issued(authenticated_at=mint.clock.now()))
    assert claims["auth_time"] == mint.clock.now() // SECOND
