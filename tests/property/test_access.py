from __future__ import annotations

import hmac
import os

from hypothesis import given
from hypothesis import strategies as st

from fastness.access import Credentials, Policies, authenticate, decide
from fastness.access.apikeys import KEY_ID, PUBLIC_KEYS, format_key, well_formed
from fastness.access.credentials import KeyRecord
from fastness.core.clock import Instant
from fastness.core.errors import Unauthenticated
from fastness.core.identity import Action, Principal, PrincipalId, PrincipalKind, Resource, Role, Strength, TenantId
from fastness.core.limits import Limit

PEPPER = os.urandom(32)
NOW = Instant(1_700_000_000_000_000_000)
POLICIES = Policies.shipped()
FORGETFUL = Policies.shipped()
IDS = st.text("0123456789abcdefghjkmnpqrstvwxyz", min_size=8, max_size=8)
SECRETS = st.binary(min_size=32, max_size=32)


def record(key_id: str) -> KeyRecord:
    return KeyRecord(
        key_id, PrincipalId("user:a"), PrincipalKind.USER, TenantId("default"), frozenset(), Limit(1, 1), NOW + 1
    )


@given(IDS, SECRETS)
def test_every_key_goes_round(key_id: str, secret: bytes) -> None:
    text = format_key(key_id, secret).encode()
    assert well_formed(text)
    assert text[KEY_ID].decode() == key_id
    credentials = Credentials(PEPPER, {hmac.digest(PEPPER, text, "sha256"): record(key_id)})
    if text not in PUBLIC_KEYS:
        assert authenticate(b"Bearer " + text, credentials, NOW).key_id == key_id


@given(IDS, SECRETS, st.integers(0, 71), st.integers(1, 255))
def test_a_key_with_one_byte_changed_is_refused(key_id: str, secret: bytes, place: int, change: int) -> None:
    text = format_key(key_id, secret).encode()
    credentials = Credentials(PEPPER, {hmac.digest(PEPPER, text, "sha256"): record(key_id)})
    header = bytearray(b"Bearer " + text)
    header[place] ^= change
    refused(bytes(header), credentials)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_refusal_and_no_other_error(header: bytes) -> None:
    refused(header, Credentials(PEPPER, {}))
    refused(b"Bearer " + header, Credentials(PEPPER, {}))


def refused(header: bytes, credentials: Credentials) -> None:
    try:
        authenticate(header, credentials, NOW)
    except Unauthenticated:
        return
    raise AssertionError("accepted")


NAMES = st.sampled_from(["user:alice", "user:bob", "service:ci", ""])
PRINCIPALS = st.builds(
    Principal,
    kind=st.sampled_from(PrincipalKind),
    id=NAMES,
    tenant=st.sampled_from(["default", "other"]),
    roles=st.frozensets(st.sampled_from(Role)),
    strength=st.sampled_from(Strength),
    authenticated_at=st.just(NOW),
    actions=st.none() | st.frozensets(st.sampled_from(Action)),
)
CONTEXTS = st.fixed_dictionaries(
    {"tenant": st.sampled_from(["default", "other"])},
    optional={
        "author": NAMES,
        "own_approval": st.booleans(),
        "owner": NAMES,
        "owner_kind": st.sampled_from(PrincipalKind),
        "environment": st.sampled_from(["production", "development"]),
        "version": st.integers(-5, 5),
    },
)


@given(PRINCIPALS, st.sampled_from(Action), st.text(max_size=20), CONTEXTS)
def test_the_cache_answers_as_cedar_does(
    who: Principal, action: Action, name: str, context: dict[str, str | int | bool]
) -> None:
    """The shared set remembers thousands of other answers; the forgetful one has only Cedar to ask."""
    resource = Resource("model", name)
    FORGETFUL._young.clear()
    assert decide(who, action, resource, context, POLICIES) == decide(who, action, resource, context, FORGETFUL)


@given(PRINCIPALS, st.sampled_from(Action), CONTEXTS)
def test_what_must_never_be_is_never(who: Principal, action: Action, context: dict[str, str | int | bool]) -> None:
    if not decide(who, action, Resource("model", "m"), context, POLICIES).allow:
        return
    assert who.tenant == context["tenant"]
    assert who.strength > Strength.NONE
    assert who.actions is None or action in who.actions
    if action in {Action.MODEL_APPROVE, Action.MODEL_DEPLOY}:
        assert context["author"] != who.id
    if action in {Action.MODEL_APPROVE, Action.APPROVAL_GIVE, Action.ALLOWANCE_GRANT, Action.REVIEW_DECIDE}:
        assert who.kind is PrincipalKind.USER
    if who.roles <= {Role.ADMINISTRATOR}:
        assert not action.startswith(("model.", "allowance.", "audit."))
