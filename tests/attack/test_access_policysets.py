"""A tenant's own rules, attacked: in the tables, in the snapshot, by their author, by the rules themselves.

Success rate: 0. Rows are changed in the real tables behind the back of the functions, as somebody with the database file would.
Not covered, since no table can tell: a policy set and the events of it deleted together (the ledger can).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec
import pytest
from sqlalchemy import Executable, delete, update

from fastness.access import Policies, decide, standing
from fastness.access.approvals import requests
from fastness.access.policysets import PolicySnapshot, activate, sets
from fastness.access.policysets.cases import read_cases, run_cases
from fastness.access.policysets.documents import SEAL_TYPE, PolicyDocument, seal_of
from fastness.access.policysets.findings import check, joined
from fastness.access.policysets.snapshot import SealedRules
from fastness.access.policysets.tables import POLICY_SET
from fastness.core.errors import Conflict, Corrupt, FastnessError, Invalid, Unavailable
from fastness.core.findings import Decision
from fastness.core.identity import (
    Action,
    Principal,
    PrincipalId,
    PrincipalKind,
    Resource,
    Role,
    Scope,
    Strength,
    TenantId,
)
from fastness.foundation.crypto import SoftwareSigner, sign_statement
from fastness.foundation.storage.contracts import Exempt
from tests.unit.access.house import ADMIN, START, TENANT, House
from tests.unit.access.test_policysets import NIGHT, SHIPPED, Town, may_roll_back, propose_as, settle

EVIL = NIGHT.replace('== "faces"', 'like "*"')


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.records.close()


@pytest.fixture
def town(house: House) -> Town:
    return settle(house)


def behind_the_back(house: House, statement: Executable) -> None:
    with house.records.begin_unrecorded(ADMIN, START, Exempt.PROJECTION) as tx:
        tx.execute(statement)


def forged(signer: SoftwareSigner, text: str = EVIL, number: int = 1, tenant: TenantId = TENANT) -> bytes:
    return seal_of(signer, PolicyDocument(tenant, number, {"night.cedar": text}, "", "because"), ["user:bob"])


def test_a_changed_text_is_found_and_the_last_good_rules_go_on(town: Town) -> None:
    town.in_force()
    book = town.book()
    book.take(town.snapshot())
    good = book.of(TENANT)
    mallory = SoftwareSigner.create(os.urandom)
    for seal in (forged(mallory), b"", b"{}", forged(town.seal, tenant=TenantId("other")), forged(town.seal, number=2)):
        behind_the_back(town.house, update(POLICY_SET).values(seal=seal))
        assert book.take(town.snapshot()).keys() == {TENANT}
        assert book.of(TENANT) is good
        assert not may_roll_back(book.of(TENANT), "digits")


def test_a_process_that_starts_with_changed_rules_refuses_the_tenant_and_no_other(town: Town) -> None:
    town.in_force()
    behind_the_back(town.house, update(POLICY_SET).values(seal=forged(SoftwareSigner.create(os.urandom))))
    book = town.book()
    assert book.take(town.snapshot()).keys() == {TENANT}
    with pytest.raises(Unavailable, match="policies-unavailable"):
        book.of(TENANT)
    assert book.of(TenantId("other")) is book.shipped


def test_a_set_that_is_taken_away_does_not_loosen_the_rules(town: Town) -> None:
    """Its forbids would be gone."""
    town.in_force()
    held, fresh = town.book(), town.book()
    held.take(town.snapshot())
    good = held.of(TENANT)
    behind_the_back(town.house, delete(POLICY_SET))
    assert "gone" in held.take(town.snapshot())[TENANT]
    assert held.of(TENANT) is good
    fresh.take(town.snapshot())
    with pytest.raises(Unavailable):
        fresh.of(TENANT)


@pytest.mark.parametrize("how", ["deleted", "deactivated"])
def test_an_earlier_set_does_not_come_back_by_taking_the_newest_away(town: Town, how: str) -> None:
    town.in_force(NIGHT.replace("faces", "digits"))
    town.in_force()
    newest = POLICY_SET.c.number == 2
    behind_the_back(
        town.house,
        delete(POLICY_SET).where(newest) if how == "deleted"
        else update(POLICY_SET).where(newest).values(activated_at=None, seal=None),
    )  # fmt: skip
    book = town.book()
    assert "2 was activated" in book.take(town.snapshot())[TENANT]
    with pytest.raises(Unavailable):
        book.of(TENANT)


def test_a_worker_takes_no_older_snapshot(town: Town) -> None:
    town.in_force(NIGHT.replace("faces", "digits"))
    old = town.snapshot()
    town.in_force()
    book = town.book()
    book.take(town.snapshot())
    good = book.of(TENANT)
    for snapshot in (old, PolicySnapshot({})):
        assert book.take(snapshot).keys() == {TENANT}
        assert book.of(TENANT) is good


def test_a_seal_of_one_kind_is_none_of_another(town: Town) -> None:
    proposal = town.propose(EVIL)
    subject, predicate = proposal.set.document.statement()
    own = sign_statement(town.author.signer, {"policies": subject}, SEAL_TYPE, {"document": predicate, "approvers": []})
    other = sign_statement(town.seal, {"policies": subject}, "urn:other", {"document": predicate, "approvers": []})
    for seal in (own, other):
        book = town.book()
        assert book.take(PolicySnapshot({TENANT: SealedRules(1, seal)})).keys() == {TENANT}


def test_a_set_is_signed_by_who_proposes_it(town: Town) -> None:
    for signer in (town.bob.signer, SoftwareSigner.create(os.urandom)):
        with pytest.raises(Invalid):
            propose_as(town, town.author, {"a": NIGHT}, signer)


def test_nor_by_a_key_that_was_revoked(town: Town) -> None:
    with town.house.begin() as tx:
        standing.revoke_public_key(tx, town.author.signer.keyid)
    with pytest.raises(Invalid, match="policies-signature"):
        town.propose()


def test_the_author_is_no_approver_of_their_own_rules(town: Town) -> None:
    proposal = town.propose()
    with pytest.raises(FastnessError) as caught:
        town.approve(proposal, town.author)
    assert caught.value.code == "approver-unfit"


def test_an_approved_set_that_was_exchanged_is_not_activated(town: Town) -> None:
    harmless, evil = town.propose(), town.propose(EVIL)
    town.approve(harmless, town.bob, town.carol)
    with town.house.records.read(ADMIN) as reading:
        assert len(sets(reading)) == 2
    with pytest.raises(Conflict, match="approval-other"), town.house.begin() as tx:
        activate(tx, town.seal, 2, harmless.request.id, SHIPPED)
    evil_row = evil.set.document
    subject, predicate = msgspec.structs.replace(evil_row, number=1).statement()
    envelope = sign_statement(town.author.signer, {"policies": subject}, "urn:x", predicate)
    behind_the_back(town.house, update(POLICY_SET).where(POLICY_SET.c.number == 1).values(envelope=envelope))
    with pytest.raises(Corrupt, match="policies-corrupt"), town.house.begin() as tx:
        activate(tx, town.seal, 1, harmless.request.id, SHIPPED)


def test_the_rules_of_one_tenant_do_not_reach_another(town: Town) -> None:
    elsewhere = TenantId("other")
    town.house.person("alice", Role.SECURITY_OFFICER, scope=Scope(elsewhere, PrincipalId("user:root")))
    town.in_force()
    with town.house.records.read(Scope(elsewhere, PrincipalId("user:alice"))) as reading:
        assert sets(reading) == []
    behind_the_back(town.house, update(POLICY_SET).values(tenant=elsewhere))
    book = town.book()
    assert book.take(town.snapshot()).keys() == {TENANT, elsewhere}


def everything(*roles: Role, **changes: object) -> Principal:
    fields: dict[str, object] = {
        "kind": PrincipalKind.USER, "id": PrincipalId("user:mallory"), "tenant": TENANT, "roles": frozenset(roles),
        "strength": Strength.MFA, "authenticated_at": START, "stepped_up_at": None,
    }  # fmt: skip
    return Principal(**(fields | changes))  # type: ignore[arg-type]


def test_a_permit_of_ones_own_never_outweighs_a_shipped_forbid() -> None:
    """Even if somebody approved it: everything to everybody, and still no rule of the house is lifted."""
    text = '@id("all") permit(principal, action, resource);'
    policies = joined({"own.cedar": text}, SHIPPED)
    model = Resource("model", "digits")
    deploy: dict[str, str | int | bool] = {"tenant": TENANT, "author": "user:mallory", "own_approval": False}
    assert decide(everything(), Action.MODEL_DEPLOY, model, deploy, policies).rules == ("author-may-not-deploy",)
    assert not decide(everything(tenant=TenantId("x")), Action.MODEL_READ, model, {"tenant": TENANT}, policies).allow
    rollback = decide(everything(), Action.MODEL_ROLLBACK, model, {"tenant": TENANT}, policies, START)
    assert rollback.reason == "step-up-required"
    assert check({"own.cedar": text}, SHIPPED).decision is Decision.DENY


@pytest.mark.parametrize("rule", sorted(SHIPPED.says))
def test_no_shipped_rule_is_replaced(rule: str) -> None:
    text = f'@id("{rule}") permit(principal, action, resource);'
    assert "policy-shadows" in {f.rule for f in check({"own.cedar": text}, SHIPPED).findings}
    with pytest.raises(Invalid):
        joined({"own.cedar": text}, SHIPPED)
    with pytest.raises(Invalid):  # nor by a file of the same name
        joined({"duties.cedar": text}, SHIPPED)


def test_the_files_shipped_are_all_there_whatever_the_names_of_ones_own() -> None:
    named = {name: f'@id("x{number}") forbid(principal, action, resource) when {{ false }};'
             for number, name in enumerate(SHIPPED.texts)}  # fmt: skip
    policies = joined(named, SHIPPED)
    assert policies.says.keys() >= SHIPPED.says.keys()


def test_a_rule_that_errs_denies_and_takes_nothing_with_it() -> None:
    overflow = "principal.strength * 9223372036854775807 > 1"
    text = f'@id("odd") forbid(principal, action == Action::"model.read", resource) when {{ {overflow} }};'
    policies = joined({"own.cedar": text}, SHIPPED)
    model, context = Resource("model", "digits"), {"tenant": TENANT}
    assert decide(everything(Role.VIEWER), Action.MODEL_READ, model, context, policies).reason == "policy-error"
    assert decide(everything(Role.DEVELOPER), Action.MODEL_INFER, model, context, policies).allow


def test_an_approval_given_for_rules_is_used_once(town: Town) -> None:
    proposal = town.in_force()
    with pytest.raises(Conflict, match="approval-used"), town.house.begin() as tx:
        requests.use(tx, proposal.request.id, "policy.change", proposal.set.document.digest, 2)


def test_rules_that_were_written_against_other_shipped_rules_are_checked_anew(town: Town) -> None:
    """The house was upgraded in between, and a shipped rule now bears the name."""
    proposal = town.propose()
    town.approve(proposal, town.bob, town.carol)
    newer = Policies.from_texts({**SHIPPED.texts, "new.cedar": NIGHT})
    with pytest.raises(Invalid, match="policies-refused"), town.house.begin() as tx:
        activate(tx, town.seal, 1, proposal.request.id, newer)


WHERE = (
    '@id("r") @says("x") permit(principal in Role::"viewer", action == Action::"model.read", resource) when {{ {} }};'
)
NESTED = {
    "brackets": "(" * 5_000 + "true" + ")" * 5_000,
    "brackets beside words that look like their ends": '("")" != (' * 2_000 + "1" + ")" * 2_000,
    "brackets beside comments that look like their ends": "(// )\n" * 5_000 + "true" + ")" * 5_000,
    "brackets beside comments ended by a carriage return": "(// )\r" * 5_000 + "true" + ")" * 5_000,
    "lists": "[" * 5_000 + "1" + "]" * 5_000 + " == []",
    "tables": "{a: " * 5_000 + "1" + "}" * 5_000 + " == {}",
    "alternatives": "if true then " * 10_000 + "true" + " else true" * 10_000,
    "conditions": " && ".join(["true"] * 20_000),
    "sums": "1" + " + 1" * 20_000 + " == 2",
    "much": "true" + " " * (1 << 20),
    "many": "true };" + WHERE.format("true") * 3_000 + WHERE.format("true")[:-3],
}


@pytest.mark.parametrize("condition", NESTED.values(), ids=NESTED)
def test_rules_nested_without_end_are_refused_before_cedar_sees_them(condition: str) -> None:
    """Cedar walks conditions by recursion; some thousand levels ended the whole control process."""
    text = WHERE.format(condition)
    verdict = check({"deep.cedar": text}, SHIPPED)
    assert [finding.rule for finding in verdict.findings] == ["policies-unloadable"]
    with pytest.raises(Invalid):
        joined({"deep.cedar": text}, SHIPPED)


def test_what_people_write_is_far_from_the_bounds() -> None:
    own = "\n".join(WHERE.format(f'resource.name == "m{n}"').replace('"r"', f'"r{n}"') for n in range(500))
    assert check({"own.cedar": own}, SHIPPED).decision is not Decision.DENY


CASE = b'{name: a, principal: {id: "user:a"}, action: model.read, resource: "model:x", expect: deny}'
HEAVY = {
    "lists within lists": b"cases: " + b"[" * 200_000,
    "lists on one line": b"- " * 130_000,
    "one case, told again and again": b"cases: [&a " + CASE + b", *a" * 40_000 + b"]",
    "roles, told again and again": b"cases: [&a " + CASE.replace(b'"user:a"', b'"user:a", roles: [' + b"viewer, " * 9_000 + b"]")
    + b", *a" * 400 + b"]",
    "too many": b"cases:\n" + b"".join(b"- " + CASE + b"\n" for _ in range(501)),
}  # fmt: skip


@pytest.mark.parametrize("data", HEAVY.values(), ids=HEAVY)
def test_cases_that_would_take_the_house_down_are_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        read_cases(data)


def test_cases_end_when_the_time_is_up() -> None:
    cases = read_cases(b"cases:\n" + b"".join(b"- " + CASE + b"\n" for _ in range(500)))
    left = iter([False] * 3 + [True])
    with pytest.raises(Invalid, match="after 3 cases") as refused:
        run_cases(cases, SHIPPED, lambda: next(left))
    assert refused.value.code == "cases-slow"
