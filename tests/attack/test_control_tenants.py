"""Attack on the control plane from another tenant, by fields nobody offered, and by SQL: made from the OpenAPI document.

Every operation that takes an id is asked by somebody who holds every role of a second tenant, with ids of the first. A new
route is attacked without a line here; one with a new kind of id fails until `Stolen` knows such an id.

Success rate: 0. Not covered: what one tenant learns of another by how long an answer takes.
"""

from __future__ import annotations

import itertools
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest

from fastness.access import create_principal, enrol
from fastness.access.login import Client, factors, sessions
from fastness.client import ControlClient
from fastness.core.identity import DEFAULT_TENANT, SYSTEM, PrincipalId, PrincipalKind, Role, Scope, Strength, TenantId
from fastness.foundation.crypto import SoftwareSigner
from fastness.foundation.crypto.certificates import certificate_request, new_private_key
from fastness.wire import control, directory, federation, oauth, possession, rules
from tests.unit.interfaces.api.rows_rules import OFFICER, propose
from tests.unit.interfaces.api.test_routes import OPEN, OWN, ROUTES
from tests.unit.interfaces.api.town import Answer, Second, Town, founded

DOCUMENT = "/api/v1/openapi.json"
STRANGER = "stranger"
MARK = "zebra"
"""Stands in everything of the first tenant that the second must not see."""
THEIRS = frozenset({"environment", "kind", "unit", "window", "role", "key"})
"""Parameters that name nothing of anybody's."""
MAKES = {
    "POST /models/{model}/versions": "a model of that name in their own tenant",
    "PUT /quotas/{kind}/{subject}/{unit}/{window}": "a quota for that name in their own tenant",
    "GET /environments/{environment}/allowances": "the allowances of their own tenant",
    "POST /environments/{environment}/allowances": "an allowance in their own tenant",
}
"""What may answer well, because a name means something else in each tenant."""
SQL = ("x' OR '1'='1", 'x"; DROP TABLE principal; --', "1); DELETE FROM event; --", "%' UNION SELECT * FROM api_key --")
PRIVILEGED = (
    "tenant", "id", "author", "principal", "roles", "actor", "is_admin", "approved", "used", "created_at", "seal", "strength",
    "stepped_up", "revoked_at",
)  # fmt: skip
HEADERS = (
    "authorization",
    "fastness-elevation",
    "idempotency-key",
    "if-none-match",
    "if-match",
    "user-agent",
    "cookie",
)
Schema = dict[str, Any]


@dataclass
class Stolen:
    """A town, and the ids of what stands in it."""

    town: Town
    document: Schema
    ids: dict[str, str] = field(default_factory=dict)

    def operation(self, name: str) -> Schema:
        method, path = name.split(" ", 1)
        full = path if path == "/healthz" else f"/api/v1{path}"
        found: Schema = self.document["paths"][full][method.lower()]
        return found

    def path(self, name: str, **changed: str) -> str:
        """The path of an operation with stolen ids in it, or `changed` ones."""
        values = {**self.ids, "environment": "development", **changed}
        missing = set(re.findall(r"{(\w+)}", name)) - values.keys()
        assert not missing, f"{name}: steal a {missing} in `stolen`"
        path = re.sub(r"{(\w+)}", lambda match: quote(values[match[1]], safe=""), name.split(" ", 1)[1])
        query = {
            p["name"]: changed.get(p["name"]) or values.get(p["name"]) or _example(p["schema"], self.document)
            for p in self.operation(name)["parameters"]
            if p["in"] == "query" and (p.get("required") or p["name"] in changed)
        }
        full = path if path == "/healthz" else f"/api/v1{path}"
        return full + (f"?{urlencode(query)}" if query else "")

    def body(self, name: str) -> Schema | None:
        """A body that follows the document, with stolen ids where it takes some; None where it takes none."""
        content = self.operation(name).get("requestBody", {}).get("content", {})
        if "application/json" not in content:
            return None
        made: Schema = _example(content["application/json"]["schema"], self.document)
        return {key: self.ids.get(f"body:{key}", value) for key, value in made.items()}

    def ask(self, who: str, name: str, path: str, body: object = None, **headers: str) -> Answer:
        sent = {"content-type": "application/json"}
        if who:
            sent["authorization"] = f"Bearer {self.town.keys[who]}"
            if self.town.seconds.get(who) and self.town.seconds[who].elevation:
                sent["fastness-elevation"] = self.town.seconds[who].elevation
        sent |= {key.replace("_", "-"): value for key, value in headers.items()}
        data = None if body is None else msgspec.json.encode(body)
        reply = self.town.carrier.send(name.split(" ", 1)[0], path, sent, data)
        return Answer(reply.status, reply.headers.get("content-type", ""), reply.read())

    def rows(self, tenant: str = "default") -> dict[str, list[tuple[Any, ...]]]:
        """Everything that the first tenant has, but for what is written about it."""
        with sqlite3.connect(f"file:{self.town.house.home.records}?mode=ro", uri=True) as db:
            tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            found = {}
            for table in sorted(set(tables) - {"events"}):
                columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
                if "tenant" in columns:
                    found[table] = sorted(db.execute(f"SELECT * FROM {table} WHERE tenant = ?", (tenant,)), key=repr)
        assert {"principal", "api_key", "policy_set"} <= {name for name, rows in found.items() if rows}
        return found


def _example(schema: Schema, document: Schema) -> Any:
    """Something that a schema allows."""
    if "$ref" in schema:
        return _example(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    if "enum" in schema:
        return schema["enum"][0]
    for choice in schema.get("oneOf") or schema.get("anyOf") or ():
        if choice.get("type") != "null":
            return _example(choice, document)
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {})
            return {name: _example(fields[name], document) for name in schema.get("required", ())}
        case "array":
            return []
        case "boolean":
            return False
        case "integer" | "number":
            return schema.get("minimum", 1)
        case _:
            return "x"


def stranger(town: Town) -> None:
    """Somebody with every role of a tenant of their own, and a second factor given just now."""
    house, signer = town.house, SoftwareSigner.create(os.urandom)
    scope = Scope(TenantId("other"), SYSTEM)
    with house.records.begin(scope, house.clock.now()) as tx:
        code = create_principal(tx, PrincipalKind.USER, STRANGER, frozenset(Role)).code
    with house.records.begin(scope, house.clock.now()) as tx:
        principal, key = enrol(tx, code, signer.public_pem, house.pepper)
        app = factors.start_totp(tx, house.desk, principal, "app")
    town.keys[STRANGER], town.signers[STRANGER] = key.text, signer
    town.seconds[STRANGER] = second = Second(town, STRANGER, app.uri)
    second.confirm(app.factor)
    client = town.client(STRANGER)
    second.elevation = client.login.step_up(second.answer(client.login.ways())).elevation


def _session(town: Town) -> str:
    """A session of the person of the first tenant."""
    person = PrincipalId(f"user:{MARK}-person")
    with town.house.records.begin(Scope(DEFAULT_TENANT, person), town.house.clock.now()) as tx:
        return sessions.start(tx, town.house.desk, person, Strength.MFA, Client("192.0.2.1")).id


@pytest.fixture(scope="module")
def stolen() -> Iterator[Stolen]:
    with tempfile.TemporaryDirectory(prefix="fastness-tenants-") as folder, founded(Path(folder) / "home") as town:
        town.enrol(f"{MARK}-person", ("viewer",))
        town.push(f"{MARK}-model")
        person = town.client(f"{MARK}-person")
        key = person.access.create_key(control.KeyRequest(f"user:{MARK}-person", f"{MARK}-key"))
        proposal = propose(town, MARK)
        admin = town.client("admin").directory
        admin.create_tenant(directory.NewTenantRequest(f"{MARK}-tenant", f"{MARK} Ltd."))
        group = admin.create_group(directory.GroupRequest(f"{MARK}-group", ("viewer",))).group
        admin.add_member(group, f"user:{MARK}-person")
        admin.grant(directory.GrantRequest(f"user:{MARK}-person", "operator", f"{MARK}-model"))
        started = directory.ReviewRequest(f"{MARK}-review", ("user:admin", f"user:{OFFICER}"))
        wanted = oauth.ClientRequest(f"{MARK}-client", "model.read", ("device_code",), confidential=True)
        client = town.client("admin").clients.create(wanted).client
        known = federation.ProviderSettings(issuer=f"https://{MARK}.example", client_id="x", authentication="none")
        town.client("admin").providers.add(f"{MARK}-provider", known)
        review = town.client(OFFICER).reviews.start(started).review
        block = rules.RestrictionRequest("block", "model", f"{MARK}-model", f"{MARK}-reason", 60)
        restriction = town.client(OFFICER).restrictions.impose(block)
        town.client("admin").quotas.set("model", f"{MARK}-model", "requests", "day", rules.QuotaRequest(10))
        proof = certificate_request(new_private_key(), "x").decode()
        asked = possession.CertificateRequest(f"user:{MARK}-person", f"{MARK}-certificate", proof)
        public = SoftwareSigner.create(os.urandom).public_pem.decode()
        wanted_key = possession.SigningKeyRequest(f"user:{MARK}-person", f"{MARK}-signing", public)
        certificate = town.client(f"{MARK}-person").certificates.create(asked)
        signing_key = town.client(f"{MARK}-person").signing_keys.add(wanted_key)
        document = msgspec.json.decode(town.ask("viewer", "GET", DOCUMENT).body)
        found = Stolen(town, document)
        found.ids = {
            "principal": f"user:{MARK}-person", "key_id": key.key_id, "model": f"{MARK}-model", "version": "1",
            "index": "0", "factor": person.login.factors().factors[0].factor, "number": str(proposal.set.number),
            "request_id": proposal.request, "restriction": restriction.id, "kind": "model",
            "subject": f"{MARK}-model", "unit": "requests", "window": "day", "session": _session(town), "file": "m.onnx",
            "action": "model.read", "resource": f"model:{MARK}-model/1", "body:principal": f"user:{MARK}-person",
            "body:request": proposal.request, "body:target": f"user:{MARK}-person",
            "certificate_id": certificate.certificate_id, "signing_key_id": signing_key.signing_key_id,
            "tenant": f"{MARK}-tenant", "group": group, "client": client, "review": review, "role": "operator", "key": "data",
            "provider": f"{MARK}-provider",
        }  # fmt: skip
        stranger(town)
        town.house.settle()
        yield found


KNOWN = sorted({*ROUTES, *OWN, *OPEN})
WITH_ID = [name for name in KNOWN if set(re.findall(r"{(\w+)}", name))]
LISTS = [name for name in KNOWN if name.startswith("GET ") and "{" not in name]
CREDENTIAL = sorted({*ROUTES, *OWN})


def test_every_operation_of_the_document_is_attacked(stolen: Stolen) -> None:
    named = {
        f"{method.upper()} {path.removeprefix('/api/v1')}"
        for path, item in stolen.document["paths"].items()
        for method in item
    }
    assert named == set(KNOWN)
    assert len(WITH_ID) > 25


@pytest.mark.parametrize("name", WITH_ID)
def test_an_id_of_another_tenant_leads_nowhere(stolen: Stolen, name: str) -> None:
    before = stolen.rows()
    answer = stolen.ask(STRANGER, name, stolen.path(name), stolen.body(name))
    assert stolen.rows() == before
    if name in MAKES:
        assert answer.status in {200, 201, 400, 403, 404, 409}
        if name.startswith("PUT "):
            assert stolen.ask(STRANGER, "DELETE /", stolen.path(name)).status == 204  # their own, just made
        return
    assert answer.status in {403, 404}, answer


@pytest.mark.parametrize("name", WITH_ID)
def test_an_id_of_another_tenant_is_told_from_none_by_nothing(stolen: Stolen, name: str) -> None:
    """The same answer, but for the name that was asked for."""
    texts = set(re.findall(r"{(\w+)}", name)) - THEIRS - {"version", "number", "index", "principal"}
    if not texts or name in MAKES:
        return
    ids = {key: stolen.ids[key] for key in texts}
    none = {
        key: ("nobodys" if len(value) != 36 else "00000000-0000-7000-8000-000000000000") for key, value in ids.items()
    }
    found = stolen.ask(STRANGER, name, stolen.path(name), stolen.body(name))
    missing = stolen.ask(STRANGER, name, stolen.path(name, **none), stolen.body(name))
    said, expected = found.body.decode(), missing.body.decode()
    for key, value in ids.items():
        said, expected = said.replace(value, "ID"), expected.replace(none[key], "ID")
    assert (found.status, said) == (missing.status, expected)


@pytest.mark.parametrize("name", LISTS)
def test_nothing_of_another_tenant_stands_in_a_list(stolen: Stolen, name: str) -> None:
    if name in OPEN:
        return
    answer = stolen.ask(STRANGER, name, stolen.path(name))
    assert MARK.encode() not in answer.body.replace(f"user:{MARK}-person".encode(), b"").replace(
        f"model:{MARK}-model/1".encode(), b""
    )
    assert answer.status in {200, 403, 404}, answer


@pytest.mark.parametrize("name", ["POST /keys", "POST /restrictions", "POST /policies/{number}/activation"])
def test_an_id_of_another_tenant_in_a_body_leads_nowhere(stolen: Stolen, name: str) -> None:
    before = stolen.rows()
    answer = stolen.ask(STRANGER, name, stolen.path(name), stolen.body(name))
    assert (answer.status in {403, 404}, stolen.rows() == before) == (True, True), answer


def test_a_signature_of_one_tenant_is_none_in_another(stolen: Stolen) -> None:
    """The stranger hands in what an approver of the first tenant signed for the first tenant."""
    town = stolen.town
    made = propose(town, f"{MARK}-signed")
    before = stolen.rows()
    stranger_client = ControlClient(town.carrier, town.keys[STRANGER], town.seconds[STRANGER])
    document = town.client("auditor").policies.show(made.set.number).document
    assert document.tenant == "default"
    answer = stolen.ask(STRANGER, "POST /policies", "/api/v1/policies", {"envelope": "{}"})
    assert answer.code == "policies-signature"
    assert stranger_client.policies.list() == []
    assert stolen.rows() == before


BODIED = [name for name in KNOWN if name.partition(" ")[0] in {"POST", "PUT", "PATCH"}]


@pytest.mark.parametrize("name", BODIED)
def test_a_field_that_nobody_offered_is_refused(stolen: Stolen, name: str) -> None:
    body = stolen.body(name)
    if body is None:
        return
    callers = itertools.cycle(("admin", "viewer", "operator", OFFICER, "auditor"))
    schema = stolen.operation(name)["requestBody"]["content"]["application/json"]["schema"]
    offered = stolen.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]
    fields = [text for text in PRIVILEGED if text not in offered]
    before = stolen.rows()
    for text in fields if name not in OPEN else fields[:3]:
        answer = stolen.ask("" if name in OPEN else next(callers), name, stolen.path(name), {**body, text: "x"})
        assert (answer.status, answer.code) == (400, "request-malformed"), (text, answer)
        assert text in str(answer.problem["detail"])
    assert stolen.rows() == before


@pytest.mark.parametrize("name", CREDENTIAL)
def test_sql_in_a_parameter_is_a_name_that_nobody_has(stolen: Stolen, name: str) -> None:
    parameters = [p["name"] for p in stolen.operation(name)["parameters"] if p["in"] in {"path", "query"}]
    before = stolen.rows()
    for parameter, text in itertools.product(parameters, SQL):
        answer = stolen.ask("auditor", name, stolen.path(name, **{parameter: text}))
        assert answer.status < 500, (parameter, text, answer)
        assert answer.status >= 300 or name.startswith("GET "), (parameter, text, answer)
    assert stolen.rows() == before


@pytest.mark.parametrize("name", CREDENTIAL)
def test_sql_in_a_header_is_nothing(stolen: Stolen, name: str) -> None:
    before = stolen.rows()
    for header, text in itertools.product(HEADERS, SQL):
        answer = stolen.ask("auditor", name, stolen.path(name), **{header.replace("-", "_"): text})
        assert answer.status < 500, (header, text, answer)
        if header in {"authorization", "fastness-elevation"}:
            assert answer.status == 401, (header, text, answer)
    assert stolen.rows() == before
