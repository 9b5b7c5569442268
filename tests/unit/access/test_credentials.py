from __future__ import annotations

import hmac
import os

import msgspec
import pytest
from rich.console import Console

from fastness.access.apikeys import PUBLIC_KEYS, mint
from fastness.access.credentials import Credentials, KeyRecord, authenticate
from fastness.core.clock import Instant
from fastness.core.errors import Unauthenticated
from fastness.core.identity import Action, PrincipalId, PrincipalKind, Role, Strength, TenantId
from fastness.core.limits import Limit

NOW = Instant(1_700_000_000_000_000_000)
PEPPER = b"p" * 32


def record(key_id: str, /, **changes: object) -> KeyRecord:
    plain = KeyRecord(
        key_id,
        PrincipalId("user:alice"),
        PrincipalKind.USER,
        TenantId("default"),
        frozenset({Role.DEVELOPER}),
        Limit(per_s=5, burst=10),
        NOW + 1,
    )
    return msgspec.structs.replace(plain, **changes)


def snapshot(text: str, entry: KeyRecord, pepper: bytes = PEPPER) -> Credentials:
    return Credentials(pepper, {hmac.digest(pepper, text.encode(), "sha256"): entry})


def header(text: str) -> bytes:
    return f"Bearer {text}".encode()


def test_the_owner_of_a_key_is_recognised() -> None:
    key_id, text = mint(os.urandom)
    found = authenticate(header(text), snapshot(text, record(key_id)), NOW)
    assert found.key_id == key_id
    assert found.limit == Limit(per_s=5, burst=10)
    assert found.principal.id == "user:alice"
    assert found.principal.roles == {Role.DEVELOPER}
    assert found.principal.strength is Strength.KEY
    assert found.principal.authenticated_at == NOW
    assert found.principal.actions is None


def test_a_narrowed_key_narrows_its_principal() -> None:
    key_id, text = mint(os.urandom)
    entry = record(key_id, actions=frozenset({Action.MODEL_READ}))
    assert authenticate(header(text), snapshot(text, entry), NOW).principal.actions == {Action.MODEL_READ}


REFUSED = {
    "expired": ({"expires_at": NOW - 1}, "key-expired"),
    "expires this very instant": ({"expires_at": NOW}, "key-expired"),
    "revoked": ({"revoked": True}, "key-revoked"),
    "expired and revoked": ({"revoked": True, "expires_at": NOW - 1}, "key-expired"),
    "filed under the digest of another key": ({"key_id": "zzzzzzzz"}, "key-unknown"),
}


@pytest.mark.parametrize(("changes", "audit_code"), REFUSED.values(), ids=REFUSED)
def test_a_key_that_is_no_longer_good_is_refused_and_only_the_event_says_why(
    changes: dict[str, object], audit_code: str
) -> None:
    key_id, text = mint(os.urandom)
    _, stranger = mint(os.urandom)
    credentials = snapshot(text, record(key_id, **changes))
    with pytest.raises(Unauthenticated) as known:
        authenticate(header(text), credentials, NOW)
    with pytest.raises(Unauthenticated) as unknown:
        authenticate(header(stranger), credentials, NOW)
    assert known.value.audit_code == audit_code
    assert unknown.value.audit_code == "key-unknown"
    assert str(known.value) == str(unknown.value)
    assert known.value.args == unknown.value.args


def test_a_key_lives_until_the_instant_it_expires() -> None:
    key_id, text = mint(os.urandom)
    credentials = snapshot(text, record(key_id, expires_at=NOW + 1))
    assert authenticate(header(text), credentials, NOW).key_id == key_id


@pytest.mark.parametrize("missing", [None, b""])
def test_no_header_is_told_apart_from_a_wrong_one(missing: bytes | None) -> None:
    with pytest.raises(Unauthenticated) as caught:
        authenticate(missing, Credentials(PEPPER, {}), NOW)
    assert caught.value.code == caught.value.audit_code == "key-missing"


def test_another_pepper_knows_no_key() -> None:
    key_id, text = mint(os.urandom)
    credentials = Credentials(b"q" * 32, snapshot(text, record(key_id)).keys)
    with pytest.raises(Unauthenticated, match="key-unknown"):
        authenticate(header(text), credentials, NOW)


def test_the_key_of_the_documentation_is_refused_even_if_the_records_hold_it() -> None:
    (text,) = (key.decode() for key in PUBLIC_KEYS)
    with pytest.raises(Unauthenticated) as caught:
        authenticate(header(text), snapshot(text, record("00000000")), NOW)
    assert caught.value.audit_code == "key-public"
    assert caught.value.code == "key-unknown"


@pytest.mark.parametrize("codec", [msgspec.msgpack, msgspec.json], ids=["msgpack", "json"])
def test_a_snapshot_survives_the_way_to_a_worker(codec: object) -> None:
    key_id, text = mint(os.urandom)
    before = snapshot(text, record(key_id, actions=frozenset({Action.MODEL_INFER}), expires_at=NOW + 5))
    after = codec.decode(codec.encode(before), type=Credentials)  # type: ignore[attr-defined]
    assert after == before
    assert authenticate(header(text), after, NOW).key_id == key_id


def test_printing_a_snapshot_does_not_show_the_pepper() -> None:
    credentials = Credentials(b"very secret pepper", {})
    console = Console(width=200)
    with console.capture() as capture:
        console.print(credentials)
    assert "secret" not in repr(credentials) + str(credentials) + capture.get()
