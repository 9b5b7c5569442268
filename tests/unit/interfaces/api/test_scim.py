"""SCIM over the control plane: closed without a key, closed to who may not provision, and everything told as SCIM tells."""

from __future__ import annotations

import msgspec
import pytest

from fastness.access.scim import ScimSettings
from fastness.core.events import EventKind
from fastness.core.settings import InvalidSetting
from fastness.wire import control
from tests.unit.interfaces.api.town import Answer, Town

ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
PATHS = ("/Users", "/Groups", "/ServiceProviderConfig", "/ResourceTypes", "/Schemas", "/Nothing")


def ask(town: Town, who: str, method: str, path: str, body: object = None, **headers: str) -> Answer:
    sent = {"content-type": "application/scim+json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    if who:
        sent["authorization"] = f"Bearer {town.keys.get(who, who)}"
    data = body if isinstance(body, bytes) else None if body is None else msgspec.json.encode(body)
    reply = town.carrier.send(method, f"/scim/v2{path}", sent, data)
    return Answer(reply.status, reply.headers.get("content-type", ""), reply.read())


def refused(answer: Answer) -> dict[str, object]:
    assert answer.kind.startswith("application/scim+json")
    assert answer.problem["schemas"] == [ERROR]
    assert answer.problem["status"] == str(answer.status)
    return answer.problem


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("who", "reason"), [("", "key-missing"), ("fst_nonsense", "key-malformed")])
def test_without_a_key_nothing_is_answered(town: Town, path: str, who: str, reason: str) -> None:
    answer = ask(town, who, "GET", path)
    assert refused(answer)["status"] == "401"
    event = town.events(EventKind.ACCESS_DENIED)[-1]
    assert (event.reason, event.resource) == (reason, f"route:/scim/v2{path}")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_who_may_not_provision_is_refused_and_recorded(town: Town, method: str) -> None:
    for path in PATHS:
        body: dict[str, object] | None = {} if method in {"POST", "PUT", "PATCH"} else None
        assert refused(ask(town, "operator", method, path, body))["status"] == "403"
        event = town.events(EventKind.ACCESS_DENIED)[-1]
        assert (event.action, event.resource, event.principal) == (
            "directory.provision", "directory:scim", "user:operator",
        )  # fmt: skip


def test_a_joiner_a_mover_and_a_leaver(town: Town) -> None:
    body = {"schemas": [USER], "userName": "jo@example.com", "roles": [{"value": "administrator"}]}
    made = ask(town, "admin", "POST", "/Users", body)
    assert (made.status, made.kind.partition(";")[0]) == (201, "application/scim+json")
    user = str(made.problem["id"])
    listed = ask(town, "admin", "GET", '/Users?filter=userName%20eq%20"jo@example.com"')
    assert listed.problem["totalResults"] == 1
    (view,) = [p for p in town.client("auditor").access.principals() if p.principal.startswith("user:jo-")]
    assert (view.roles, view.active) == ((), True)  # what is sent about somebody gives no rights
    stale = ask(town, "admin", "PATCH", f"/Users/{user}", {}, if_match='W/"7"')
    assert refused(stale)["status"] == "412"
    leave = {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "active", "value": False}]}
    assert ask(town, "admin", "PATCH", f"/Users/{user}", leave, if_match='W/"1"').status == 200
    (view,) = [p for p in town.client("auditor").access.principals() if p.principal == view.principal]
    assert not view.active
    reply = town.carrier.send("GET", f"/scim/v2/Users/{user}", {"authorization": f"Bearer {town.keys['admin']}"}, None)
    assert (reply.headers["etag"], reply.status) == ('W/"2"', 200)
    reply.read()
    assert ask(town, "admin", "GET", f"/Users/{user}", if_none_match='W/"2"').status == 304
    assert ask(town, "admin", "DELETE", f"/Users/{user}").status == 204
    assert refused(ask(town, "admin", "GET", f"/Users/{user}"))["status"] == "404"
    event = town.events(EventKind.DIRECTORY_CHANGED)[-1]
    assert (event.principal, event.reason) == ("user:admin", "deleted")


def test_the_service_describes_itself(town: Town) -> None:
    config = ask(town, "admin", "GET", "/ServiceProviderConfig").problem
    assert config["patch"] == {"supported": True}
    assert ask(town, "admin", "GET", "/ResourceTypes").problem["totalResults"] == 2
    schemas = ask(town, "admin", "GET", "/Schemas").problem
    assert schemas["totalResults"] == 3
    assert ask(town, "admin", "GET", f"/Schemas/{USER}").problem["id"] == USER


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 5000, b"[]", b"1"])
def test_what_is_no_resource_is_refused_as_such(town: Town, body: bytes) -> None:
    answer = ask(town, "admin", "POST", "/Users", body)
    assert (refused(answer)["scimType"], answer.status) == ("invalidSyntax", 400)


def test_a_group_gives_the_roles_that_the_settings_say(town: Town) -> None:
    name = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Nobodies"}
    made = ask(town, "admin", "POST", "/Groups", name)
    assert made.status == 201
    (group,) = [one for one in town.client("auditor").directory.groups() if one.group == made.problem["id"]]
    assert (group.source, group.roles) == ("scim", ())


def test_a_key_narrowed_to_provisioning_does_nothing_else(town: Town) -> None:
    request = control.KeyRequest("user:admin", "directory", actions=("directory.provision",))
    town.keys["hr"] = town.client("admin").access.create_key(request).api_key
    assert ask(town, "hr", "GET", "/Users").status == 200
    assert town.ask("hr", "GET", "/api/v1/principals").code == "credential-narrowed"


def test_settings_name_groups_and_roles() -> None:
    found = ScimSettings(("Ops = operator, viewer", "a=b=auditor")).roles()
    assert found == {"Ops": {"operator", "viewer"}, "a=b": {"auditor"}}
    for wrong in (("Ops",), ("=viewer",), ("Ops=king",), ("Ops=viewer", "ops=auditor")):
        with pytest.raises(InvalidSetting):
            ScimSettings(wrong)
    with pytest.raises(InvalidSetting):
        ScimSettings(base="http://example.com")
