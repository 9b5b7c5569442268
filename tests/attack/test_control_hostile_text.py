"""Hostile text at every place of every operation that takes text: parameters, bodies and headers, made from the OpenAPI document.

`test_control_tenants` asks as somebody who may little whether SQL finds a row. Here those who may much send it, together with
what breaks other parsers: control characters, half characters, numbers past all bounds, nesting, templates, paths. Whatever
is answered: nothing is a fault of the house, the tables are those that were there, nobody is gone, and no seal is broken. The
forms of OAuth and the filters of SCIM, which stand in no OpenAPI document, get the same. Success rate: 0.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from fastness.app.house import look_through
from fastness.core.events import EventKind
from fastness.interfaces.api.doors import Doors
from tests.attack.test_control_tenants import BODIED, CREDENTIAL, LISTS, SQL, Schema, Stolen, stolen
from tests.unit.interfaces.api.rows_rules import OFFICER
from tests.unit.interfaces.api.test_routes import OPEN
from tests.unit.interfaces.api.town import Answer

__all__ = ["stolen"]
MANY = ("admin", OFFICER, "operator", "publisher", "approver", "developer", "auditor", "viewer")
PLACE = "zzplacezz"
VALUES: tuple[bytes, ...] = (
    *(msgspec.json.encode(text) for text in SQL),
    rb'"\ud800"', rb'"\u0000"', rb'"a\r\nset-cookie: x=1"', b'"../../../../etc/passwd"', b'"${jndi:ldap://x}{{7*7}}%s%n"',
    b'"' + b"A" * 70_000 + b'"', b"1e999", b"-1", b"9" * 400, b"NaN", b"null", b'{"$ne": null}', b"[" * 3000, b'"\xff"',
)  # fmt: skip
"""Where a body has a value; some are no JSON."""
TEXTS = (
    *(quote(text, safe="") for text in SQL),
    "%00", "%ff", "%ed%a0%80", "%0d%0aset-cookie:%20x=1", "..%2f..%2f..%2fetc%2fpasswd", "9" * 400, "-1", "%25s%25n", "A" * 8000,
)  # fmt: skip
"""Where a path or a query has one."""
HEADERS = (
    "accept", "accept-encoding", "accept-language", "content-digest", "content-encoding", "content-type", "cookie", "expect",
    "fastness-csrf", "fastness-elevation", "fastness-reason", "forwarded", "if-match", "if-modified-since", "if-none-match",
    "idempotency-key", "last-event-id", "origin", "range", "referer", "sec-fetch-site", "signature", "signature-input",
    "traceparent", "tracestate", "user-agent", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
    "x-http-method-override", "x-original-url", "x-request-id",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def unpaced() -> Iterator[None]:
    """How often somebody may ask is attacked elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Doors, "_keep_pace", lambda *_: None)
        yield


@pytest.fixture(autouse=True)
def unharmed(stolen: Stolen) -> Iterator[None]:
    tables, people = standing(stolen)
    yield
    after, still = standing(stolen)
    assert after == tables
    assert still >= people


@pytest.fixture(scope="module", autouse=True)
def sealed(stolen: Stolen) -> Iterator[None]:
    yield
    look_through(stolen.town.house)
    assert stolen.town.events(EventKind.INTEGRITY_FAILED) == []
    assert stolen.ask("viewer", "GET /", "/api/v1/models").status == 200


def standing(stolen: Stolen) -> tuple[list[Any], set[Any]]:
    with sqlite3.connect(f"file:{stolen.town.house.home.records}?mode=ro", uri=True) as db:
        tables = list(db.execute("SELECT name, sql FROM sqlite_master ORDER BY name"))
        return tables, set(db.execute("SELECT tenant, id FROM principal"))


def send(stolen: Stolen, who: str, name: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    """One request with these bytes."""
    given = {"content-type": "application/json"}
    if who:
        given["authorization"] = f"Bearer {stolen.town.keys[who]}"
        if who in stolen.town.seconds and stolen.town.seconds[who].elevation:
            given["fastness-elevation"] = stolen.town.seconds[who].elevation
    given |= headers
    reply = stolen.town.carrier.send(name.partition(" ")[0], path, given, body)
    answer = Answer(reply.status, reply.headers.get("content-type", ""), reply.read())
    assert "x" not in reply.headers.get("set-cookie", "").partition("=")[0]
    assert answer.status < 500, (name, path[:200], (body or b"")[:200], answer)
    return answer


def who_may(stolen: Stolen, name: str) -> str:
    """Somebody whom the permission of an operation does not stop."""
    if name in OPEN:
        return ""
    for who in MANY:
        none = "00000000-0000-7000-8000-000000000000"
        path = stolen.path(
            name, **dict.fromkeys(("principal", "model", "group", "session", "client", "provider"), none)
        )
        if send(stolen, who, name, path, b"{").status != 403:
            return who
    return "admin"


def whole(schema: Schema, document: Schema, depth: int = 0) -> Any:
    """Something with every field that a schema knows."""
    if "$ref" in schema:
        return whole(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document, depth)
    for choice in schema.get("oneOf") or schema.get("anyOf") or ():
        if choice.get("type") != "null":
            return whole(choice, document, depth)
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {}) if depth < 4 else {}
            return {name: whole(one, document, depth + 1) for name, one in fields.items()}
        case "array":
            return [whole(schema["items"], document, depth + 1)] if schema.get("items") else []
        case "boolean":
            return False
        case "integer" | "number":
            return schema.get("minimum", 1)
        case _:
            return "x"


def places(value: Any) -> Iterator[Any]:
    """The same with `PLACE` for one value, for each that there is."""
    yield PLACE
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ({**value, key: changed} for changed in places(inner))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from ([*value[:number], changed, *value[number + 1 :]] for changed in places(inner))


@pytest.mark.parametrize("name", BODIED)
def test_at_every_place_of_a_body(stolen: Stolen, name: str) -> None:
    content = stolen.operation(name).get("requestBody", {}).get("content", {})
    if "application/json" not in content:
        return
    made = whole(content["application/json"]["schema"], stolen.document)
    who, path = who_may(stolen, name), stolen.path(name)
    marked = msgspec.json.encode(PLACE)
    for body, value in itertools.product(places(made), VALUES):
        send(stolen, who, name, path, msgspec.json.encode(body).replace(marked, value))


def within(value: Any) -> Iterator[Any]:
    """The same with a field more in one of the objects inside of it, for each that there is."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        for changed in ([{**one, "tenant": "other"}] if isinstance(one, dict) and one else []) + list(within(one)):
            if isinstance(value, dict):
                yield {**value, key: changed}
            else:
                yield [*value[:key], changed, *value[key + 1 :]]


@pytest.mark.parametrize("name", BODIED)
def test_a_field_that_nobody_offered_is_refused_inside_of_a_body_too(stolen: Stolen, name: str) -> None:
    content = stolen.operation(name).get("requestBody", {}).get("content", {})
    if "application/json" not in content:
        return
    made = whole(content["application/json"]["schema"], stolen.document)
    who, path = who_may(stolen, name), stolen.path(name)
    for body in within(made):
        answer = send(stolen, who, name, path, msgspec.json.encode(body))
        assert (answer.status, answer.code) == (400, "request-malformed"), (body, answer)


def test_what_a_directory_sends_about_somebody_gives_nothing_that_it_may_not(stolen: Stolen) -> None:
    """Mass assignment by SCIM: fields of the house's own are not taken over."""
    sent = {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "mass@example.com", "id": "chosen", "tenant": "other",
        "principal": "user:admin", "roles": [{"value": "administrator"}], "groups": [{"value": stolen.ids["group"]}],
        "meta": {"version": "9"}, "seal": "x", "kind": "service", "entitlements": [{"value": "model.deploy"}],
    }  # fmt: skip
    _, before = standing(stolen)
    made = send(stolen, "admin", "POST /", "/scim/v2/Users", msgspec.json.encode(sent))
    assert made.status in {201, 400}
    people = stolen.town.client("auditor").access.principals()
    (view,) = [one for one in people if one.principal.startswith("user:mass-")]
    assert (view.roles, made.problem["id"] == "chosen") == ((), False)
    (group,) = [one for one in stolen.town.client("auditor").directory.groups() if one.group == stolen.ids["group"]]
    assert view.principal not in group.members
    assert standing(stolen)[1] - before == {("default", view.principal)}


@pytest.mark.parametrize("name", CREDENTIAL)
def test_in_every_parameter(stolen: Stolen, name: str) -> None:
    parameters = [p["name"] for p in stolen.operation(name)["parameters"] if p["in"] in {"path", "query"}]
    if not parameters:
        return
    who, body = who_may(stolen, name), stolen.body(name)
    sent = None if body is None else msgspec.json.encode(body)
    for parameter, text in itertools.product(parameters, TEXTS):
        send(stolen, who, name, stolen.path(name, **{parameter: PLACE}).replace(PLACE, text), sent)


@pytest.mark.parametrize("name", LISTS)
def test_a_filter_that_is_sql_shows_no_row_more_than_a_name_of_nobody(stolen: Stolen, name: str) -> None:
    texts = [p["name"] for p in stolen.operation(name)["parameters"] if p["in"] == "query" and p["name"] != "after"]
    who = who_may(stolen, name)
    for parameter in texts:
        none = send(stolen, who, name, stolen.path(name, **{parameter: "nobodys"}))
        for text in SQL:
            found = send(stolen, who, name, stolen.path(name, **{parameter: text}))
            assert found.status != 200 or len(found.body) <= len(none.body) + len(text) or none.status != 200, found


ASKED = ("GET /models", "POST /keys", "POST /logins", "GET /access/findings")


@pytest.mark.parametrize("header", HEADERS)
def test_in_every_header(stolen: Stolen, header: str) -> None:
    for name, text in itertools.product(
        ASKED, (*SQL, "\x7f\x01", "\udcff".encode("utf-8", "replace").decode(), "é", "A" * 8000)
    ):
        body = stolen.body(name)
        who = "" if name in OPEN else "auditor"
        send(
            stolen, who, name, stolen.path(name), None if body is None else msgspec.json.encode(body), **{header: text}
        )


FORMS = ("/oauth/token", "/oauth/device_authorization", "/oauth/revoke", "/oauth/introspect")
FIELDS = (
    "grant_type", "client_id", "client_secret", "scope", "code", "code_verifier", "device_code", "refresh_token", "redirect_uri",
    "token", "token_type_hint", "subject_token", "subject_token_type", "actor_token", "audience", "resource", "client_assertion",
    "client_assertion_type",
)  # fmt: skip
GRANTS = (
    "authorization_code", "client_credentials", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:token-exchange",
)  # fmt: skip


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("field", FIELDS)
def test_in_every_field_of_a_form(stolen: Stolen, path: str, field: str) -> None:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    for number, text in enumerate(TEXTS):
        form = {"grant_type": quote(GRANTS[number % len(GRANTS)]), "client_id": "fastness-cli", "token": "x"} | {
            field: text
        }
        data = "&".join(f"{key}={value}" for key, value in form.items()).encode()
        answer = send(stolen, "", "POST /", path, data, **kind)
        assert answer.status != 200 or b"access_token" not in answer.body


@pytest.mark.parametrize("place", ["/Users/{}", "/Groups/{}", "/Users?filter={}", "/Users?filter=userName%20eq%20%22{}%22", "/Users?startIndex={}", "/Groups?count={}", "/Users?attributes={}", "/{}"])  # fmt: skip
def test_in_every_place_of_scim(stolen: Stolen, place: str) -> None:
    for text in TEXTS:
        answer = send(stolen, "admin", "GET /", f"/scim/v2{place.format(text)}")
        if answer.status == 200 and "filter" in place:
            assert answer.problem["totalResults"] == 0
    for value in VALUES:
        for field in ("userName", "displayName", "emails", "externalId", "roles", "active", "schemas"):
            body = msgspec.json.encode({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], field: PLACE})
            send(stolen, "admin", "PUT /", "/scim/v2/Users/none", body.replace(msgspec.json.encode(PLACE), value))
