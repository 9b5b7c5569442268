"""What is malformed, unknown, out of range or not one's own: a status, a code, a hint, and never a fault."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec
import pytest

from fastness.core.clock import system_entropy
from fastness.core.events import EventKind
from fastness.foundation.crypto import SoftwareSigner, sign_statement
from fastness.wire import control
from tests.unit.interfaces.api.test_routes import ENVIRONMENT, ROUTES, encoded
from tests.unit.interfaces.api.town import Answer, Town, refused

MAY = {
    "POST /principals": "admin", "POST /keys": "viewer", "POST /environments/{environment}/allowances": "security-officer",
    "POST /models/{model}/versions/{version}/verifications": "viewer",
    "POST /models/{model}/versions/{version}/approvals": "approver",
    "POST /models/{model}/versions/{version}/deployments": "operator",
    "POST /models/{model}/rollbacks": "operator",
    "POST /models/{model}/versions/{version}/quarantine": "security-officer",
}  # fmt: skip
BODIES = {
    "empty": b"",
    "not JSON": b"hello",
    "truncated": b'{"environment": "dev',
    "not UTF-8": b'{"environment": "\xff"}',
    "a lone surrogate": b'{"environment": "\\ud800"}',
    "another shape": b"[]",
    "null": b"null",
    "a number": b"5",
    "an unknown field": b'{"environment": "development", "reason": "x", "surprise": 1}',
    "wrong types": b'{"environment": 1, "reason": [], "name": {}, "principal": 1, "envelope": 1, "measures": "x"}',
    "very deep": b"[" * 100_000,
}


def sound(answer: Answer, status: int, code: str) -> None:
    """A problem document with this status and code, that says what happened and shows nothing of the inside."""
    assert (answer.status, answer.kind, answer.code) == (status, "application/problem+json", code), answer.body[:500]
    assert answer.problem["status"] == status
    assert answer.problem["detail"]
    assert len(answer.body) < 4096
    for inside in (b"Traceback", b"File \\", b".py", b"sqlalchemy", b"litestar", b"Litestar"):
        assert inside not in answer.body


@pytest.mark.parametrize("route", MAY)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_malformed_body_is_refused_with_its_place(
    town: Town, caplog: pytest.LogCaptureFixture, route: str, body: bytes
) -> None:
    with caplog.at_level(logging.ERROR, "fastness"):
        answer = town.ask(MAY[route], "POST", f"/api/v1{ROUTES[route].path}", body)
    sound(answer, 400, "request-malformed")
    assert not caplog.records


def test_the_key_is_asked_for_before_the_body_is_looked_at(town: Town) -> None:
    sound(town.ask("", "POST", "/api/v1/principals", b"hello"), 401, "key-missing")


def test_enrolment_takes_no_other_shape(town: Town) -> None:
    for body in BODIES.values():
        sound(town.ask("", "POST", "/api/v1/enrolments", body), 400, "request-malformed")
    sound(town.ask("", "POST", "/api/v1/enrolments", b'{"code":"x","public_pem":"x"}'), 400, "public-key-malformed")


@pytest.mark.parametrize("pieces", [[b"x" * (2 << 20)], [b"x" * 65_536] * 32], ids=["at once", "in pieces"])
def test_a_body_too_large_is_refused(town: Town, pieces: list[bytes]) -> None:
    sound(town.ask("admin", "POST", "/api/v1/principals", pieces), 413, "body-too-large")


LONG = "x" * 60_000
HUGE = "9" * 40
UNKNOWN = [
    ("viewer", "GET", "/nope", None, 404, "route-unknown"),
    ("viewer", "GET", "/models/served/nope/1/2/3", None, 404, "route-unknown"),
    ("viewer", "PUT", "/models", None, 405, "method-not-allowed"),
    ("viewer", "GET", "/models/nope", None, 404, "model-unknown"),
    ("viewer", "GET", f"/models/{LONG}", None, 404, "model-unknown"),
    ("viewer", "GET", "/models/%00", None, 404, "model-unknown"),
    ("viewer", "GET", "/models/%ff%fe/history", None, 404, "model-unknown"),
    ("viewer", "GET", "/models/served/versions/7", None, 404, "version-unknown"),
    ("viewer", "GET", "/models/served/versions/0", None, 404, "version-unknown"),
    ("viewer", "GET", "/models/served/versions/-1", None, 404, "version-unknown"),
    ("viewer", "GET", f"/models/served/versions/{HUGE}", None, 400, "request-malformed"),
    ("viewer", "GET", "/models/served/versions/one", None, 404, "route-unknown"),
    ("viewer", "GET", "/models/served/versions/1/approvals/nope", None, 404, "environment-unknown"),
    ("viewer", "GET", "/environments/nope/allowances", None, 404, "environment-unknown"),
    ("viewer", "POST", "/models/served/versions/1/verifications", b'{"environment":"nope"}', 404, "environment-unknown"),
    ("operator", "POST", "/models/served/versions/9/deployments", ENVIRONMENT, 404, "version-unknown"),
    ("operator", "POST", "/models/served/versions/1/deployments", b'{"environment":"nope"}', 404, "environment-unknown"),
    ("operator", "POST", "/models/nope/rollbacks", b'{"reason":"x","environment":"development"}', 404, "alias-unknown"),
    ("operator", "POST", "/models/served/rollbacks", b'{"reason":" ","environment":"development"}', 400, "reason-missing"),
    ("security-officer", "POST", "/models/served/versions/1/quarantine", b'{"reason":""}', 400, "reason-missing"),
    ("security-officer", "POST", "/models/served/versions/9/quarantine", b'{"reason":"x"}', 404, "version-unknown"),
    (
        "security-officer", "POST", "/environments/nope/allowances", b'{"reason":"x","days":1,"measures":["a"]}',
        404, "environment-unknown",
    ),
    (
        "security-officer", "POST", "/environments/development/allowances",
        b'{"reason":"x","days":1e300,"measures":["a"]}', 400, "allowance-time",
    ),
    ("approver", "POST", "/models/served/versions/9/approvals", b'{"environment":"development","envelope":"{}"}', 404, "version-unknown"),
    ("approver", "POST", "/models/served/versions/1/approvals", b'{"environment":"nope","envelope":"{}"}', 404, "environment-unknown"),
    ("approver", "POST", "/models/served/versions/1/approvals", b'{"environment":"development","envelope":"{}"}', 400, "approval-refused"),
    ("admin", "POST", "/principals", b'{"name":"x","roles":["king"]}', 400, "role-unknown"),
    ("admin", "POST", "/principals", b'{"name":"x","roles":[],"kind":"system"}', 400, "principal-kind"),
    ("admin", "POST", "/principals", b'{"name":"../x","roles":[]}', 400, "name-malformed"),
    ("admin", "POST", "/principals", b'{"name":"viewer","roles":["viewer"]}', 409, "principal-exists"),
    ("admin", "POST", "/keys", b'{"principal":"service:nope","name":"x"}', 404, "principal-unknown"),
    ("viewer", "POST", "/keys", b'{"principal":"user:viewer","name":"x","days":0}', 400, "key-lifetime"),
    ("viewer", "POST", "/keys", b'{"principal":"user:viewer","name":"x","days":1e9}', 400, "key-lifetime"),
    ("viewer", "POST", "/keys", b'{"principal":"user:viewer","name":"x","days":-1}', 400, "key-lifetime"),
    ("viewer", "POST", "/keys", b'{"principal":"user:viewer","name":"x","per_s":0}', 400, "limit-range"),
    ("viewer", "POST", "/keys", b'{"principal":"user:viewer","name":"x","burst":0.5}', 400, "limit-range"),
    ("viewer", "POST", "/keys", b'{"principal":"user:viewer","name":"x","per_s":1e999}', 400, "request-malformed"),
    ("viewer", "POST", "/keys", b'{"principal":"user:viewer","name":"\\u0000"}', 400, "key-name"),
    ("admin", "DELETE", f"/keys/{LONG}", None, 404, "key-not-found"),
    ("auditor", "GET", "/audit/entries?kind=nope", None, 400, "kind-unknown"),
    ("auditor", "GET", "/audit/entries?after=x", None, 400, "request-malformed"),
    ("auditor", "GET", "/audit/entries?after=-2", None, 400, "request-malformed"),
    ("auditor", "GET", f"/audit/entries?after={HUGE}", None, 400, "request-malformed"),
    ("auditor", "GET", "/audit/entries?limit=0", None, 400, "request-malformed"),
    ("auditor", "GET", "/audit/entries?limit=1001", None, 400, "request-malformed"),
    ("auditor", "GET", f"/audit/proofs/{HUGE}", None, 400, "proof-range"),
    ("auditor", "GET", "/audit/proofs/-1", None, 400, "proof-range"),
    ("auditor", "GET", "/audit/proofs/x", None, 404, "route-unknown"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("who", "method", "path", "body", "status", "code"), UNKNOWN, ids=[f"{u[2][:60]} {u[5]}" for u in UNKNOWN]
)
def test_what_is_unknown_or_out_of_range_is_named(
    town: Town, who: str, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    sound(town.ask(who, method, f"/api/v1{path}", body), status, code)


@pytest.mark.parametrize("path", [f"/models/{LONG}", f"/keys/{LONG}"])
@pytest.mark.parametrize(("who", "status"), [("", 401), ("publisher", 403)])
def test_a_denial_of_a_path_longer_than_an_event_is_still_recorded(
    town: Town, path: str, who: str, status: int
) -> None:
    before = len(town.events(EventKind.ACCESS_DENIED))
    method = "DELETE" if path.startswith("/keys") else "GET"
    name = "viewer" if who and method == "DELETE" else "admin" if who else ""
    assert town.ask(name, method, f"/api/v1{path}").status == status
    assert len(town.events(EventKind.ACCESS_DENIED)) == before + 1


@pytest.mark.parametrize("route", ["approvals", "deployments"])
@pytest.mark.parametrize("model", ["served", "nope"])
def test_who_may_not_look_at_models_is_not_told_which_there_are(town: Town, route: str, model: str) -> None:
    body = encoded(control.ApprovalRequest("development", "{}")) if route == "approvals" else ENVIRONMENT
    sound(town.ask("admin", "POST", f"/api/v1/models/{model}/versions/1/{route}", body), 403, "not-permitted")


# --- push -----------------------------------------------------------------------------------------------------------

OPTIONS = {
    "no file name": ("", "request-malformed"),
    "an unknown option": ("file=m&surprise=1", "option-unknown"),
    "a range that is none": ("file=m&range.X=5", "range-malformed"),
    "not a number": ("file=m&range.X=a:b", "number-malformed"),
    "NaN": ("file=m&range.X=nan:1", "number-malformed"),
    "infinite": ("file=m&range.X=0:inf", "number-malformed"),
    "overflowing": ("file=m&range.X=0:1e999", "number-malformed"),
    "low above high": ("file=m&range.X=5:1", "range-malformed"),
    "three bounds": ("file=m&range.X=0:1:2", "number-malformed"),
    "no bounds": ("file=m&range.X=:", "number-malformed"),
    "a confidence that is none": ("file=m&min_confidence=much", "number-malformed"),
    "a confidence that is not a number": ("file=m&min_confidence=nan", "number-malformed"),
    "a confidence above 1": ("file=m&min_confidence=1.5", "number-range"),
    "a confidence below 0": ("file=m&min_confidence=-0.5", "number-range"),
}


@pytest.mark.parametrize(("query", "code"), OPTIONS.values(), ids=OPTIONS)
def test_a_push_with_a_wrong_declaration_is_refused_before_a_byte_is_read(town: Town, query: str, code: str) -> None:
    blobs, read = town.blobs(), []

    def body() -> Iterator[bytes]:
        read.append(1)
        yield b"abc"

    sound(town.ask("publisher", "POST", f"/api/v1/models/wrong/versions?{query}", body()), 400, code)
    assert (town.blobs(), read) == (blobs, [])


@pytest.mark.parametrize("name", ["Digits", "a..b", "-a", "a" * 65])
def test_a_push_under_a_name_that_is_none_is_refused(town: Town, name: str) -> None:
    sound(town.ask("publisher", "POST", f"/api/v1/models/{name}/versions?file=m", b"abc"), 400, "name-malformed")


def test_a_push_that_breaks_in_the_middle_leaves_nothing(town: Town) -> None:
    def body() -> Iterator[bytes]:
        yield b"x" * 600_000
        raise OSError("the cable was pulled")

    blobs, steps = town.blobs(), []
    error = refused(lambda: town.client("publisher").models.push("cut", "m.onnx", body(), {}, steps.append))
    assert (error.code, error.status) == ("upload-broken", 503)
    assert town.blobs() == blobs
    assert [(s.step, s.state) for s in steps] == [("intake", "begun"), ("intake", "failed")]
    assert "cut" not in [m.model for m in town.client("viewer").models.list()]


def test_a_refused_push_leaves_its_event_and_no_bytes(town: Town) -> None:
    blobs = town.blobs()
    reply = town.client("publisher").models.push("junk", "junk.bin", [b"no model"], {}, lambda _: None)
    assert (reply.decision, reply.version, reply.reason) == ("deny", 0, "scan-incomplete")
    assert reply.findings[0].rule
    assert reply.findings[0].fix
    assert town.blobs() == blobs
    event = town.events(EventKind.MODEL_REFUSED)[-1]
    assert (event.resource, event.principal, event.reason) == ("model:junk", "user:publisher", "scan-incomplete")


# --- four eyes ------------------------------------------------------------------------------------------------------


def test_an_envelope_of_another_person_counts_for_the_one_who_signed(town: Town) -> None:
    """Whoever hands it in: the word is that of the key, so nobody gains a second vote."""
    town.push("carried", strength=0.6)
    envelope = town.envelope("second", "carried", 1)
    town.client("approver").models.approve("carried", 1, control.ApprovalRequest("development", envelope))
    (approval,) = town.client("viewer").models.version("carried", 1).approvals
    assert approval.principal == "user:second"
    again = control.ApprovalRequest("development", envelope)
    assert refused(lambda: town.client("second").models.approve("carried", 1, again)).code == "approval-exists"


@pytest.mark.parametrize(
    ("signed", "handed_in"),
    [(("served", 1, "development"), 2), (("served", 2, "production"), 2)],
    ids=["another version", "another environment"],
)
def test_an_envelope_for_something_else_is_refused(town: Town, signed: tuple[str, int, str], handed_in: int) -> None:
    envelope = town.envelope("third", *signed)
    request = control.ApprovalRequest("development", envelope)
    error = refused(lambda: town.client("third").models.approve("served", handed_in, request))
    assert (error.code, error.status) == ("approval-refused", 400)
    assert town.events(EventKind.ADMISSION_DENIED)[-1].reason == "approval-refused"


def test_an_envelope_signed_by_no_enrolled_key_is_refused(town: Town) -> None:
    town.signers["forger"] = SoftwareSigner.create(system_entropy)
    town.keys["forger"] = town.keys["third"]
    request = control.ApprovalRequest("development", town.envelope("forger", "served", 1))
    assert refused(lambda: town.client("third").models.approve("served", 1, request)).code == "approval-refused"


def test_what_was_signed_is_not_what_was_shown(town: Town) -> None:
    subject = town.client("third").models.approval_subject("served", 1, "development")
    predicate = {**subject.predicate, "decision": "maybe"}
    signed = sign_statement(town.signers["third"], {"manifest": subject.digest}, subject.predicate_type, predicate)
    request = control.ApprovalRequest("development", signed.decode())
    assert refused(lambda: town.client("third").models.approve("served", 1, request)).code == "approval-refused"


def test_authors_neither_approve_nor_deploy_their_own(town: Town) -> None:
    town.push("own", who="author", strength=0.5)
    request = control.ApprovalRequest("development", town.envelope("author", "own", 1))
    approving = refused(lambda: town.client("author").models.approve("own", 1, request))
    assert (approving.code, approving.status) == ("author-may-not-approve", 403)
    by_another_hand = refused(lambda: town.client("approver").models.approve("own", 1, request))
    assert (by_another_hand.code, by_another_hand.status) == ("approval-by-author", 403)
    for who in ("approver", "second"):
        town.approve(who, "own", 1)
    deploying = refused(lambda: town.client("author").models.deploy("own", 1, "development"))
    assert (deploying.code, deploying.status) == ("author-may-not-deploy", 403)
    assert town.client("viewer").models.version("own", 1).aliases == ()


def test_who_approved_does_not_deploy(town: Town) -> None:
    town.push("both", strength=0.45)
    for who in ("approver", "third"):
        town.approve(who, "both", 1)
    error = refused(lambda: town.client("third").models.deploy("both", 1, "development"))
    assert (error.code, error.status) == ("approver-may-not-deploy", 403)


def test_programs_do_not_approve(town: Town) -> None:
    town.push("machine", strength=0.35)
    request = control.ApprovalRequest("development", town.envelope("robot", "machine", 1))
    error = refused(lambda: town.client("robot").models.approve("machine", 1, request))
    assert (error.code, error.status) == ("persons-decide", 403)
    by_hand = refused(lambda: town.client("approver").models.approve("machine", 1, request))
    assert (by_hand.code, by_hand.status) == ("approver-unfit", 403)


def test_nobody_makes_a_key_for_another_person(town: Town) -> None:
    before = len(town.all_keys())
    for who in ("admin", "developer", "security-officer"):
        request = control.KeyRequest("user:viewer", "backdoor")
        assert refused(lambda w=who, r=request: town.client(w).access.create_key(r)).code == "keys-of-persons"
    assert len(town.all_keys()) == before
    made = town.client("admin").access.create_key(control.KeyRequest("service:robot", "for a program"))
    assert made.key_id in [k.key_id for k in town.all_keys()]


def test_a_quarantined_version_is_not_deployed_again(town: Town) -> None:
    town.released("bad")
    town.client("security-officer").models.quarantine("bad", 1, "it answers what it should not")
    assert refused(lambda: town.client("operator").models.deploy("bad", 1, "development")).status == 409
    assert "bad" not in town.house.routes().by_key or town.house.routes().by_key["bad"].problem


def test_no_secret_stands_in_the_log(town: Town) -> None:
    text = b"\n".join(msgspec.json.encode(event) for event in town.events())
    for name, key in town.keys.items():
        assert key.encode() not in text, name
        if key.startswith("fst_"):
            assert key.split("_")[2].encode() not in text, name
