"""Conditions, idempotency keys and pages, for every operation that the document says has them."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fastness.client import ControlClient
from fastness.interfaces.api import create_api
from fastness.interfaces.api.conditions import _Turn, meets
from fastness.interfaces.cli.inprocess import InProcessTransport
from fastness.wire import control, directory, oauth, rules
from tests.unit.interfaces.api.rows_rules import OFFICER
from tests.unit.interfaces.api.test_routes import OWN, ROUTES
from tests.unit.interfaces.api.town import Answer, Town, founded

V1 = "/api/v1"
Operation = dict[str, Any]


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory(prefix="fastness-conditions-") as folder, founded(Path(folder) / "home") as made:
        yield made


@pytest.fixture(scope="module")
def operations(town: Town) -> dict[str, Operation]:
    document = msgspec.json.decode(town.ask("auditor", "GET", f"{V1}/openapi.json").body)
    return {
        f"{method.upper()} {path.removeprefix(V1)}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def send(
    town: Town, who: str, method: str, path: str, body: object = None, **headers: str
) -> tuple[Answer, dict[str, str]]:
    sent = {"content-type": "application/json", "authorization": f"Bearer {town.keys[who]}"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    reply = town.carrier.send(method, V1 + path, sent, None if body is None else msgspec.json.encode(body))
    return Answer(reply.status, reply.headers.get("content-type", ""), reply.read()), dict(reply.headers)


def tag_of(town: Town, path: str, who: str = "admin") -> str:
    answer, headers = send(town, who, "GET", path)
    assert answer.status == 200, answer
    return headers["etag"]


def named(operation: Operation, where: str = "header") -> set[str]:
    return {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == where}


def test_what_can_be_looked_at_alone_is_changed_under_a_condition(operations: dict[str, Operation]) -> None:
    """Every operation that changes something below a path that ends in a name and has a GET."""
    alone = {name.removeprefix("GET ") for name in operations if name.startswith("GET ") and name.endswith("}")}
    assert len(alone) >= 11
    for name, operation in operations.items():
        method, _, path = name.partition(" ")
        parts = path.split("/")
        below = any("/".join(parts[:count]) in alone for count in range(len(parts), 1, -1))
        flows = name == "POST /models/{model}/versions"
        changes = method not in {"GET", "HEAD"} and operation["x-proof"] == "credential" and not flows
        assert ("If-Match" in named(operation)) == (changes and below), name
        if method == "GET" and "200" in operation["responses"]:
            assert "ETag" in operation["responses"]["200"]["headers"], name
            assert "If-None-Match" in named(operation), name


def test_what_makes_something_is_done_once_and_lists_come_in_pages(operations: dict[str, Operation]) -> None:
    for name, operation in operations.items():
        if name.startswith("POST ") and operation["x-proof"] == "credential":
            assert "Idempotency-Key" in named(operation), name
        schema = operation["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema", {})
        if name.startswith("GET ") and schema.get("type") == "array":
            assert {"limit", "after"} <= named(operation, "query"), name


LISTS = [name for name in sorted({*ROUTES, *OWN}) if name.startswith("GET ") and "{" not in name]


@pytest.mark.parametrize("name", LISTS)
def test_no_list_gives_more_than_was_asked_for(town: Town, operations: dict[str, Operation], name: str) -> None:
    if "limit" not in named(operations[name], "query"):
        return
    path = name.removeprefix("GET ")
    for who in ("auditor", OFFICER, "admin"):
        answer, headers = send(town, who, "GET", f"{path}?limit=1")
        if answer.status == 200:
            found = msgspec.json.decode(answer.body)
            assert len(found) <= 1
            if link := headers.get("link"):
                following = re.fullmatch(r'<(/[^>]*)>; rel="next"', link)
                assert following is not None
                after, _ = send(town, who, "GET", following[1].removeprefix(V1))
                assert not set(map(str, msgspec.json.decode(after.body))) & set(map(str, found))
            return
    raise AssertionError(f"{name}: nobody may read it")


MADE = {
    "/groups": ("admin", directory.GroupRequest("once", ("viewer",))),
    "/grants": ("admin", directory.GrantRequest("user:viewer", "operator", "once")),
    "/restrictions": (OFFICER, rules.RestrictionRequest("block", "model", "once", "a drill", 5)),
    "/reviews": (OFFICER, directory.ReviewRequest("once", ("user:admin", f"user:{OFFICER}"))),
}


@pytest.mark.parametrize("path", MADE)
def test_a_request_with_a_key_is_done_once(town: Town, path: str) -> None:
    who, body = MADE[path]
    first, _ = send(town, who, "POST", path, body, idempotency_key=f"key{path}")
    again, headers = send(town, who, "POST", path, body, idempotency_key=f"key{path}")
    assert (first.status, again.status, again.body) == (201, 201, first.body)
    assert headers["idempotency-replayed"] == "true"


def things(town: Town) -> dict[str, tuple[str, str, str, object, object]]:
    """Kind to: its path, and how it is changed: by whom, method, path below it, body, another body."""
    admin = town.client("admin")
    group = admin.directory.create_group(directory.GroupRequest("tagged", ("viewer",))).group
    admin.directory.create_tenant(directory.NewTenantRequest("tagged", "Tagged Ltd."))
    admin.directory.grant(directory.GrantRequest("user:viewer", "operator", "tagged"))
    client = admin.clients.create(
        oauth.ClientRequest("tagged", "model.read", ("device_code",), confidential=True)
    ).client
    key = town.client("viewer").access.create_key(control.KeyRequest("user:viewer", "tagged")).key_id
    block = rules.RestrictionRequest("block", "model", "tagged", "a drill", 5)
    restriction = town.client(OFFICER).restrictions.impose(block).id
    return {
        "group": (f"/groups/{group}", "admin", f"PUT /groups/{group}", directory.GroupRequest("other"), directory.GroupRequest("third")),
        "member": (f"/groups/{group}", "admin", f"PUT /groups/{group}/members/user:viewer", None, None),
        "tenant": ("/tenants/tagged", "admin", "POST /tenants/tagged/deactivation", None, None),
        "grant": ("/grants/user:viewer/operator/tagged", "admin", "DELETE /grants/user:viewer/operator/tagged", None, None),
        "client": (f"/clients/{client}", "admin", f"POST /clients/{client}/deactivation", None, None),
        "key": (f"/keys/{key}", "admin", f"DELETE /keys/{key}", None, None),
        "restriction": (f"/restrictions/{restriction}", OFFICER, f"POST /restrictions/{restriction}/lift", rules.LiftRequest("over"), None),
        "principal": ("/principals/user:developer", "admin", "PUT /principals/user:developer/roles", control.RolesRequest(("viewer",)), None),
    }  # fmt: skip


@pytest.fixture(scope="module")
def tagged(town: Town) -> dict[str, tuple[str, str, str, object, object]]:
    return things(town)


KINDS = ("group", "member", "tenant", "grant", "client", "key", "restriction", "principal")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_changed_that_the_caller_does_not_know(
    town: Town, tagged: dict[str, tuple[str, str, str, object, object]], kind: str
) -> None:
    path, who, change, body, _ = tagged[kind]
    method, _, below = change.partition(" ")
    tag = tag_of(town, path, who)
    for stale in ('"0123456789abcdef0123456789abcdef"', f"W/{tag}", "nonsense", '""'):
        answer, _ = send(town, who, method, below, body, if_match=stale)
        assert (answer.status, answer.code) == (412, "precondition-failed"), stale
    refusal, _ = send(town, who, method, below, body, if_none_match=f"W/{tag}")
    assert refusal.status == 412
    assert send(town, who, method, below, body, if_none_match="*")[0].status == 412
    assert tag_of(town, path, who) == tag
    answer, _ = send(town, who, method, below, body, if_match=f'"other", {tag}')
    assert answer.status in {200, 201, 204}, answer
    again, _ = send(town, who, method, below, body, if_match=tag)
    assert again.status == 412


def test_a_condition_on_what_is_not_there_does_not_hold(town: Town) -> None:
    answer, _ = send(town, "admin", "PUT", "/groups/none", directory.GroupRequest("x"), if_match="*")
    assert answer.status == 412
    quota = "/quotas/model/conditioned/requests/day"
    made, _ = send(town, "admin", "PUT", quota, rules.QuotaRequest(10), if_none_match="*")
    assert made.status == 200
    assert send(town, "admin", "PUT", quota, rules.QuotaRequest(20), if_none_match="*")[0].status == 412
    assert send(town, "admin", "PUT", quota, rules.QuotaRequest(20), if_match=tag_of(town, quota))[0].status == 200


def test_a_condition_takes_the_permission_to_look(town: Town) -> None:
    key = town.client("viewer").access.create_key(control.KeyRequest("user:viewer", "own")).key_id
    answer, _ = send(town, "viewer", "DELETE", f"/keys/{key}", if_match='"x"')
    assert (answer.status, answer.code) == (403, "if-match-unreadable")
    assert send(town, "viewer", "DELETE", f"/keys/{key}")[0].status == 204


def test_a_condition_where_nothing_has_a_tag_is_refused(town: Town) -> None:
    answer, _ = send(town, "admin", "POST", "/groups", directory.GroupRequest("untagged"), if_match='"x"')
    assert (answer.status, answer.code) == (400, "if-match-unheld")


def test_of_many_who_know_the_same_one_changes_it(town: Town) -> None:
    group = town.client("admin").directory.create_group(directory.GroupRequest("contested")).group
    tag = tag_of(town, f"/groups/{group}")
    carriers = [InProcessTransport(create_api(town.house))]
    try:
        app = carriers[0]
        headers = {"content-type": "application/json", "authorization": f"Bearer {town.keys['admin']}", "if-match": tag}

        async def all_at_once() -> list[int]:
            def one(number: int) -> int:
                body = msgspec.json.encode(directory.GroupRequest(f"contested{number}"))
                return app.send("PUT", f"{V1}/groups/{group}", headers, body).status

            return await asyncio.gather(*(asyncio.to_thread(one, number) for number in range(8)))

        assert sorted(asyncio.run(all_at_once())) == [204, *[412] * 7]
    finally:
        for carrier in carriers:
            carrier.close()


def test_a_house_may_ask_for_a_condition(town: Town) -> None:
    settings = town.house.settings
    town.house.settings = replace(settings, server=replace(settings.server, require_if_match=True))
    try:
        with InProcessTransport(create_api(town.house)) as carrier:
            strict = Town(town.house, carrier, town.keys, town.signers, town.seconds)
            group = strict.client("admin").directory.create_group(directory.GroupRequest("strict")).group
            answer, _ = send(strict, "admin", "PUT", f"/groups/{group}", directory.GroupRequest("stricter"))
            assert (answer.status, answer.code) == (428, "if-match-required")
            tag = tag_of(strict, f"/groups/{group}")
            body = directory.GroupRequest("stricter")
            assert send(strict, "admin", "PUT", f"/groups/{group}", body, if_match=tag)[0].status == 204
            quota = "/quotas/model/strict/requests/day"
            assert send(strict, "admin", "PUT", quota, rules.QuotaRequest(10))[0].status == 200  # nothing was there
            ControlClient(carrier, town.keys["admin"]).directory.delete_group(group)
    finally:
        town.house.settings = settings


@pytest.mark.parametrize(
    ("given", "weakly", "strongly"),
    [
        ('"a"', True, True), ('W/"a"', True, False), ('"b", "a"', True, True), ('"b", W/"a"', True, False), ("*", True, True),
        ('"b"', False, False), ("a", False, False), ("", False, False), ('"a', False, False), ('""', False, False),
    ],
)  # fmt: skip
def test_tags_are_compared_as_the_standard_says(given: str, weakly: bool, strongly: bool) -> None:
    """RFC 9110, section 8.8.3.2."""
    assert meets(given.encode(), b'"a"', weakly=True) is weakly
    assert meets(given.encode(), b'"a"', weakly=False) is strongly
    assert not meets(given.encode(), None, weakly=True)


def test_turns_are_taken_in_order_and_alone() -> None:
    async def run() -> list[str]:
        turn, seen = _Turn(), []

        async def beside(name: str) -> None:
            async with turn.beside():
                seen.append(f"+{name}")
                await asyncio.sleep(0)
                seen.append(f"-{name}")

        async def alone(name: str) -> None:
            async with turn.alone():
                seen.append(f"+{name}")
                await asyncio.sleep(0)
                seen.append(f"-{name}")

        await asyncio.gather(beside("a"), beside("b"), alone("c"), beside("d"))
        return seen

    seen = asyncio.run(run())
    assert seen.index("-c") == seen.index("+c") + 1
    assert max(seen.index("-a"), seen.index("-b")) < seen.index("+c") < seen.index("+d")
