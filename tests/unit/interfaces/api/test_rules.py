"""Policies, approvals, restrictions and quotas over the control plane, beyond what the table of routes asks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fastness.access.approvals import requests
from fastness.access.policysets import PolicyDocument
from fastness.core.digests import Digest
from fastness.core.events import EventKind
from fastness.core.identity import Action, Role, TenantId
from fastness.foundation.crypto import sign_statement
from fastness.wire import control, rules
from tests.unit.interfaces.api.rows_rules import OFFICER, answer, propose, signed, texts
from tests.unit.interfaces.api.test_gate import ask
from tests.unit.interfaces.api.town import Town, founded, refused

QUOTA = "/api/v1/quotas/model/{}/requests/day"


@pytest.fixture(scope="module")
def bare() -> Iterator[Town]:
    """A house with its people and no model."""
    with tempfile.TemporaryDirectory(prefix="fastness-rules-") as folder, founded(Path(folder) / "home") as made:
        yield made


def test_both_sides_compute_the_same_digest_of_what_is_signed() -> None:
    ours = PolicyDocument(TenantId("t"), 3, {"b": "x", "a": "ü"}, "base", "because")
    assert rules.PolicyDocument("t", 3, {"a": "ü", "b": "x"}, "base", "because").digest == ours.digest
    terms = requests.Terms(2, frozenset({Role.APPROVER, Role.SECURITY_OFFICER}), 17, frozenset())
    asked = requests.Asked("id", TenantId("t"), "p", Digest("sha256:0"), "user:a", terms, {"n": 1})  # type: ignore[arg-type]
    sent = msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(asked)), type=rules.Asked)
    assert sent.digest == asked.digest
    assert msgspec.structs.replace(sent, purpose="q").digest != asked.digest


def test_what_is_replaced_must_be_known(bare: Town) -> None:
    path, body = QUOTA.format("tagged"), rules.QuotaRequest(10)
    assert ask(bare, "admin", "PUT", path, body, if_match="*")[0].code == "precondition-failed"
    assert ask(bare, "admin", "PUT", path, body)[0].status == 200
    _, headers = ask(bare, "admin", "GET", path)
    tag = headers["etag"]
    changed, _ = ask(bare, "admin", "PUT", path, rules.QuotaRequest(20), if_match=f'"other", {tag}')
    assert changed.status == 200
    for method, sent in (("PUT", rules.QuotaRequest(30)), ("DELETE", None)):
        stale, _ = ask(bare, "admin", method, path, sent, if_match=tag)
        assert (stale.status, stale.code) == (412, "precondition-failed")
    shown, headers = ask(bare, "admin", "GET", path)
    assert shown.problem["amount"] == 20
    assert ask(bare, "admin", "DELETE", path, if_match=headers["etag"])[0].status == 204
    assert ask(bare, "admin", "GET", path)[0].status == 404


def test_a_condition_that_cannot_be_held_is_refused(bare: Town) -> None:
    before = len(bare.events(EventKind.PRINCIPAL_CREATED))
    body = control.PrincipalRequest("conditional", ("viewer",))
    answered, _ = ask(bare, "admin", "POST", "/api/v1/principals", body, if_match='"x"')
    assert (answered.status, answered.code) == (400, "if-match-unheld")
    assert len(bare.events(EventKind.PRINCIPAL_CREATED)) == before


@pytest.mark.parametrize("action", Action)
def test_every_action_can_be_explained(bare: Town, action: Action) -> None:
    """A question that lacks what the schema asks for would be answered by `request-refused`."""
    found = bare.client("auditor").policies.explain("user:admin", action, "thing:x", author="user:y")
    assert found.reason in {"permitted", "not-permitted", "forbidden", "step-up-required", "two-persons-required"}
    assert found.rules or found.reason == "not-permitted"
    assert found.said


def test_rules_that_are_put_into_force_decide_at_once_and_are_explained(bare: Town) -> None:
    developer, auditor = bare.client("developer"), bare.client("auditor").policies
    assert refused(lambda: developer.models.rollback("decided", "development", "why")).code == "not-permitted"
    made = propose(bare, "decided")
    answer(bare, made.request, "approver", "second")
    bare.client(OFFICER).policies.activate(made.set.number, made.request)
    assert refused(lambda: developer.models.rollback("decided", "development", "why")).status == 404
    assert refused(lambda: developer.models.rollback("others", "development", "why")).code == "not-permitted"
    found = auditor.explain("user:developer", "model.rollback", "model:decided", stepped_up=True)
    assert (found.allow, "night-decided" in found.rules) == (True, True)
    page = auditor.page()
    assert (page.number, "`night-decided`" in page.text, page.version) == (made.set.number, True, found.version)


def test_a_block_holds_at_once_until_it_is_lifted(bare: Town) -> None:
    officer = bare.client(OFFICER).restrictions
    assert bare.client("operator").models.list() == []
    made = officer.impose(rules.RestrictionRequest("block", "principal", "user:operator", "a trial", 5))
    assert refused(bare.client("operator").models.list).status == 403
    assert bare.client("auditor").policies.explain(
        "user:operator", "model.read", "models:all"
    ).restrictions == (made,)  # fmt: skip
    officer.lift(made.id, "it was a trial")
    assert bare.client("operator").models.list() == []


def test_a_refusal_is_explained_as_it_was_given(bare: Town) -> None:
    refusal = refused(bare.client("viewer").access.principals)
    found = bare.client("auditor").policies.explain("user:viewer", "access.read", "access:principals")
    assert (found.allow, found.reason, found.message) == (False, refusal.code, refusal.hint)
    assert [rules.ChangeView("principal.roles", "+auditor")] in [list(few) for few in found.changes]


def test_a_repeated_proposal_is_made_once(bare: Town) -> None:
    officer = bare.client(OFFICER)
    made = propose(bare, "once")  # steps up
    body = rules.RestrictionRequest("block", "model", "once", "a trial", 5)
    first, _ = ask(bare, OFFICER, "POST", "/api/v1/restrictions", body, idempotency_key="block-once")
    again, headers = ask(bare, OFFICER, "POST", "/api/v1/restrictions", body, idempotency_key="block-once")
    assert (first.status, again.body, headers["idempotency-replayed"]) == (201, first.body, "true")
    assert [each.target for each in officer.restrictions.list()].count("once") == 1
    assert made.set.number >= 1


def test_a_request_is_withdrawn_by_who_asked_and_nobody_else(bare: Town) -> None:
    made = propose(bare, "withdrawn")
    assert refused(lambda: bare.client("approver").approvals.withdraw(made.request)).code == "approval-not-yours"
    bare.client(OFFICER).approvals.withdraw(made.request)
    assert bare.client("auditor").approvals.show(made.request).request.state == "withdrawn"
    assert refused(lambda: answer(bare, made.request, "approver")).code == "approval-closed"
    assert made.request not in [view.asked.id for view in bare.client("approver").approvals.waiting()]


def test_only_whose_word_counts_is_waited_for(bare: Town) -> None:
    made = propose(bare, "waiting")
    waits = {who for who in bare.signers if made.request in [v.asked.id for v in bare.client(who).approvals.waiting()]}
    assert waits == {"approver", "second", "third", "author"}


def test_an_answer_to_one_request_is_none_to_another(bare: Town) -> None:
    first, second = propose(bare, "first"), propose(bare, "other")
    envelope = signed(bare, "approver", first.request)
    error = refused(lambda: bare.client("approver").approvals.answer(second.request, envelope))
    assert error.code == "approval-refused"
    assert bare.client("auditor").approvals.show(second.request).request.state == "open"


def test_a_set_is_proposed_by_its_signer_alone(bare: Town) -> None:
    """An officer cannot hand in what an approver has signed, and nobody a document of another number."""
    client = bare.client(OFFICER).policies
    draft = client.draft(texts("stolen"), "why")
    for document, who, code in (
        (draft.document, "approver", "policies-signer"),
        (msgspec.structs.replace(draft.document, number=draft.document.number + 1), OFFICER, "policies-number"),
        (msgspec.structs.replace(draft.document, tenant="other"), OFFICER, "policies-signer"),
    ):
        envelope = _signed_document(bare, who, document, draft.predicate_type)
        assert refused(lambda sent=envelope: client.propose(sent)).code == code  # type: ignore[misc]


def _signed_document(town: Town, who: str, document: rules.PolicyDocument, kind: str) -> str:
    predicate = msgspec.to_builtins(document)
    return sign_statement(town.signers[who], {"policies": Digest(document.digest)}, kind, predicate).decode()


def test_lists_of_rules_come_in_pages(bare: Town) -> None:
    officer = bare.client(OFFICER)
    for number in range(3):
        officer.restrictions.impose(rules.RestrictionRequest("block", "model", f"paged-{number}", "a trial", 5))
        bare.client("admin").quotas.set("model", f"paged-{number}", "bytes", "day", rules.QuotaRequest(number))
    for path in ("/restrictions", "/restrictions/history", "/quotas", "/policies", "/approvals"):
        whole = msgspec.json.decode(bare.ask("auditor", "GET", f"/api/v1{path}").body)
        found, following = [], f"/api/v1{path}?limit=2"
        while following:
            answered, headers = ask(bare, "auditor", "GET", following)
            found += msgspec.json.decode(answered.body)
            following = headers.get("link", "").partition(">")[0].removeprefix("<")
        assert found == whole
        assert len(whole) > 2, path
