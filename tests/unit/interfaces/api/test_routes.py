"""Every route of the control plane: closed without a key, closed to who may not, open to who may, and recorded.

The table is held against the OpenAPI document: a route without a row fails.
"""

from __future__ import annotations

import os
import re

import msgspec
import pytest

from fastness.client import ControlClient
from fastness.core.events import Event, EventKind
from fastness.core.findings import Decision
from fastness.foundation.crypto import SoftwareSigner
from fastness.foundation.ledger import open_checkpoint, verify_inclusion
from fastness.wire import control
from tests.unit.interfaces.api.rows import Route, encoded
from tests.unit.interfaces.api.rows_clients import CLIENT_OWN, CLIENT_ROUTES
from tests.unit.interfaces.api.rows_directory import DIRECTORY_ROUTES
from tests.unit.interfaces.api.rows_federation import FEDERATION_OWN, FEDERATION_ROUTES
from tests.unit.interfaces.api.rows_possession import POSSESSION_ROUTES
from tests.unit.interfaces.api.rows_rules import RULE_OWN, RULE_ROUTES
from tests.unit.interfaces.api.town import DECLARED, Town, refused
from tests.unit.models.release.world import digits_onnx

OFFICER = "security-officer"


def _principal(town: Town) -> None:
    reply = town.client("admin").access.create_principal(control.PrincipalRequest("newcomer", ("viewer",)))
    assert reply.principal == "user:newcomer"
    assert reply.code.startswith("fse_")
    (view,) = [p for p in town.client("auditor").access.principals() if p.principal == "user:newcomer"]
    assert (view.roles, view.enrolled, view.active) == (("viewer",), False, True)


def _key(town: Town) -> None:
    reply = town.client("viewer").access.create_key(control.KeyRequest("user:viewer", "mine", 5, 10, 1))
    shown = next(k for k in town.all_keys() if k.key_id == reply.key_id)
    assert (shown.name, shown.principal, shown.per_s, shown.burst) == ("mine", "user:viewer", 5, 10)
    assert reply.api_key not in msgspec.json.encode(shown).decode()
    town.keys["spare"] = reply.api_key
    assert [m.model for m in town.client("spare").models.list()]


def _revoke(town: Town) -> None:
    reply = town.client("developer").access.create_key(control.KeyRequest("user:developer", "lost"))
    town.keys["lost"] = reply.api_key
    assert town.client("lost").models.list()
    town.client("developer").access.revoke_key(reply.key_id)
    assert refused(town.client("lost").models.list).code == "key-unknown"
    assert town.events(EventKind.ACCESS_DENIED)[-1].reason == "key-revoked"


def _someone(town: Town, name: str) -> str:
    """A principal of its own, with a key by the same name in the town."""
    reply = town.client("admin").access.create_principal(control.PrincipalRequest(name, ("viewer",)))
    signer = SoftwareSigner.create(os.urandom)
    town.keys[name] = ControlClient(town.carrier).access.enrol(reply.code, signer.public_pem.decode()).api_key
    return reply.principal


def _roles(town: Town) -> None:
    principal = _someone(town, "promoted")
    assert refused(town.client("promoted").access.principals).code == "not-permitted"
    town.client("admin").access.set_roles(principal, ("auditor",))
    assert principal in [p.principal for p in town.client("promoted").access.principals()]
    assert refused(lambda: town.client("admin").access.set_roles("user:admin", ("approver",))).code == "own-roles"
    assert refused(lambda: town.client("admin").access.set_roles(principal, ("king",))).code == "role-unknown"
    assert refused(lambda: town.client("admin").access.set_roles("user:none", ())).code == "principal-unknown"


def _deactivated(town: Town) -> None:
    principal = _someone(town, "leaver")
    assert town.client("leaver").models.list()
    town.client("admin").access.deactivate(principal)
    assert refused(town.client("leaver").models.list).code == "key-unknown"
    assert refused(lambda: town.client("admin").access.deactivate(principal)).status == 409


def _reissued(town: Town) -> None:
    first = town.client("admin").access.create_principal(control.PrincipalRequest("forgetful", ("viewer",)))
    second = town.client("admin").access.reissue_code(first.principal)
    pem = SoftwareSigner.create(os.urandom).public_pem.decode()
    assert refused(lambda: ControlClient(town.carrier).access.enrol(first.code, pem)).status == 401
    assert ControlClient(town.carrier).access.enrol(second.code, pem).principal == first.principal
    assert refused(lambda: town.client("admin").access.reissue_code(first.principal)).code == "principal-enrolled"


def _invited(town: Town) -> None:
    made = town.client("admin").access.create_principal(control.PrincipalRequest("guest", ("viewer",)))
    reply = town.client("admin").login.invite(made.principal)
    redeemed = control.RedeemRequest(reply.code, "mauve-kettle-93-orbit")
    answer = town.ask("", "POST", "/api/v1/invitations/redeem", encoded(redeemed))
    assert (answer.status, answer.problem["principal"]) == (200, "user:guest")
    assert refused(lambda: town.client("admin").login.invite("user:guest")).code == "credential-exists"
    assert refused(lambda: town.client("admin").login.invite("service:robot")).code == "factor-person"


def _reset(town: Town) -> None:
    town.enrol("lost", ("viewer",))
    reply = town.client("admin").login.reset_credentials("user:lost")
    assert reply.code.startswith("fsi_")
    assert town.client("lost").login.factors().factors == ()
    assert refused(lambda: town.client("admin").login.reset_credentials("user:admin")).code == "own-reset"


def _session_revoked(town: Town) -> None:
    made = town.client("admin").access.create_principal(control.PrincipalRequest("visitor", ("viewer",)))
    code = town.client("admin").login.invite(made.principal).code
    redeemed = control.RedeemRequest(code, "mauve-kettle-93-orbit")
    town.ask("", "POST", "/api/v1/invitations/redeem", encoded(redeemed))
    (session,) = [s for s in town.client("auditor").login.sessions(everybody=True) if s.principal == made.principal]
    town.client(OFFICER).login.revoke_session(session.session)
    assert made.principal not in {s.principal for s in town.client("auditor").login.sessions(everybody=True)}
    assert refused(lambda: town.client(OFFICER).login.revoke_session(session.session)).code == "session-unknown"


def _narrowed(town: Town) -> None:
    reply = town.client("viewer").access.create_key(control.KeyRequest("user:viewer", "narrow"))
    town.keys["narrow"] = reply.api_key
    town.client("viewer").access.narrow_key(reply.key_id, ("model.read",))
    assert town.client("narrow").models.list()
    assert refused(town.client("narrow").audit.system).code == "credential-narrowed"
    assert (
        refused(lambda: town.client("viewer").access.narrow_key(reply.key_id, ("system.read",))).code == "key-actions"
    )
    assert refused(lambda: town.client("viewer").access.narrow_key(reply.key_id, ("fly",))).code == "action-unknown"


def _allowance(town: Town) -> None:
    request = control.AllowanceRequest(("watermark",), 2, "no tool yet")
    view = town.client("security-officer").access.grant_allowance("development", request)
    assert (view.measures, view.granted_by) == (("watermark",), "user:security-officer")
    assert view.id in [a.id for a in town.client("viewer").access.allowances("development")]


def _push(town: Town) -> None:
    reply = town.push("pushed")
    assert (reply.version, reply.model) == (1, "pushed")
    assert town.client("viewer").models.version("pushed", 1).digest == reply.digest


def _approve(town: Town) -> None:
    town.push("approved", strength=0.7)
    town.approve("approver", "approved", 1)
    (approval,) = town.client("viewer").models.version("approved", 1).approvals
    assert (approval.principal, approval.valid) == ("user:approver", True)


def _deploy(town: Town) -> None:
    town.released("deployed")
    assert town.client("viewer").models.version("deployed", 1).aliases == ("development",)


def _rollback(town: Town) -> None:
    town.released("rolled", versions=2)
    revision = town.client("operator").models.rollback("rolled", "development", "worse than before")
    assert revision.version == 1
    assert town.events(EventKind.MODEL_ROLLED_BACK)[-1].details["reason"] == "worse than before"


def _quarantine(town: Town) -> None:
    town.push("suspect", strength=0.4)
    view = town.client("security-officer").models.quarantine("suspect", 1, "a backdoor was found")
    assert view.state == "quarantined"


def _verify(town: Town) -> None:
    assert town.client("viewer").models.verify("served", 2, "development").version == 2


def _subject(town: Town) -> None:
    subject = town.client("approver").models.approval_subject("served", 1, "production")
    assert subject.digest == town.client("viewer").models.version("served", 1).digest
    assert subject.predicate["environment"] == "production"


def _entries(town: Town) -> None:
    town.house.settle()
    entries = town.client("auditor").audit.entries(-1, 5)
    assert [e.index for e in entries] == [0, 1, 2, 3, 4]
    assert entries[0].event["kind"] == "home.created"
    only = town.client("auditor").audit.entries(-1, 1000, ["model.deployed", "model.registered"])
    assert {e.event["kind"] for e in only} == {"model.deployed", "model.registered"}


def _proof(town: Town) -> None:
    proof = town.client("auditor").audit.proof(3)
    vkey = (town.house.home.ledger / "vkey").read_text().strip()
    signed = open_checkpoint(proof.checkpoint.encode(), vkey)
    hashes = [bytes.fromhex(text) for text in proof.hashes]
    assert verify_inclusion(proof.entry.encode(), 3, signed.size, signed.root, hashes) == proof.entry.encode()


def _verification(town: Town) -> None:
    town.house.settle()
    auditor = town.client("auditor").audit
    kept = (town.house.home.ledger / "checkpoint").read_text()
    reply = auditor.verify()
    signed = town.house.ledger.checkpoint()
    assert (reply.size, reply.root, reply.origin) == (signed.size, signed.root.hex(), signed.origin)
    event = town.events(EventKind.LEDGER_VERIFIED)[-1]
    assert (event.principal, event.details) == ("user:auditor", {"size": reply.size, "root": reply.root})
    assert auditor.verify(kept).size > reply.size  # the event of the one before is in it
    for foreign in ("not a note", kept.replace("\n", "\n\n", 1)):
        before = len(town.events(EventKind.INTEGRITY_FAILED))
        assert refused(lambda note=foreign: auditor.verify(note)).code == "checkpoint-foreign"  # type: ignore[misc]
        assert len(town.events(EventKind.INTEGRITY_FAILED)) == before  # the caller's mistake is no damage


def _history(town: Town) -> None:
    moves = town.client("viewer").models.history("served")
    assert [(m.version, m.principal) for m in moves] == [(2, "user:operator"), (1, "user:operator")]


def _models(town: Town) -> None:
    (served,) = [m for m in town.client("viewer").models.list() if m.model == "served"]
    assert (served.versions, served.aliases) == (2, {"development": 2})


def _versions(town: Town) -> None:
    assert [v.version for v in town.client("viewer").models.versions("served")] == [2, 1]


def _version(town: Town) -> None:
    view = town.client("viewer").models.version("served", 1)
    assert (view.author, view.format, len(view.attestations)) == ("user:publisher", "onnx", 3)


def _system(town: Town) -> None:
    view = town.client("viewer").audit.system()
    assert (view.home, view.url, view.models) == ("", "", ())
    assert town.client("admin").audit.system().home == str(town.house.home.root)


def _principals(town: Town) -> None:
    assert "user:viewer" in [p.principal for p in town.client("auditor").access.principals()]


def _keys(town: Town) -> None:
    assert "user:viewer" in [k.principal for k in town.all_keys()]


def _routes(town: Town) -> None:
    view = town.client("auditor").access.routes()
    assert view.guarded == view.total == len(view.routes) == sum(view.by_proof.values())
    shown = {f"{r.method} {r.path}" for r in view.routes if r.plane == "control"}
    assert {f"{name.partition(' ')[0]} /api/v1{name.partition(' ')[2]}" for name in ROUTES} <= {
        re.sub(r":\w+", "", line) for line in shown
    }
    data = {r.path: (r.method, r.permission, r.proof.value) for r in view.routes if r.plane == "data"}
    assert data["/v2/models/{model}/infer"] == ("POST", "model.infer", "credential")
    assert data["/healthz"] == ("GET", "none", "peer-or-credential")
    assert data["/metrics"] == ("GET", "metrics.read", "credential")


def _allowances(town: Town) -> None:
    assert town.client("viewer").access.allowances("production") == []


V1 = "/models/served/versions/1"
ROLES = encoded(control.RolesRequest(("administrator",)))
ACTIONS = encoded(control.ActionsRequest(("model.read",)))
ENVIRONMENT = encoded(control.DeployRequest("development"))
REASON = encoded(control.ReasonRequest("because", "development"))
ALLOWANCE = encoded(control.AllowanceRequest(("watermark",), 1, "because"))
OTHERS_KEY = encoded(control.KeyRequest("user:viewer", "for somebody else"))
APPROVAL = encoded(control.ApprovalRequest("development", "{}"))
PRINCIPAL = encoded(control.PrincipalRequest("intruder", ("administrator",)))

ROUTES = {
    "GET /principals": Route("/principals", None, "viewer", "access.read", "access:principals", _principals),
    "POST /principals": Route(
        "/principals", PRINCIPAL, "operator", "principal.create", "principal:user:intruder", _principal
    ),
    "PUT /principals/{principal}/roles": Route(
        "/principals/user:viewer/roles", ROLES, "operator", "role.grant", "principal:user:viewer", _roles
    ),
    "POST /principals/{principal}/deactivation": Route(
        "/principals/user:viewer/deactivation", None, "operator", "role.grant", "principal:user:viewer", _deactivated
    ),
    "POST /principals/{principal}/codes": Route(
        "/principals/user:viewer/codes", None, "operator", "principal.create", "principal:user:viewer", _reissued
    ),
    "POST /principals/{principal}/invitations": Route(
        "/principals/user:viewer/invitations", None, "operator", "principal.create", "principal:user:viewer", _invited
    ),
    "POST /principals/{principal}/credential-reset": Route(
        "/principals/user:viewer/credential-reset", None, "operator", "credential.reset", "principal:user:viewer", _reset
    ),
    "DELETE /sessions/{session}": Route(
        "/sessions/0000", None, "viewer", "session.revoke", "session:0000", _session_revoked
    ),
    "PUT /keys/{key_id}/actions": Route(
        "/keys/00000000/actions", ACTIONS, "viewer", "key.revoke", "key:00000000", _narrowed
    ),
    "GET /access/routes": Route("/access/routes", None, "operator", "access.read", "access:routes", _routes),
    "GET /keys": Route("/keys", None, "operator", "access.read", "access:keys", _keys),
    "POST /keys": Route(
        "/keys", OTHERS_KEY, "admin", "key.create", "principal:user:viewer", _key, "keys-of-persons"
    ),
    "DELETE /keys/{key_id}": Route("/keys/00000000", None, "viewer", "key.revoke", "key:00000000", _revoke),
    "GET /environments/{environment}/allowances": Route(
        "/environments/development/allowances", None, "admin", "model.read", "environment:development", _allowances
    ),
    "POST /environments/{environment}/allowances": Route(
        "/environments/development/allowances", ALLOWANCE, "operator", "allowance.grant",
        "environment:development", _allowance,
    ),
    "GET /models": Route("/models", None, "admin", "model.read", "models:all", _models),
    "GET /models/{model}": Route("/models/served", None, "admin", "model.read", "model:served", _versions),
    "GET /models/{model}/history": Route(
        "/models/served/history", None, "admin", "model.read", "model:served", _history
    ),
    "POST /models/{model}/versions": Route(
        "/models/served/versions?file=m", b"abc", "operator", "model.push", "model:served", _push
    ),
    "GET /models/{model}/versions/{version}": Route(V1, None, "admin", "model.read", "model:served/1", _version),
    "POST /models/{model}/versions/{version}/verifications": Route(
        f"{V1}/verifications", ENVIRONMENT, "admin", "model.read", "model:served/1", _verify
    ),
    "GET /models/{model}/versions/{version}/approvals/{environment}": Route(
        f"{V1}/approvals/development", None, "admin", "model.read", "model:served/1", _subject
    ),
    "POST /models/{model}/versions/{version}/approvals": Route(
        f"{V1}/approvals", APPROVAL, "operator", "model.approve", "model:served/1", _approve
    ),
    "POST /models/{model}/versions/{version}/deployments": Route(
        f"{V1}/deployments", ENVIRONMENT, "publisher", "model.deploy", "model:served/1", _deploy,
        "author-may-not-deploy",
    ),
    "POST /models/{model}/rollbacks": Route(
        "/models/served/rollbacks", REASON, "publisher", "model.rollback", "model:served", _rollback
    ),
    "POST /models/{model}/versions/{version}/quarantine": Route(
        f"{V1}/quarantine", REASON, "operator", "model.quarantine", "model:served/1", _quarantine
    ),
    "GET /audit/entries": Route("/audit/entries", None, "viewer", "audit.read", "ledger:entries", _entries),
    "GET /audit/proofs/{index}": Route("/audit/proofs/0", None, "operator", "audit.read", "ledger:proofs", _proof),
    "POST /audit/verifications": Route(
        "/audit/verifications", b"{}", "operator", "audit.read", "ledger:log", _verification
    ),
    "GET /system": Route("/system", None, "publisher", "system.read", "system:house", _system),
    **RULE_ROUTES,
    **DIRECTORY_ROUTES,
    **CLIENT_ROUTES,
    **FEDERATION_ROUTES,
    **POSSESSION_ROUTES,
}  # fmt: skip
OWN = {
    "DELETE /logins": None,
    "PUT /password": encoded(control.PasswordRequest("not a word of it")),
    "GET /me": None,
    "GET /sessions": None,
    "GET /factors": None,
    "POST /factors/totp": encoded(control.LabelRequest("app")),
    "POST /factors/totp/{factor}/confirmation": encoded(control.CodeRequest("123456")),
    "POST /factors/recovery-codes": None,
    "POST /factors/passkeys/options": None,
    "POST /factors/passkeys": encoded(control.PasskeyRequest("key", {})),
    "DELETE /factors/{factor}": None,
    "GET /step-ups": None,
    "POST /step-ups": encoded(control.StepUpRequest("totp", "123456")),
    **RULE_OWN,
    **CLIENT_OWN,
    **FEDERATION_OWN,
}
"""For everybody who is known, about themselves alone: path and body; `test_factors` says what they do."""
OPEN = {
    "GET /healthz",
    "POST /enrolments",
    "POST /invitations/redeem",
    "POST /logins",
    "POST /logins/second",
    "POST /logins/second/options",
    "POST /logins/passkey",
    "POST /logins/passkey/options",
}
"""Asked without a key: the first says nothing, all others are steps of proving who one is; `test_logins` walks them."""


def request(town: Town, name: str, who: str) -> tuple[int, str, Event]:
    """Status and code of a request that must be refused, and the one event that it left."""
    before = len(town.events(EventKind.ACCESS_DENIED))
    path, body = (ROUTES[name].path, ROUTES[name].body) if name in ROUTES else (name.partition(" ")[2], OWN[name])
    answer = town.ask(who, name.partition(" ")[0], f"/api/v1{path}", body)
    assert answer.kind == "application/problem+json"
    denied = town.events(EventKind.ACCESS_DENIED)[before:]
    assert len(denied) == 1
    return answer.status, answer.code, denied[0]


def test_every_route_of_the_document_is_tested_here(town: Town) -> None:
    document = town.ask("viewer", "GET", "/api/v1/openapi.json").problem
    paths = msgspec.convert(document["paths"], dict[str, dict[str, object]])
    named = {
        f"{method.upper()} {path.removeprefix('/api/v1')}" for path, methods in paths.items() for method in methods
    }
    assert named == set(ROUTES) | set(OWN) | OPEN


@pytest.mark.parametrize("name", [*ROUTES, *OWN])
def test_without_a_key_nothing_is_answered(town: Town, name: str) -> None:
    status, code, event = request(town, name, "")
    assert (status, code, event.reason, event.principal) == (401, "key-missing", "key-missing", "system:fastness")
    assert event.decision is Decision.DENY


@pytest.mark.parametrize("name", [*ROUTES, *OWN])
def test_with_a_key_that_is_none_nothing_is_answered(town: Town, name: str) -> None:
    status, code, event = request(town, name, "Bearer fst_nonsense")
    assert (status, code, event.reason) == (401, "key-malformed", "key-malformed")


@pytest.mark.parametrize("name", ROUTES)
def test_who_may_not_is_refused_and_recorded(town: Town, name: str) -> None:
    route = ROUTES[name]
    status, code, event = request(town, name, route.outsider)
    assert (status, code) == (403, route.reason)
    assert (event.reason, event.principal) == (route.reason, f"user:{route.outsider}")
    assert (event.action, event.resource, event.decision) == (route.action, route.resource, Decision.DENY)


@pytest.mark.parametrize("name", ROUTES)
def test_who_may_gets_it_done(town: Town, name: str) -> None:
    ROUTES[name].works(town)


def test_health_is_shown_to_everybody(town: Town) -> None:
    answer = town.ask("", "GET", "/healthz")
    assert (answer.status, answer.body) == (200, b"ok\n")


def test_a_code_is_redeemed_once(town: Town) -> None:
    town.enrol("once", ("viewer",))
    town.client("once").models.list()
    assert [e.resource for e in town.events(EventKind.PRINCIPAL_ENROLLED)][-1] == "principal:user:once"
    made = town.client("admin").access.create_principal(control.PrincipalRequest("twice", ("viewer",)))
    first = encoded(control.EnrolmentRequest(made.code, town.signers["once"].public_pem.decode()))
    taken = town.ask("", "POST", "/api/v1/enrolments", first)
    assert (taken.status, taken.code) == (409, "public-key-taken")
    wrong = encoded(control.EnrolmentRequest("fse_" + "0" * 43, town.signers["once"].public_pem.decode()))
    unknown = town.ask("", "POST", "/api/v1/enrolments", wrong)
    assert unknown.status == 401


def test_steps_of_a_push_begin_and_end_in_order(town: Town) -> None:
    seen: list[tuple[str, str]] = []
    reply = town.client("publisher").models.push(
        "ordered", "m.onnx", [digits_onnx()], DECLARED, lambda s: seen.append((s.step, s.state))
    )
    steps = ("intake", "scan", "dependencies", "assess", "commit", "attest", "register")
    assert seen == [(step, state) for step in steps for state in ("begun", "done")]
    assert reply.decision == "allow"
