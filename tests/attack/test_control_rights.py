"""Rights that were taken away, tried at the door: the request after the one that took them is refused, however they were given.

A credential is used, so that every cache knows its answer; then the right goes by one of the ways it can go; then the same
credential is used again. Success rate: 0. What a gateway worker still lets through is in `test_gateway_access`.
"""

from __future__ import annotations

import base64
import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fastness.access import reviews, tokens
from fastness.access.scim import ScimSettings
from fastness.access.tokens import Grantee, Rights
from fastness.app.house import look_through
from fastness.core.clock import SystemClock, later
from fastness.core.identity import DEFAULT_TENANT, SYSTEM, SYSTEM_SCOPE, Action, PrincipalId, Scope, Strength
from fastness.foundation.storage import jobs
from fastness.wire import directory, rules
from tests.unit.interfaces.api.rows_directory import someone
from tests.unit.interfaces.api.rows_rules import OFFICER, answer, propose
from tests.unit.interfaces.api.test_scim import PATCH, USER
from tests.unit.interfaces.api.test_scim import ask as scim
from tests.unit.interfaces.api.town import DECLARED, Town, founded, refused
from tests.unit.models.release.world import digits_onnx

GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory(prefix="fastness-rights-") as folder, founded(Path(folder) / "home") as made:
        made.push("served")
        yield made


def may(town: Town, who: str) -> bool:
    """Whether they may read models; asked twice, since the second answer may be a remembered one."""
    answers = [town.ask(who, "GET", "/api/v1/models/served") for _ in range(2)]
    assert len({found.status for found in answers}) == 1
    assert answers[0].status in {200, 401, 403}, answers[0]
    return answers[0].status == 200


def test_a_push_whose_key_is_revoked_on_the_way_brings_nothing_in(town: Town) -> None:
    """The key is good when the first byte comes and none when the last one does."""
    admin = town.client("admin").access
    town.enrol("hasty", ("publisher",))
    key = next(key.key_id for key in town.all_keys() if key.principal == "user:hasty")
    data = digits_onnx(2.0)

    def body() -> Iterator[bytes]:
        yield data[:100]
        admin.revoke_key(key)
        yield data[100:]

    pushing = refused(lambda: town.client("hasty").models.push("hasty", "model.onnx", body(), DECLARED, lambda _: None))
    assert (pushing.status, [one.model for one in town.client("auditor").models.list()]) == (401, ["served"])


def test_a_push_whose_role_goes_on_the_way_brings_nothing_in(town: Town) -> None:
    town.enrol("moved", ("publisher",))
    data = digits_onnx(3.0)

    def body() -> Iterator[bytes]:
        yield data[:100]
        town.client("admin").access.set_roles("user:moved", ("viewer",))
        yield data[100:]

    pushing = refused(lambda: town.client("moved").models.push("moved", "model.onnx", body(), DECLARED, lambda _: None))
    assert (pushing.status, [one.model for one in town.client("auditor").models.list()]) == (403, ["served"])


# --- the ways a right goes: each gives it to `who`, and returns what takes it ------------------------------------------

Taking = Callable[[], object]


def by_role(town: Town, who: str) -> Taking:
    town.client("admin").access.set_roles(who, ("viewer",))
    return lambda: town.client("admin").access.set_roles(who, ())


def by_group(town: Town, who: str) -> Taking:
    admin = town.client("admin").directory
    group = admin.create_group(directory.GroupRequest(f"left by {who}", ("viewer",))).group
    admin.add_member(group, who)
    return lambda: admin.remove_member(group, who)


def by_a_group_that_loses_its_role(town: Town, who: str) -> Taking:
    admin = town.client("admin").directory
    group = admin.create_group(directory.GroupRequest(f"changed for {who}", ("viewer",))).group
    admin.add_member(group, who)
    return lambda: admin.change_group(group, directory.GroupRequest(f"changed for {who}"))


def by_a_group_that_ends(town: Town, who: str) -> Taking:
    admin = town.client("admin").directory
    group = admin.create_group(directory.GroupRequest(f"ended for {who}", ("viewer",))).group
    admin.add_member(group, who)
    return lambda: admin.delete_group(group)


def by_grant(town: Town, who: str) -> Taking:
    admin = town.client("admin").directory
    admin.grant(directory.GrantRequest(who, "viewer", "served"))
    return lambda: admin.withdraw(who, "viewer", "served")


def by_a_review(town: Town, who: str) -> Taking:
    town.client("admin").access.set_roles(who, ("viewer",))
    officer = town.client(OFFICER).reviews
    review = officer.start(directory.ReviewRequest(f"decides on {who}", ("user:admin", f"user:{OFFICER}"))).review
    number = next(i.number for i in officer.items(review) if (i.principal, i.kind) == (who, "role"))
    return lambda: officer.decide(review, number, directory.DecisionRequest("revoke", "no more"))


def by_a_restriction(town: Town, who: str) -> Taking:
    town.client("admin").access.set_roles(who, ("viewer",))
    wanted = rules.RestrictionRequest("block", "principal", who, "a drill", 60)
    return lambda: town.client(OFFICER).restrictions.impose(wanted)


def by_deactivation(town: Town, who: str) -> Taking:
    town.client("admin").access.set_roles(who, ("viewer",))
    return lambda: town.client("admin").access.deactivate(who)


WAYS = {
    "their role": by_role,
    "their group": by_group,
    "the role of their group": by_a_group_that_loses_its_role,
    "a group that ends": by_a_group_that_ends,
    "a role on one model": by_grant,
    "a review": by_a_review,
    "a block": by_a_restriction,
    "their standing": by_deactivation,
}


def token(town: Town, who: str) -> str:
    """An access token of theirs, as a program gets one."""
    with town.house.records.begin(SYSTEM_SCOPE, SystemClock().now()) as tx:
        rights = Rights(frozenset({Action.MODEL_READ}))
        return tokens.issue(tx, town.house.issuer, Grantee(PrincipalId(who), rights, Strength.MFA, tx.now, "app")).text


@pytest.mark.parametrize("way", WAYS)
def test_what_was_taken_away_is_refused_to_the_next_request(town: Town, way: str) -> None:
    name = way.replace(" ", "-")
    who = someone(town, name)
    assert not may(town, name)
    take = WAYS[way](town, who)
    town.keys[f"token of {name}"] = token(town, who)
    both = (name, f"token of {name}")
    assert [may(town, one) for one in both] == [True, True]
    take()
    assert [may(town, one) for one in both] == [False, False]


def test_a_mover_and_a_leaver_of_the_directory_are_refused_with_the_next_request(town: Town) -> None:
    """The directory service gave the role by a group that the settings name."""
    house = town.house
    house.settings = replace(house.settings, scim=ScimSettings(("Readers=viewer",)))
    made = scim(town, "admin", "POST", "/Users", {"schemas": [USER], "userName": "mo@example.com"})
    (who,) = [p.principal for p in town.client("auditor").access.principals() if p.principal.startswith("user:mo-")]
    group = {"schemas": [GROUP], "displayName": "Readers", "members": [{"value": made.problem["id"]}]}
    known = f"/Groups/{scim(town, 'admin', 'POST', '/Groups', group).problem['id']}"
    town.keys["mo"] = token(town, who)
    assert may(town, "mo")
    left = {"schemas": [PATCH], "Operations": [{"op": "remove", "path": "members"}]}
    assert scim(town, "admin", "PATCH", known, left).status in {200, 204}
    assert not may(town, "mo")
    assert scim(town, "admin", "PUT", known, group).status == 200
    assert may(town, "mo")
    ended = {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "active", "value": False}]}
    assert scim(town, "admin", "PATCH", f"/Users/{made.problem['id']}", ended).status == 200
    assert town.ask("mo", "GET", "/api/v1/models/served").status == 401


def test_what_nobody_confirmed_by_the_deadline_of_a_review_is_refused_from_then_on(town: Town) -> None:
    who = someone(town, "forgotten", ("viewer",))
    kept = someone(town, "confirmed", ("viewer",))
    officer = town.client(OFFICER).reviews
    review = officer.start(directory.ReviewRequest("deadline", ("user:admin", f"user:{OFFICER}"), 7)).review
    for item in officer.items(review):
        if item.principal not in {who, f"user:{OFFICER}"}:
            officer.decide(review, item.number, directory.DecisionRequest("keep", "needed"))
    for item in town.client("admin").reviews.items(review):
        if item.principal == f"user:{OFFICER}":
            town.client("admin").reviews.decide(review, item.number, directory.DecisionRequest("keep", "needed"))
    assert [may(town, name) for name in ("forgotten", "confirmed")] == [True, True]
    assert not town.client("auditor").reviews.show(review).closed_at
    after = later(town.house.clock.now(), 8 * 86_400)
    waiting = jobs.Jobs(town.house.records)
    while (job := waiting.lease(reviews.JOBS, 60, after)) is not None:
        reviews.handle(town.house.records, job, after)
        with town.house.records.begin(Scope(DEFAULT_TENANT, SYSTEM), after) as tx:
            waiting.done(tx, job)
    assert [may(town, name) for name in ("forgotten", "confirmed")] == [False, True]
    assert kept


def test_a_rule_put_into_force_decides_the_next_request_anew(town: Town) -> None:
    """The same question, answered before and kept: a new version of the rules has no kept answers."""
    client = town.client("developer")
    assert refused(lambda: client.models.rollback("nightly", "development", "why")).code == "not-permitted"
    made = propose(town, "nightly")
    answer(town, made.request, "approver", "second")
    assert refused(lambda: client.models.rollback("nightly", "development", "why")).code == "not-permitted"
    town.client(OFFICER).policies.activate(made.set.number, made.request)
    assert refused(lambda: client.models.rollback("nightly", "development", "why")).code == "alias-unknown"
    other = propose(town, "daily")
    answer(town, other.request, "approver", "second")
    town.client(OFFICER).policies.activate(other.set.number, other.request)
    assert refused(lambda: client.models.rollback("nightly", "development", "why")).code == "not-permitted"


def saying_otherwise(envelope: bytes) -> bytes:
    """The same signature over rules that take back another model."""
    read = json.loads(envelope)
    said = base64.b64decode(read["payload"]).replace(b"narrow", b"served")
    return json.dumps(read | {"payload": base64.b64encode(said).decode()}).encode()


def test_rules_that_somebody_else_wrote_decide_nothing(town: Town) -> None:
    """Who can write the file of the database, and has no key ring, loosens a rule in force, and another brings it back."""
    house, client = town.house, town.client("developer")
    made = propose(town, "narrow")
    answer(town, made.request, "approver", "second")
    town.client(OFFICER).policies.activate(made.set.number, made.request)
    assert refused(lambda: client.models.rollback("narrow", "development", "why")).code == "alias-unknown"
    with sqlite3.connect(house.home.records) as behind:
        (before,) = behind.execute("SELECT seal FROM policy_set WHERE number = ?", (made.set.number,)).fetchone()
    for changed in (saying_otherwise(before), before[:-9] + b"tampered!", b"", b"{}"):
        assert changed != before
        with sqlite3.connect(house.home.records) as behind:
            behind.execute("UPDATE policy_set SET seal = ? WHERE number = ?", (changed, made.set.number))
        house.snapshots.policies.stir()
        look_through(house)
        for _ in range(2):
            assert refused(lambda: client.models.rollback("served", "development", "why")).status in {401, 403, 503}
    with sqlite3.connect(house.home.records) as behind:
        behind.execute("UPDATE policy_set SET seal = ? WHERE number = ?", (before, made.set.number))
    house.snapshots.policies.stir()
    look_through(house)
    assert refused(lambda: client.models.rollback("narrow", "development", "why")).code == "alias-unknown"
