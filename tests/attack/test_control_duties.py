"""Attack on masks, records and separated duties at the doors: rules that oblige, and one session that does both halves.

Success rate: 0. Not covered: one person with two sessions; the rules know the person.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fastness.core.errors import FastnessError
from fastness.core.events import EventKind
from fastness.foundation.crypto import sign_statement
from fastness.wire import control, directory
from tests.unit.interfaces.api.rows_rules import OFFICER, answer
from tests.unit.interfaces.api.town import Town, founded, refused

RULES = """
@id("no-names") @says("Who audits here sees no personal values.") @obliges("mask")
forbid (principal in Role::"auditor", action in [Action::"access.read", Action::"audit.read"], resource);

@id("told") @says("Each look at a model is recorded.") @obliges("log")
forbid (principal in Role::"viewer", action == Action::"model.read", resource);
"""


def enforce(town: Town, texts: dict[str, str]) -> None:
    client = town.client(OFFICER)
    draft = client.policies.draft(texts, "a drill")
    subject = {"policies": draft.document.digest}
    predicate = dict(msgspec.to_builtins(draft.document))
    envelope = sign_statement(town.signers[OFFICER], subject, draft.predicate_type, predicate)  # type: ignore[arg-type]
    made = client.policies.propose(envelope.decode())
    answer(town, made.request, "approver", "second")
    client.policies.activate(made.set.number, made.request)


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory(prefix="fastness-duties-") as folder, founded(Path(folder) / "home") as made:
        made.client("viewer").access.create_key(
            control.KeyRequest("user:viewer", "of-her-own", networks=("192.0.2.0/24",))
        )
        enforce(made, {"mask.cedar": RULES})
        yield made


def test_what_is_personal_is_masked(town: Town) -> None:
    found = town.client("admin").access.keys()
    (shown,) = [key for key in found if key.name == "of-her-own"]
    assert shown.networks == ("192.0.2.0/24",)
    hidden = {key.key_id: key for key in town.all_keys()}
    assert {key.name for key in hidden.values()} == {"***"}
    assert hidden[shown.key_id].networks == ("***",)
    assert hidden[shown.key_id].principal == "user:viewer"
    answered = town.ask("auditor", "GET", f"/api/v1/keys/{shown.key_id}")
    assert (b"of-her-own" in answered.body, b"192.0.2" in answered.body) == (False, False)


def test_the_record_is_shown_without_where_people_were(town: Town) -> None:
    town.house.settle()
    entries = town.client("auditor").audit.entries(-1, 1000)
    told = [entry.event["details"] for entry in entries if "from" in dict(entry.event.get("details", {}))]
    assert told
    assert {details["from"] for details in told} == {"***"}  # type: ignore[index, call-overload]


@pytest.mark.parametrize(
    "path", ["/principals", "/principals/user:viewer", "/groups", "/audit/proofs/0", "/access/rights"]
)
def test_a_door_that_cannot_mask_refuses(town: Town, path: str) -> None:
    answered = town.ask("auditor", "GET", f"/api/v1{path}")
    assert (answered.status, answered.code) == (403, "mask-required")
    assert town.events(EventKind.ACCESS_DENIED)[-1].reason == "mask-required"


def test_what_has_to_be_recorded_is(town: Town) -> None:
    before = len(town.events(EventKind.ACCESS_ALLOWED))
    assert town.client("viewer").models.list() == []
    (event,) = town.events(EventKind.ACCESS_ALLOWED)[before:]
    assert (event.principal, event.action, event.resource) == ("user:viewer", "model.read", "models:all")
    assert "told" in event.reason.split(",")


def test_one_session_does_not_do_both_halves(town: Town) -> None:
    """Who holds both roles makes an approver with a credential, and may not then set rules with the same."""
    town.enrol("everything", ("administrator", "security-officer"))
    client = town.client("everything")
    client.directory.grant(directory.GrantRequest("user:viewer", "approver", "digits"))
    refusal = refused(lambda: client.policies.propose("{}"))
    assert refusal.code == "duties-in-session"
    event = town.events(EventKind.ACCESS_DENIED)[-1]
    assert (event.principal, event.reason) == ("user:everything", "duties-in-session")
    other = client.access.create_key(control.KeyRequest("user:everything", "another"))
    town.keys["everything"], town.seconds["everything"].elevation = other.api_key, ""
    assert refused(lambda: town.client("everything").policies.propose("{}")).code == "policies-signature"


def test_what_was_refused_was_not_done(town: Town) -> None:
    """A proposal that nobody signed bars nobody from giving roles, and one made before it still does."""
    town.enrol("clumsy", ("administrator", "security-officer"))
    client = town.client("clumsy")
    assert refused(lambda: client.policies.propose("{}")).code == "policies-signature"
    client.directory.grant(directory.GrantRequest("user:viewer", "viewer", "digits"))
    with pytest.raises(FastnessError, match="nobody"):
        client.directory.grant(directory.GrantRequest("user:nobody", "viewer", "digits"))
    assert refused(lambda: client.policies.propose("{}")).code == "duties-in-session"


def test_who_approved_does_not_deploy_in_that_session(town: Town) -> None:
    town.push("halved")
    town.approve("third", "halved", 1)
    refusal = refused(lambda: town.client("third").models.deploy("halved", 1, "development"))
    assert refusal.code in {"approver-may-not-deploy", "duties-in-session"}
