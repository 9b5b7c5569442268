"""Attack on what takes the word of several: used twice, for something else, by another, by its own author, changed, too late.

Success rate: 0. Every operation that takes approvals comes through the same door (`interfaces/api/doors.py`), so one is attacked for
all: making a group, which the settings of this house subject to one approval, and rotating keys, which the shipped rules
subject to two. Not covered: two people who agree to do wrong.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from fastness.access.approvals import ApprovalSettings
from fastness.client import ControlClient
from fastness.core.errors import Forbidden
from fastness.core.events import EventKind
from fastness.foundation.crypto import sign_statement
from fastness.wire import control, directory, rules
from tests.unit.interfaces.api.rows_rules import OFFICER, answer, propose, signed
from tests.unit.interfaces.api.town import Town, founded, refused

GROUPS = "/api/v1/groups"


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory(prefix="fastness-approved-") as folder, founded(Path(folder) / "home") as made:
        made.enrol("deputy", ("administrator",))
        asked = ApprovalSettings(("group.change=1", "tenant.create", "allowance.grant=1"))
        made.house.settings = replace(made.house.settings, approvals=asked)
        yield made


def group(name: str, *roles: str) -> directory.GroupRequest:
    return directory.GroupRequest(name, roles or ("viewer",))


def wish(name: str, **changes: object) -> rules.ApprovalWish:
    operation = rules.Operation.of("POST", GROUPS, "", msgspec.json.encode(group(name)))
    made = rules.ApprovalWish("group.change", operation.digest, "they are new", operation)
    return msgspec.structs.replace(made, **changes)


def ask(town: Town, name: str, who: str = "admin", **changes: object) -> str:
    return town.client(who).approvals.ask(wish(name, **changes)).asked.id


def make(town: Town, name: str, *roles: str, who: str = "admin") -> str:
    return town.client(who).directory.create_group(group(name, *roles)).group


def why(town: Town, name: str, *roles: str, who: str = "admin") -> str:
    return refused(lambda: make(town, name, *roles, who=who)).code


def test_asked_approved_and_done_once(town: Town) -> None:
    refusal = refused(lambda: make(town, "new"))
    assert isinstance(refusal, Forbidden)
    assert (refusal.code, refusal.permission) == ("approval-required", "group.change")
    assert refusal.subject == wish("new").subject
    assert "--ask" in refusal.hint
    request = ask(town, "new")
    assert f"request {request}" in str(refused(lambda: make(town, "new")))
    answer(town, request, "approver")
    assert make(town, "new")
    assert why(town, "another") == why(town, "new") == "approval-required"
    reasons = [event.reason for event in town.events(EventKind.APPROVAL_CLOSED) if request in event.resource]
    assert reasons == ["approved", "used"]


def test_how_the_body_is_spaced_does_not_matter_and_what_it_says_does(town: Town) -> None:
    answer(town, ask(town, "spaced"), "approver")
    for body in (b'{"name": "spaced", "roles": ["operator"]}', b'{"name": "spaced2", "roles": ["viewer"]}'):
        assert town.ask("admin", "POST", GROUPS, body).code == "approval-required"
    assert (
        town.ask("admin", "POST", f"{GROUPS}?a=b", b'{"roles":["viewer"],"name":"spaced"}').code == "approval-required"
    )
    assert town.ask("admin", "POST", GROUPS, b'{ "roles" : ["viewer"], "name":"spaced" }').status == 201


def test_nobody_else_uses_it(town: Town) -> None:
    answer(town, ask(town, "mine"), "approver")
    assert why(town, "mine", who="deputy") == "approval-required"
    assert make(town, "mine")


def test_who_asks_does_not_approve_nor_who_is_excluded_nor_a_program(town: Town) -> None:
    town.enrol("both", ("administrator", "approver"))
    request = ask(town, "own", who="both", exclude=("user:second",))
    envelope = signed(town, "both", request)
    assert refused(lambda: town.client("both").approvals.answer(request, envelope)).status == 403
    assert refused(lambda: town.client("approver").approvals.answer(request, envelope)).code == "approver-unfit"
    for who in ("second", "robot"):
        assert refused(lambda who=who: answer(town, request, who)).status == 403
    assert why(town, "own", who="both") == "approval-required"
    answer(town, request, "approver")
    assert make(town, "own", who="both")


def test_an_approval_is_no_permission(town: Town) -> None:
    answer(town, ask(town, "reached", who="viewer"), "approver")
    assert why(town, "reached", who="viewer") == "not-permitted"


def test_no_other_purpose_or_subject_passes_for_it(town: Town) -> None:
    operation = wish("other").operation
    assert refused(lambda: ask(town, "other", subject=wish("else").subject)).code == "approval-subject"
    assert refused(lambda: ask(town, "other", kind="group.fly")).code == "action-unknown"
    answer(town, ask(town, "other", kind="model.deploy"), "approver", "second")
    assert why(town, "other") == "approval-required"
    made = propose(town, "fire")
    stolen = rules.ApprovalWish("policy.change", made.set.digest, "mine", operation)
    assert refused(lambda: town.client(OFFICER).approvals.ask(stolen)).code == "approval-subject"


def test_a_policy_set_is_not_put_into_force_by_an_operations_approval(town: Town) -> None:
    """Its author would not be excluded from answering."""
    made = propose(town, "sneaked")
    operation = rules.Operation("POST", f"/api/v1/policies/{made.set.number}/activation")
    request = town.client("deputy").approvals.ask(
        rules.ApprovalWish("policy.change", operation.digest, "quickly", operation)
    )
    answer(town, request.asked.id, "approver", OFFICER)
    refusal = refused(lambda: town.client(OFFICER).policies.activate(made.set.number, request.asked.id))
    assert refusal.code == "approval-other"


def test_what_was_refused_gives_it_back_and_what_was_done_does_not(town: Town) -> None:
    answer(town, ask(town, "twice"), "approver")
    assert make(town, "twice")
    request = ask(town, "twice")
    answer(town, request, "approver")
    assert why(town, "twice") == "group-exists"
    closed = [event.reason for event in town.events(EventKind.APPROVAL_CLOSED) if request in event.resource]
    assert closed == ["approved", "used", "returned"]
    assert why(town, "twice") == "group-exists"


def test_it_is_revoked_by_its_author_and_by_any_approver_until_it_is_used(town: Town) -> None:
    first = ask(town, "revoked")
    answer(town, first, "approver")
    answer(town, first, "second", decision="reject")
    assert town.client("auditor").approvals.show(first).request.state == "rejected"
    assert why(town, "revoked") == "approval-required"
    again = ask(town, "withdrawn")
    answer(town, again, "approver")
    assert refused(lambda: town.client("viewer").approvals.withdraw(again)).code == "approval-not-yours"
    town.client("admin").approvals.withdraw(again)
    assert why(town, "withdrawn") == "approval-required"
    used = ask(town, "used")
    answer(town, used, "approver")
    make(town, "used")
    assert refused(lambda: answer(town, used, "second", decision="reject")).code == "approval-closed"
    assert refused(lambda: town.client("admin").approvals.withdraw(used)).code == "approval-closed"


def test_an_approver_who_left_counts_no_more(town: Town) -> None:
    town.enrol("leaver", ("approver",))
    answer(town, ask(town, "left"), "leaver")
    town.client("admin").access.deactivate("user:leaver")
    assert why(town, "left") == "approval-required"


def test_of_many_at_once_one_goes_through(town: Town) -> None:
    answer(town, ask(town, "raced"), "approver")
    answers: list[int] = []

    def go() -> None:
        answers.append(town.ask("admin", "POST", GROUPS, msgspec.json.encode(group("raced"))).status)

    threads = [threading.Thread(target=go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201, *[403] * 7]


def test_a_request_shown_otherwise_than_it_is_signed_has_no_approvals(town: Town) -> None:
    """The approver's program computes the digest of what it shows; the house, of what is stored."""
    request = ask(town, "shown")
    whole = town.client("approver").approvals.show(request)
    details = whole.request.asked.details
    shown = rules.Operation(*(str(details[name]) for name in ("method", "path", "query", "body")))
    assert shown.digest == whole.request.asked.subject
    forged = msgspec.structs.replace(whole.request.asked, details={**details, "body": "{}"})
    subject = {whole.signing.subject: forged.digest}
    predicate = {**whole.signing.predicate, "decision": "approve"}
    envelope = sign_statement(town.signers["approver"], subject, whole.signing.predicate_type, predicate)  # type: ignore[arg-type]
    assert (
        refused(lambda: town.client("approver").approvals.answer(request, envelope.decode())).code == "approval-refused"
    )


def test_what_the_settings_name_takes_it_whatever_the_rules_say(town: Town) -> None:
    tenant = directory.NewTenantRequest("branch", "Branch Ltd.")
    assert refused(lambda: town.client("admin").directory.create_tenant(tenant)).code == "approval-required"
    allowance = control.AllowanceRequest(("watermark",), 1, "because")
    asking = ControlClient(town.carrier, town.keys[OFFICER], town.seconds[OFFICER], "a waiver")
    refusal = refused(lambda: asking.access.grant_allowance("development", allowance))
    assert refusal.code == "approval-asked"
    (waiting,) = [v for v in town.client("approver").approvals.waiting() if v.asked.details.get("reason") == "a waiver"]
    answer(town, waiting.asked.id, "approver")
    assert town.client(OFFICER).access.grant_allowance("development", allowance).environment == "development"


def test_what_flows_cannot_be_approved_and_is_refused(town: Town) -> None:
    town.house.settings = replace(town.house.settings, approvals=ApprovalSettings(("model.push",)))
    assert town.ask("publisher", "POST", "/api/v1/models/x/versions?file=m", b"abc").code == "two-persons-required"
