from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fastness.access import (
    KeysProjection,
    authenticate,
    create_key,
    create_principal,
    enrol,
    keys,
    principals,
    revoke_key,
    standing,
)
from fastness.access.approvals import public_keys
from fastness.access.members import CODE_LIFE_S, FIRST_KEY_LIFE_S, canonical_pem
from fastness.core.clock import Instant, later
from fastness.core.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from fastness.core.events import EventKind
from fastness.core.identity import Action, PrincipalId, PrincipalKind, Role, Scope, Strength, TenantId
from fastness.core.limits import Limit
from fastness.core.secrets import SecretBytes
from fastness.foundation.crypto import SoftwareSigner
from fastness.foundation.crypto.keys import HmacKey
from fastness.foundation.storage import SqliteRecords
from tests.unit.access.house import ADMIN, START, House

LIMIT = Limit(per_s=5.0, burst=7.0)
ELSEWHERE = Scope(TenantId("other"), PrincipalId("user:root"))


def header(text: str) -> bytes:
    return f"Bearer {text}".encode()


def test_a_person_enrols_with_their_own_key_and_is_recognised(house: House) -> None:
    alice = house.person("alice", Role.APPROVER, Role.VIEWER)
    found = authenticate(header(alice.key.text), house.credentials(), house.clock.now())
    assert found.principal.id == "user:alice"
    assert found.principal.kind is PrincipalKind.USER
    assert found.principal.roles == {Role.APPROVER, Role.VIEWER}
    assert found.principal.strength is Strength.KEY
    assert found.key_id == alice.key.key_id
    with house.records.read(ADMIN) as reading:
        assert public_keys(reading) == {alice.signer.keyid: ("user:alice", alice.signer.public_pem)}


def test_a_principal_is_there_before_it_enrols_and_can_do_nothing(house: House) -> None:
    with house.begin() as tx:
        enrolment = create_principal(tx, PrincipalKind.SERVICE, "web", frozenset({Role.DEVELOPER}))
    with house.records.read(ADMIN) as reading:
        (web,) = principals(reading)
        assert keys(reading) == []
    assert (web.id, web.kind, web.roles, web.active, web.enrolled) == (
        "service:web", PrincipalKind.SERVICE, {Role.DEVELOPER}, True, False,
    )  # fmt: skip
    assert enrolment.principal == "service:web"
    assert enrolment.expires_at == later(START, CODE_LIFE_S)


def test_every_change_leaves_its_event_and_moves_the_snapshot(house: House) -> None:
    alice = house.person("alice", Role.VIEWER)
    epochs = [house.records.epoch("keys")]
    with house.begin() as tx:
        key = create_key(tx, alice.id, LIMIT, later(START, 60), "laptop", house.pepper)
    epochs.append(house.records.epoch("keys"))
    with house.begin() as tx:
        standing.narrow_key(tx, key.key_id, frozenset({Action.MODEL_READ}))
    epochs.append(house.records.epoch("keys"))
    with house.begin() as tx:
        revoke_key(tx, key.key_id)
    epochs.append(house.records.epoch("keys"))
    with house.begin() as tx:
        standing.set_roles(tx, alice.id, frozenset({Role.AUDITOR}))
    epochs.append(house.records.epoch("keys"))
    with house.begin() as tx:
        standing.deactivate(tx, alice.id)
    epochs.append(house.records.epoch("keys"))
    assert epochs == sorted(set(epochs))
    assert [(e.kind, e.resource) for e in house.events()] == [
        (EventKind.PRINCIPAL_CREATED, "principal:user:alice"),
        (EventKind.PRINCIPAL_ENROLLED, "principal:user:alice"),
        (EventKind.KEY_CREATED, f"key:{alice.key.key_id}"),
        (EventKind.KEY_CREATED, f"key:{key.key_id}"),
        (EventKind.KEY_NARROWED, f"key:{key.key_id}"),
        (EventKind.KEY_REVOKED, f"key:{key.key_id}"),
        (EventKind.ROLES_CHANGED, "principal:user:alice"),
        (EventKind.PRINCIPAL_DEACTIVATED, "principal:user:alice"),
    ]


def test_roles_changed_are_the_roles_of_the_next_snapshot(house: House) -> None:
    alice = house.person("alice", Role.VIEWER)
    with house.begin() as tx:
        standing.set_roles(tx, alice.id, frozenset({Role.OPERATOR}))
    found = authenticate(header(alice.key.text), house.credentials(), START)
    assert found.principal.roles == {Role.OPERATOR}
    assert house.events()[-1].details == {"before": "viewer", "after": "operator"}


def test_all_roles_can_be_taken(house: House) -> None:
    alice = house.person("alice", Role.VIEWER)
    with house.begin() as tx:
        standing.set_roles(tx, alice.id, frozenset())
    assert authenticate(header(alice.key.text), house.credentials(), START).principal.roles == frozenset()


def test_a_key_has_the_limit_and_life_it_was_given(house: House) -> None:
    alice = house.person("alice")
    with house.begin() as tx:
        key = create_key(tx, alice.id, LIMIT, later(START, 60), "laptop", house.pepper)
    credentials = house.credentials()
    assert authenticate(header(key.text), credentials, later(START, 59.9)).limit == LIMIT
    with pytest.raises(Unauthenticated) as caught:
        authenticate(header(key.text), credentials, later(START, 60))
    assert caught.value.audit_code == "key-expired"
    with house.records.read(ADMIN) as reading:
        found = next(k for k in keys(reading) if k.key_id == key.key_id)
    assert (found.name, found.limit, found.created_at, found.expires_at, found.revoked) == (
        "laptop", LIMIT, START, later(START, 60), False,
    )  # fmt: skip


def test_a_revoked_key_is_refused_by_the_next_snapshot_and_the_other_stays(house: House) -> None:
    alice = house.person("alice")
    with house.begin() as tx:
        key = create_key(tx, alice.id, LIMIT, later(START, 60), "", house.pepper)
    with house.begin() as tx:
        revoke_key(tx, key.key_id)
    credentials = house.credentials()
    with pytest.raises(Unauthenticated) as caught:
        authenticate(header(key.text), credentials, START)
    assert caught.value.audit_code == "key-revoked"
    assert authenticate(header(alice.key.text), credentials, START).key_id == alice.key.key_id


def test_a_narrowed_key_cannot_be_widened(house: House) -> None:
    alice = house.person("alice", Role.DEVELOPER)
    both = frozenset({Action.MODEL_READ, Action.MODEL_INFER})
    with house.begin() as tx:
        standing.narrow_key(tx, alice.key.key_id, both)
    with house.begin() as tx:
        standing.narrow_key(tx, alice.key.key_id, frozenset({Action.MODEL_READ}))
    found = authenticate(header(alice.key.text), house.credentials(), START)
    assert found.principal.actions == {Action.MODEL_READ}
    assert found.permits(Action.MODEL_READ)
    assert not found.permits(Action.MODEL_INFER)
    for actions in (both, frozenset({Action.MODEL_INFER}), frozenset()):
        with pytest.raises(Invalid, match="key-actions"), house.begin() as tx:
            standing.narrow_key(tx, alice.key.key_id, actions)


def test_who_left_is_refused_with_all_their_keys(house: House) -> None:
    alice, bob = house.person("alice", Role.VIEWER), house.person("bob", Role.VIEWER)
    with house.begin() as tx:
        standing.deactivate(tx, alice.id)
    credentials = house.credentials()
    with pytest.raises(Unauthenticated) as caught:
        authenticate(header(alice.key.text), credentials, START)
    assert caught.value.audit_code == "key-revoked"
    assert authenticate(header(bob.key.text), credentials, START).principal.id == "user:bob"
    with house.records.read(ADMIN) as reading:
        assert set(public_keys(reading)) == {bob.signer.keyid}
        assert [p.active for p in principals(reading)] == [False, True]


def test_a_code_lost_before_it_was_used_is_replaced(house: House) -> None:
    signer = SoftwareSigner.create(os.urandom)
    with house.begin() as tx:
        lost = create_principal(tx, PrincipalKind.USER, "alice", frozenset())
    with house.begin() as tx:
        fresh = standing.reissue_code(tx, lost.principal)
    with pytest.raises(Unauthenticated) as caught, house.begin() as tx:
        enrol(tx, lost.code, signer.public_pem, house.pepper)
    assert caught.value.audit_code == "code-used"
    with house.begin() as tx:
        enrol(tx, fresh.code, signer.public_pem, house.pepper)
    with pytest.raises(Conflict, match="principal-enrolled"), house.begin() as tx:
        standing.reissue_code(tx, lost.principal)


REFUSED = {
    "a principal twice": (
        lambda tx, h: create_principal(tx, PrincipalKind.USER, "alice", frozenset()), Conflict, "principal-exists",
    ),
    "a name that is none": (
        lambda tx, h: create_principal(tx, PrincipalKind.USER, "Alice!", frozenset()), Invalid, "name-malformed",
    ),
    "a name with a colon": (
        lambda tx, h: create_principal(tx, PrincipalKind.USER, "a:b", frozenset()), Invalid, "name-malformed",
    ),
    "a system principal": (
        lambda tx, h: create_principal(tx, PrincipalKind.SYSTEM, "x", frozenset()), Invalid, "principal-kind",
    ),
    "a key for nobody": (
        lambda tx, h: create_key(tx, PrincipalId("user:x"), LIMIT, later(START, 1), "", h.pepper),
        NotFound, "principal-unknown",
    ),
    "a key that is expired": (
        lambda tx, h: create_key(tx, PrincipalId("user:alice"), LIMIT, START, "", h.pepper), Invalid, "key-lifetime",
    ),
    "a key with a name of two lines": (
        lambda tx, h: create_key(tx, PrincipalId("user:alice"), LIMIT, later(START, 1), "a\nb", h.pepper),
        Invalid, "key-name",
    ),
    "revoking what is not there": (lambda tx, h: revoke_key(tx, "zzzzzzzz"), NotFound, "key-not-found"),
    "roles for nobody": (
        lambda tx, h: standing.set_roles(tx, PrincipalId("user:x"), frozenset()), NotFound, "principal-unknown",
    ),
    "ending nobody": (lambda tx, h: standing.deactivate(tx, PrincipalId("user:x")), NotFound, "principal-unknown"),
    "an unknown public key": (lambda tx, h: standing.revoke_public_key(tx, "00"), NotFound, "public-key-unknown"),
}  # fmt: skip


@pytest.mark.parametrize(("act", "error", "code"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused_and_changes_nothing(house: House, act, error, code) -> None:  # noqa: ANN001
    house.person("alice")
    before = len(house.events()), house.records.epoch("keys")
    with pytest.raises(error) as caught, house.begin() as tx:
        act(tx, house)
    assert caught.value.code == code
    assert (len(house.events()), house.records.epoch("keys")) == before


def test_a_key_is_revoked_once(house: House) -> None:
    alice = house.person("alice")
    with house.begin() as tx:
        revoke_key(tx, alice.key.key_id)
    with pytest.raises(Conflict, match="key-revoked"), house.begin() as tx:
        revoke_key(tx, alice.key.key_id)


def test_who_left_gets_no_new_key(house: House) -> None:
    alice = house.person("alice")
    with house.begin() as tx:
        standing.deactivate(tx, alice.id)
    with pytest.raises(Conflict, match="principal-inactive"), house.begin() as tx:
        create_key(tx, alice.id, LIMIT, later(START, 60), "", house.pepper)


def test_tenants_do_not_see_or_touch_each_other(house: House) -> None:
    alice = house.person("alice", Role.VIEWER)
    other = house.person("alice", Role.AUDITOR, scope=ELSEWHERE)
    with house.records.read(ELSEWHERE) as reading:
        assert [p.roles for p in principals(reading)] == [{Role.AUDITOR}]
        assert [k.key_id for k in keys(reading)] == [other.key.key_id]
    with pytest.raises(NotFound, match="key-not-found"), house.begin(ELSEWHERE) as tx:
        revoke_key(tx, alice.key.key_id)
    with pytest.raises(NotFound, match="public-key-unknown"), house.begin(ELSEWHERE) as tx:
        standing.revoke_public_key(tx, alice.signer.keyid)
    with house.begin(ELSEWHERE) as tx:
        standing.deactivate(tx, other.id)
    found = authenticate(header(alice.key.text), house.credentials(), START)
    assert (found.principal.tenant, found.principal.roles) == ("default", {Role.VIEWER})


def test_the_snapshot_needs_a_pepper_that_may_leave_the_key_ring_and_is_long(house: House) -> None:
    with pytest.raises(Forbidden, match="key-not-exportable"):
        KeysProjection(HmacKey(SecretBytes(bytes(32)), exportable=False))
    with house.records.read(ADMIN) as reading, pytest.raises(Exception, match="pepper-short"):
        KeysProjection(HmacKey(SecretBytes(b""), exportable=True)).load(reading)


def test_the_randomness_of_the_records_makes_the_keys(house: House) -> None:
    drawn = []

    def entropy(count: int) -> bytes:
        drawn.append(count)
        return os.urandom(count)

    counted = House(records=SqliteRecords(":memory:", entropy))
    counted.records.create_all()
    counted.person("alice")
    assert drawn.count(32) == 2  # the code and the key
    counted.records.close()


MALFORMED = {
    "nothing": b"",
    "no PEM": b"ssh-ed25519 AAAAC3Nz",
    "RSA": rsa.generate_private_key(65537, 2048)
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "P-256": ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "a private key": SoftwareSigner.create(os.urandom).private_pem(),
    "two keys": SoftwareSigner.create(os.urandom).public_pem * 2,
    "not UTF-8": b"\xff" * 100,
    "a long one": b"-----BEGIN PUBLIC KEY-----\n" + b"A" * 100_000 + b"\n-----END PUBLIC KEY-----\n",
}


@pytest.mark.parametrize("pem", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_ed25519_public_key_is_refused(pem: bytes) -> None:
    with pytest.raises(Invalid, match="public-key-malformed"):
        canonical_pem(pem)


def test_a_public_key_has_one_dress() -> None:
    pem = SoftwareSigner.create(os.urandom).public_pem
    assert canonical_pem(pem) == pem
    for dressed in (pem.strip(), pem + b"\n", b"  " + pem, pem.replace(b"\n", b"\r\n")):
        assert canonical_pem(dressed) == pem


def test_the_first_key_expires(house: House) -> None:
    alice = house.person("alice")
    assert alice.key.expires_at == later(START, FIRST_KEY_LIFE_S)
    assert isinstance(Ed25519PublicKey.from_public_bytes(alice.signer.public_raw), Ed25519PublicKey)
    with pytest.raises(Unauthenticated):
        authenticate(header(alice.key.text), house.credentials(), Instant(alice.key.expires_at))
