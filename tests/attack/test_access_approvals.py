"""Two-person approval, attacked from inside: by the author, by one person in two guises, and by who can write the tables.

Success rate: 0. Rows are changed in the real tables behind the back of the functions, as somebody with the database
file would; what then is counted must still be what was signed. Not covered, since no table can tell: a row deleted, or
a public key planted (the ledger can).
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import delete, insert, select, update

from fastness.access import Policies, approvals, authenticate, create_principal, decide, enrol, standing
from fastness.access.tables import APPROVAL, PRINCIPAL_ROLE, PUBLIC_KEY
from fastness.core.clock import Instant
from fastness.core.digests import Digest
from fastness.core.errors import Conflict, Forbidden, Invalid
from fastness.core.findings import Decision
from fastness.core.identity import Action, PrincipalId, PrincipalKind, Resource, Role, Scope, TenantId
from fastness.foundation.crypto import SoftwareSigner, sign_statement
from fastness.foundation.storage import Transaction
from fastness.foundation.storage.contracts import Exempt
from tests.unit.access.house import ADMIN, PURPOSE, START, SUBJECT, House, Person, approval

OTHER = Digest("sha256:" + "cd" * 32)
ELSEWHERE = Scope(TenantId("other"), PrincipalId("user:root"))


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.records.close()


@pytest.fixture
def alice(house: House) -> Person:
    """The author, who is an approver too."""
    return house.person("alice", Role.PUBLISHER, Role.APPROVER, Role.OPERATOR, Role.ADMINISTRATOR)


@pytest.fixture
def bob(house: House) -> Person:
    return house.person("bob", Role.APPROVER)


@pytest.fixture
def carol(house: House) -> Person:
    return house.person("carol", Role.APPROVER)


def behind_the_back(house: House, act: Callable[[Transaction], object]) -> None:
    with house.records.begin_unrecorded(ADMIN, START, Exempt.PROJECTION) as tx:
        act(tx)


def rules(house: House, needed: int, *excluded: Person) -> list[str]:
    verdict = house.quorum(needed, *excluded)
    assert verdict.decision is Decision.DENY
    return [finding.rule for finding in verdict.findings]


# --- by approving -----------------------------------------------------------------------------------------------------
def test_the_author_does_not_approve_their_own(house: House, alice: Person, bob: Person) -> None:
    who = authenticate(f"Bearer {alice.key.text}".encode(), house.credentials(), START).principal
    asked = {"tenant": "default", "author": str(alice.id)}
    decision = decide(who, Action.MODEL_APPROVE, Resource("version", "digits/1"), asked, Policies.shipped())
    assert decision.rules == ("author-may-not-approve",)
    house.approve(alice)  # even if the door were left open
    house.approve(bob)
    assert sorted(rules(house, 2, alice)) == ["approval-counted", "approval-not-counted", "approvals-missing"]


def test_one_person_with_two_public_keys_counts_once(house: House, bob: Person) -> None:
    """No function gives a second key to a person; this one is planted, and still the owner counts, not the key."""
    second = SoftwareSigner.create(os.urandom)
    behind_the_back(
        house,
        lambda tx: tx.execute(
            insert(PUBLIC_KEY).values(
                tenant="default", keyid=second.keyid, principal=bob.id, pem=second.public_pem, enrolled_at=START
            )
        ),
    )
    house.approve(bob)
    house.approve(Person(bob.id, second, bob.key))
    assert house.quorum(2).findings[0].message == "1 of 2 approvals"
    assert house.quorum(1).decision is Decision.ALLOW


def test_one_envelope_with_two_signatures_is_not_two_persons(house: House, bob: Person, carol: Person) -> None:
    merged = json.loads(approval(bob))
    merged["signatures"] += json.loads(approval(carol))["signatures"]
    with pytest.raises(Invalid, match="several signatures"), house.begin() as tx:
        approvals.record_approval(tx, SUBJECT, PURPOSE, json.dumps(merged).encode(), approvals.public_keys(tx))


def test_one_envelope_about_two_things_approves_neither(house: House, bob: Person) -> None:
    statement = json.loads(base64.b64decode(json.loads(approval(bob))["payload"]))
    both = sign_statement(bob.signer, {"a": SUBJECT, "b": OTHER}, statement["predicateType"], statement["predicate"])
    with pytest.raises(Invalid, match="something else"), house.begin() as tx:
        approvals.record_approval(tx, SUBJECT, PURPOSE, both, approvals.public_keys(tx))


def test_an_approver_dismissed_no_longer_counts(house: House, bob: Person, carol: Person) -> None:
    house.approve(bob)
    house.approve(carol)
    with house.begin() as tx:
        standing.set_roles(tx, carol.id, frozenset({Role.VIEWER}))
    assert sorted(rules(house, 2)) == ["approval-counted", "approval-not-counted", "approvals-missing"]


def test_an_approval_kept_from_before_a_revocation_is_not_recorded_after_it(house: House, bob: Person) -> None:
    envelope = approval(bob)
    with house.begin() as tx:
        standing.revoke_public_key(tx, bob.signer.keyid)
    with pytest.raises(Invalid, match="approval-refused"), house.begin() as tx:
        approvals.record_approval(tx, SUBJECT, PURPOSE, envelope, approvals.public_keys(tx))


def test_an_approval_of_another_tenant_does_not_count_here(house: House) -> None:
    """The same person, key and digest in two tenants: each approval says which one it is for."""
    signer = SoftwareSigner.create(os.urandom)
    here = house.person("bob", Role.APPROVER, signer=signer)
    there = house.person("bob", Role.APPROVER, signer=signer, scope=ELSEWHERE)
    with pytest.raises(Invalid, match="approval-refused"):
        house.approve(there, scope=ELSEWHERE)  # signed for the tenant default
    house.approve(there, scope=ELSEWHERE, tenant=TenantId("other"))
    assert rules(house, 1) == ["approvals-missing"]
    assert house.quorum(1, scope=ELSEWHERE).decision is Decision.ALLOW
    house.approve(here)
    assert house.quorum(1).decision is Decision.ALLOW


def test_a_program_is_no_second_person(house: House, bob: Person) -> None:
    with house.begin() as tx:
        code = create_principal(tx, PrincipalKind.AGENT, "helper", frozenset({Role.APPROVER})).code
    signer = SoftwareSigner.create(os.urandom)
    with house.begin() as tx:
        owner, key = enrol(tx, code, signer.public_pem, house.pepper)
    with pytest.raises(Forbidden, match="no person"):
        house.approve(Person(owner.id, signer, key))


# --- by writing the tables --------------------------------------------------------------------------------------------
def edited(envelope: bytes, change: Callable[[dict[str, object]], object]) -> bytes:
    """The envelope with its statement changed, and the old signature on it."""
    outer = json.loads(envelope)
    statement = json.loads(base64.b64decode(outer["payload"]))
    change(statement)
    outer["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    return json.dumps(outer).encode()


def put_envelope(change: Callable[[bytes], bytes]) -> Callable[[Transaction], None]:
    def act(tx: Transaction) -> None:
        (row,) = tx.execute(select(APPROVAL.c.envelope))
        tx.execute(update(APPROVAL).values(envelope=change(row.envelope)))

    return act


def subject_of(statement: dict[str, object], digest: str) -> None:
    statement["subject"] = [{"name": "manifest", "digest": {"sha256": digest}}]


def _flip_signature(envelope: bytes) -> bytes:
    outer = json.loads(envelope)
    raw = bytearray(base64.b64decode(outer["signatures"][0]["sig"]))
    raw[10] ^= 1
    outer["signatures"][0]["sig"] = base64.b64encode(raw).decode()
    return json.dumps(outer).encode()


EDITS: dict[str, Callable[[bytes], bytes]] = {
    "a bit of the signature": _flip_signature,
    "the note": lambda e: edited(e, lambda s: s["predicate"].update(note="fine")),
    "the decision": lambda e: edited(e, lambda s: s["predicate"].update(decision="reject")),
    "the subject": lambda e: edited(e, lambda s: subject_of(s, "cd" * 32)),
    "no signature": lambda e: json.dumps(json.loads(e) | {"signatures": []}).encode(),
    "nothing": lambda e: b"",
    "noise": lambda e: os.urandom(len(e)),
    "half of it": lambda e: e[: len(e) // 2],
    "another payload type": lambda e: e.replace(b"in-toto", b"in-t0t0"),
}


@pytest.mark.parametrize("change", EDITS.values(), ids=EDITS)
def test_an_edited_envelope_does_not_count(house: House, bob: Person, change: Callable[[bytes], bytes]) -> None:
    house.approve(bob)
    assert house.quorum(1).decision is Decision.ALLOW
    behind_the_back(house, put_envelope(change))
    assert rules(house, 1) == ["approvals-missing", "approval-altered"]


def test_a_rejection_turned_into_an_approval_does_not_count(house: House, bob: Person) -> None:
    house.approve(bob, decision="reject")
    behind_the_back(house, put_envelope(lambda e: edited(e, lambda s: s["predicate"].update(decision="approve"))))
    assert "approval-altered" in rules(house, 1)


def test_an_approval_of_another_version_moved_here_does_not_count(house: House, bob: Person) -> None:
    with house.begin() as tx:
        approvals.record_approval(tx, OTHER, PURPOSE, approval(bob, subject=OTHER), approvals.public_keys(tx))
    behind_the_back(house, lambda tx: tx.execute(update(APPROVAL).values(subject=SUBJECT)))
    assert rules(house, 1) == ["approvals-missing", "approval-altered"]


def test_an_approval_for_another_purpose_moved_here_does_not_count(house: House, bob: Person) -> None:
    with house.begin() as tx:
        envelope = approval(bob, purpose="deploy:development")
        approvals.record_approval(tx, SUBJECT, "deploy:development", envelope, approvals.public_keys(tx))
    behind_the_back(house, lambda tx: tx.execute(update(APPROVAL).values(purpose=PURPOSE)))
    assert rules(house, 1) == ["approvals-missing", "approval-altered"]


def test_an_approval_given_another_name_does_not_count_for_either(
    house: House, alice: Person, bob: Person, carol: Person
) -> None:
    house.approve(alice)
    behind_the_back(house, lambda tx: tx.execute(update(APPROVAL).values(principal=carol.id)))
    assert rules(house, 1, alice) == ["approvals-missing", "approval-altered"]
    house.approve(bob)
    assert rules(house, 1, alice).count("approval-counted") == 1  # and still refused: the records were changed


def test_a_row_copied_under_a_second_name_is_not_two(house: House, bob: Person, carol: Person) -> None:
    house.approve(bob)

    def copy(tx: Transaction) -> None:
        (row,) = tx.execute(select(APPROVAL))
        values = dict(row._mapping) | {"id": "copy", "principal": carol.id, "envelope_digest": "copy"}
        tx.execute(insert(APPROVAL).values(values))

    behind_the_back(house, copy)
    assert house.quorum(2).findings[0].evidence["have"] == 1
    assert "approval-altered" in rules(house, 2)


def test_a_row_copied_under_the_same_name_counts_once(house: House, bob: Person) -> None:
    house.approve(bob)

    def copy(tx: Transaction) -> None:
        (row,) = tx.execute(select(APPROVAL))
        tx.execute(insert(APPROVAL).values(dict(row._mapping) | {"id": "copy", "envelope_digest": "copy"}))

    behind_the_back(house, copy)
    assert house.quorum(2).findings[0].message == "1 of 2 approvals"


def test_a_public_key_exchanged_under_its_id_verifies_nothing(house: House, bob: Person) -> None:
    mallory = SoftwareSigner.create(os.urandom)
    house.approve(bob)
    forged = json.loads(approval(Person(bob.id, mallory, bob.key)))
    forged["signatures"][0]["keyid"] = bob.signer.keyid

    def exchange(tx: Transaction) -> None:
        tx.execute(update(PUBLIC_KEY).values(pem=mallory.public_pem))
        tx.execute(update(APPROVAL).values(envelope=json.dumps(forged).encode()))

    behind_the_back(house, exchange)
    assert rules(house, 1) == ["approvals-missing", "approval-altered"]
    with house.records.read(ADMIN) as reading:
        assert approvals.public_keys(reading) == {}


def test_an_approval_dated_into_the_future_does_not_count_yet(house: House, bob: Person) -> None:
    house.approve(bob)
    behind_the_back(house, lambda tx: tx.execute(update(APPROVAL).values(recorded_at=Instant(START + 10**12))))
    assert rules(house, 1) == ["approvals-missing", "approval-not-counted"]


def test_an_approver_without_a_row_of_roles_does_not_count(house: House, bob: Person) -> None:
    house.approve(bob)
    behind_the_back(house, lambda tx: tx.execute(delete(PRINCIPAL_ROLE)))
    assert rules(house, 1) == ["approvals-missing", "approval-not-counted"]


def test_the_same_approval_is_not_recorded_twice(house: House, bob: Person) -> None:
    house.approve(bob)
    with pytest.raises(Conflict, match="approval-exists"):
        house.approve(bob)
