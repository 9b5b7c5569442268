from __future__ import annotations

import json
import string
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.access.scim import filters, patches
from fastness.access.scim.attributes import GROUPS, KINDS, USERS
from fastness.core.errors import Invalid
from fastness.core.identity import Role
from tests.unit.access.sealed import ENTERPRISE, GROUP, USER, SealedHouse

# RFC 7643, section 8.2, as far as it is kept.
BABS: dict[str, Any] = {
    "schemas": [USER, ENTERPRISE],
    "externalId": "701984",
    "userName": "bjensen@example.com",
    "name": {"formatted": "Ms. Barbara J Jensen, III", "familyName": "Jensen", "givenName": "Barbara"},
    "displayName": "Babs Jensen",
    "nickName": "Babs",
    "title": "Tour Guide",
    "userType": "Employee",
    "preferredLanguage": "en-US",
    "locale": "en-US",
    "timezone": "America/Los_Angeles",
    "active": True,
    "emails": [
        {"value": "bjensen@example.com", "type": "work", "primary": True},
        {"value": "babs@jensen.org", "type": "home"},
    ],
    "phoneNumbers": [{"value": "555-555-5555", "type": "work"}],
    ENTERPRISE: {"employeeNumber": "701984", "department": "Tour Operations", "manager": {"value": "26118915"}},
}


@pytest.fixture
def house() -> Iterator[SealedHouse]:
    made = SealedHouse()
    yield made
    made.records.close()


@contextmanager
def read_or_refused(code: str) -> Iterator[None]:
    """Nothing but a refusal with a code that begins so comes out."""
    try:
        yield
    except Invalid as error:
        if not error.code.startswith(code):
            raise


def body_of(reply: Any) -> dict[str, Any]:
    assert reply.body is not None
    return dict(reply.body)


def test_what_was_sent_is_what_is_read(house: SealedHouse) -> None:
    reply = house.scim("POST", "/Users", BABS)
    assert (reply.status, reply.headers["ETag"]) == (201, 'W/"1"')
    made = body_of(reply)
    assert {name: value for name, value in made.items() if name not in {"id", "meta"}} == BABS
    assert made["meta"] == {
        "resourceType": "User", "created": "2023-11-14T22:13:20.000000Z", "lastModified": "2023-11-14T22:13:20.000000Z",
        "location": f"https://fastness.example/scim/v2/Users/{made['id']}", "version": 'W/"1"',
    }  # fmt: skip
    again = house.scim("GET", f"/Users/{made['id']}")
    assert (again.status, again.body) == (200, made)
    assert house.scim("GET", f"/Users/{made['id']}", if_none_match='W/"1"').status == 304
    taken = house.scim("POST", "/Users", {**BABS, "userName": "BJENSEN@example.com"})
    assert (taken.status, body_of(taken)["scimType"]) == (409, "uniqueness")


FILTERS = {
    'userName eq "BJENSEN@example.com"': True,
    'userName ne "bjensen@example.com"': False,
    'externalId eq "701984"': True,
    'externalId eq "701984 "': False,
    'name.familyName co "ENS"': True,
    'userName sw "BJ"': True,
    'userName ew ".com"': True,
    f'{USER}:userName sw "bj"': True,
    "title pr": True,
    "groups pr": False,
    'title pr and userType eq "Employee"': True,
    'title pr or userType eq "Intern"': True,
    'userType eq "Intern" or title pr and nickName eq "Nobody"': False,
    '(userType eq "Intern" or title pr) and nickName eq "babs"': True,
    'userType eq "Employee" and (emails co "example.com" or emails.value co "example.org")': True,
    'userType ne "Employee" and not (emails co "example.com" or emails.value co "example.org")': False,
    'emails[type eq "work" and value co "@example.com"]': True,
    'emails[type eq "home" and value co "@example.com"]': False,
    'emails[type eq "work" and primary eq true] or phoneNumbers[value pr]': True,
    "emails[not (type pr)]": False,
    'meta.lastModified gt "2011-05-13T04:42:34Z"': True,
    'meta.lastModified lt "2011-05-13T04:42:34Z"': False,
    'meta.resourceType eq "User"': True,
    "active eq true": True,
    "active eq false": False,
    'active eq "true"': False,
    f'{ENTERPRISE}:department eq "tour operations"': True,
    f'{ENTERPRISE}:manager.value eq "26118915"': True,
    "nickName eq null": False,
    'displayName eq "Babs\\u0020Jensen"': True,
    'USERNAME EQ "bjensen@example.com" AND TITLE PR': True,
}


@pytest.mark.parametrize(("text", "expected"), FILTERS.items())
def test_filters_of_the_standard(house: SealedHouse, text: str, expected: bool) -> None:
    house.scim("POST", "/Users", BABS)
    found = house.scim("GET", "/Users", filter=text)
    assert (found.status, body_of(found)["totalResults"]) == (200, int(expected)), found


def test_lists_come_in_pages(house: SealedHouse) -> None:
    for number in range(7):
        house.joiner(f"user{number}")
    pages = [body_of(house.scim("GET", "/Users", startIndex=str(start), count="3")) for start in (1, 4, 7, 10)]
    names = [[user["userName"] for user in page["Resources"]] for page in pages]
    assert sorted(name for page in names for name in page) == [f"user{number}" for number in range(7)]
    assert [(p["totalResults"], p["startIndex"], p["itemsPerPage"]) for p in pages] == [
        (7, 1, 3),
        (7, 4, 3),
        (7, 7, 1),
        (7, 10, 0),
    ]
    for odd, items in (("-5", 0), ("0", 0), ("999999", 7)):
        assert body_of(house.scim("GET", "/Users", count=odd, startIndex="-3"))["itemsPerPage"] == items
    for wrong in ("x", "1.5", "9" * 40, "٣"):
        assert house.scim("GET", "/Users", count=wrong).status == 400
    only = body_of(house.scim("GET", "/Users", attributes="userName,emails.value", count="1"))["Resources"][0]
    assert only.keys() == {"schemas", "id", "meta", "userName"}
    rest = body_of(house.scim("GET", "/Users", excludedAttributes="userName", count="1"))["Resources"][0]
    assert rest.keys() == {"schemas", "id", "meta", "active"}


PATCHES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "replace": ({"op": "replace", "path": "nickName", "value": "B"}, {"nickName": "B"}),
    "replace in a complex one": (
        {"op": "replace", "path": "name.givenName", "value": "Bab"}, {"name": {**BABS["name"], "givenName": "Bab"}},
    ),
    "add to a complex one": (
        {"op": "add", "path": "name", "value": {"middleName": "J"}}, {"name": {**BABS["name"], "middleName": "J"}},
    ),
    "replace without a path": ({"op": "replace", "value": {"nickName": "B", "title": "Guide"}}, {"nickName": "B", "title": "Guide"}),
    "a path as a key": ({"op": "Replace", "value": {"name.familyName": "J"}}, {"name": {**BABS["name"], "familyName": "J"}}),
    "remove": ({"op": "remove", "path": "nickName"}, {"nickName": None}),
    "remove by null": ({"op": "replace", "path": "nickName", "value": None}, {"nickName": None}),
    "add a value": (
        {"op": "add", "path": "emails", "value": [{"value": "n@x.example", "type": "other"}]},
        {"emails": [*BABS["emails"], {"value": "n@x.example", "type": "other"}]},
    ),
    "add what is there": ({"op": "add", "path": "emails", "value": [BABS["emails"][1]]}, {}),
    "add a new primary one": (
        {"op": "add", "path": "emails", "value": {"value": "n@x.example", "primary": True}},
        {"emails": [{"value": "bjensen@example.com", "type": "work"}, BABS["emails"][1], {"value": "n@x.example", "primary": True}]},
    ),
    "replace all values": ({"op": "replace", "path": "emails", "value": [{"value": "n@x.example"}]}, {"emails": [{"value": "n@x.example"}]}),
    "remove some values": ({"op": "remove", "path": 'emails[type eq "home"]'}, {"emails": BABS["emails"][:1]}),
    "replace in a value": (
        {"op": "replace", "path": 'emails[type eq "home"].value', "value": "h@x.example"},
        {"emails": [BABS["emails"][0], {"value": "h@x.example", "type": "home"}]},
    ),
    "make a value by its path": (
        {"op": "add", "path": 'phoneNumbers[type eq "mobile"].value', "value": "1"},
        {"phoneNumbers": [*BABS["phoneNumbers"], {"type": "mobile", "value": "1"}]},
    ),
    "extension": (
        {"op": "replace", "path": f"{ENTERPRISE}:department", "value": "Sales"}, {ENTERPRISE: {**BABS[ENTERPRISE], "department": "Sales"}},
    ),
    "extension without a path": (
        {"op": "add", "value": {ENTERPRISE: {"division": "D"}}}, {ENTERPRISE: {**BABS[ENTERPRISE], "division": "D"}},
    ),
    "manager as text": (
        {"op": "replace", "path": f"{ENTERPRISE}:manager", "value": "7"}, {ENTERPRISE: {**BABS[ENTERPRISE], "manager": {"value": "7"}}},
    ),
    "remove the extension": ({"op": "remove", "path": ENTERPRISE}, {ENTERPRISE: None}),
    "full path": ({"op": "replace", "path": f"{USER}:title", "value": "G"}, {"title": "G"}),
}  # fmt: skip


@pytest.mark.parametrize("name", PATCHES)
def test_patches_of_the_standard(house: SealedHouse, name: str) -> None:
    operation, expected = PATCHES[name]
    made = body_of(house.scim("POST", "/Users", BABS))
    reply = house.patch(f"/Users/{made['id']}", operation)
    assert reply.status == 200, reply
    wanted = {name: value for name, value in {**BABS, **expected}.items() if value is not None}
    if expected.get(ENTERPRISE, BABS) is None:
        wanted["schemas"] = [USER]
    found = {name: value for name, value in body_of(reply).items() if name not in {"id", "meta"}}
    assert found == wanted
    assert house.scim("GET", f"/Users/{made['id']}").body == reply.body


WRONG_PATCHES = {
    "no target": ({"op": "replace", "path": 'emails[type co "none"].value', "value": "x"}, "noTarget"),
    "remove no target": ({"op": "remove", "path": 'emails[type eq "none"].value'}, "noTarget"),
    "remove without a path": ({"op": "remove"}, "noTarget"),
    "read only": ({"op": "replace", "path": "id", "value": "x"}, "mutability"),
    "read only groups": ({"op": "add", "path": "groups", "value": [{"value": "x"}]}, "mutability"),
    "read only meta": ({"op": "replace", "path": "meta.version", "value": "x"}, "mutability"),
    "unknown": ({"op": "replace", "path": "roles", "value": "administrator"}, "invalidPath"),
    "unknown inside": ({"op": "replace", "value": {"entitlements": ["x"]}}, "invalidPath"),
    "sub of many": ({"op": "replace", "path": "emails.value", "value": "x"}, "invalidPath"),
    "brackets on one": ({"op": "replace", "path": 'name[givenName eq "x"]', "value": {}}, "invalidPath"),
    "path that is none": ({"op": "replace", "path": 7, "value": "x"}, "invalidPath"),
    "path with a bomb": ({"op": "remove", "path": "emails[" + "(" * 30 + "type pr" + ")" * 30 + "]"}, "invalidFilter"),
    "operation": ({"op": "move", "path": "title", "value": "x"}, "invalidSyntax"),
    "no operation": ({"path": "title", "value": "x"}, "invalidSyntax"),
    "text for a list": ({"op": "add", "path": "emails", "value": "x"}, "invalidValue"),
    "required away": ({"op": "remove", "path": "userName"}, "invalidValue"),
    "value that is none": ({"op": "replace", "value": "x"}, "invalidValue"),
}


@pytest.mark.parametrize("name", WRONG_PATCHES)
def test_wrong_patches_are_told_apart_and_change_nothing(house: SealedHouse, name: str) -> None:
    operation, kind = WRONG_PATCHES[name]
    made = body_of(house.scim("POST", "/Users", BABS))
    reply = house.patch(f"/Users/{made['id']}", operation)
    assert (reply.status, body_of(reply)["scimType"]) == (400, kind)
    assert house.scim("GET", f"/Users/{made['id']}").body == made


def test_groups_give_the_roles_that_the_settings_say(house: SealedHouse) -> None:
    one, two = house.joiner("one"), house.joiner("two")
    reply = house.scim(
        "POST",
        "/Groups",
        {"schemas": [GROUP], "displayName": "ml operators", "externalId": "g1", "members": [{"value": one["id"]}]},
    )
    assert reply.status == 201
    made = body_of(reply)
    path = f"/Groups/{made['id']}"
    assert made["members"] == [{"value": one["id"], "type": "User"}]
    assert house.principal_of(one["id"]).roles == {Role.OPERATOR}
    assert body_of(house.scim("GET", f"/Users/{one['id']}"))["groups"] == [
        {"value": made["id"], "display": "ml operators"}
    ]
    house.patch(path, {"op": "Add", "path": "members", "value": [{"value": two["id"]}, {"value": one["id"]}]})
    assert house.principal_of(two["id"]).roles == {Role.OPERATOR}
    house.patch(path, {"op": "Remove", "path": "members", "value": [{"value": one["id"]}]})
    assert (house.principal_of(one["id"]).roles, house.principal_of(two["id"]).roles) == (set(), {Role.OPERATOR})
    house.patch(path, {"op": "remove", "path": f'members[value eq "{two["id"]}"]'})
    assert house.principal_of(two["id"]).roles == set()
    put = {"schemas": [GROUP], "displayName": "Readers", "members": [{"value": one["id"]}, {"value": two["id"]}]}
    assert house.scim("PUT", path, put).status == 200
    assert house.principal_of(one["id"]).roles == set()  # the settings say nothing about this name
    assert body_of(house.scim("GET", "/Groups", filter=f'members[value eq "{two["id"]}"]'))["totalResults"] == 1
    assert body_of(house.scim("GET", "/Groups", filter='displayName eq "readers"'))["totalResults"] == 1
    lean = body_of(house.scim("GET", "/Groups", excludedAttributes="members"))["Resources"][0]
    assert "members" not in lean
    assert house.scim("DELETE", path).status == 204
    assert house.scim("GET", path).status == 404


def test_the_service_describes_itself(house: SealedHouse) -> None:
    config = body_of(house.scim("GET", "/ServiceProviderConfig"))
    assert {name: config[name]["supported"] for name in ("patch", "bulk", "filter", "changePassword", "sort", "etag")} == {
        "patch": True, "bulk": False, "filter": True, "changePassword": False, "sort": False, "etag": True,
    }  # fmt: skip
    types = body_of(house.scim("GET", "/ResourceTypes"))["Resources"]
    assert [kind["endpoint"] for kind in types] == ["/Users", "/Groups"]
    schemas = body_of(house.scim("GET", "/Schemas"))["Resources"]
    assert [schema["id"] for schema in schemas] == [USER, ENTERPRISE, GROUP]
    assert house.scim("GET", f"/Schemas/{USER}").status == 200
    for path in (
        "/Schemas/none",
        "/ResourceTypes/none",
        "/ServiceProviderConfig/x",
        "/Bulk",
        "/",
        "",
        "/Users/a/b",
        "/Me",
    ):
        assert house.scim("GET", path).status == 404, path
    for method, path in (
        ("POST", "/Schemas"),
        ("PUT", "/Users"),
        ("DELETE", "/Users"),
        ("POST", "/Users/x"),
        ("BREW", "/Users"),
    ):
        assert house.scim(method, path).status == 404, path


def test_names_that_are_no_names_become_principals(house: SealedHouse) -> None:
    for name in (
        "Ada.Lovelace@Example.com",
        "Łukasz",
        "名前",
        "..",
        "a..b",
        "---",
        "x" * 255,
        "user:root",
        "../../etc",
    ):
        made = house.joiner(name)
        assert made["userName"] == name
        assert house.principal_of(made["id"]).id.startswith("user:")


WORDS = [
    "userName",
    "eq",
    "pr",
    "and",
    "or",
    "not",
    "(",
    ")",
    "[",
    "]",
    '"x"',
    "true",
    "emails",
    "emails.value",
    "1",
    "null",
    ".x",
    USER,
    "co",
    " ",
]


@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)))
def test_a_filter_is_read_or_refused(text: str) -> None:
    for kind in KINDS:
        with read_or_refused("scim-invalidFilter"):
            found = filters.parse_filter(text, kind)
            assert filters.matches(found, {}) in {True, False}
            assert filters.matches(found, USERS.clean(BABS)) in {True, False}


@given(st.text(alphabet=string.printable, max_size=60))
def test_a_text_compares_with_itself(text: str) -> None:
    found = filters.parse_filter(f"displayName eq {json.dumps(text)}", USERS)
    assert filters.matches(found, {"displayName": text})


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=10)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.one_of(st.text(max_size=8), st.sampled_from([*BABS])), inner, max_size=4)
    ),
    max_leaves=12,
)
PATHS = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.sampled_from(
        [
            "emails",
            "name",
            "members",
            'emails[type eq "work"]',
            'emails[type eq "w"].value',
            ENTERPRISE,
            f"{ENTERPRISE}:manager",
            "active",
        ]
    ),
)


@given(JSON)
def test_a_resource_is_cleaned_or_refused(body: Any) -> None:
    if not isinstance(body, dict):
        return
    for kind in KINDS:
        with read_or_refused("scim-invalidValue"):
            kept = kind.clean(body)
            assert kind.clean(kept) == kept


@given(
    st.lists(
        st.fixed_dictionaries({"op": st.sampled_from(["add", "replace", "remove", "x"]), "path": PATHS, "value": JSON}),
        max_size=4,
    )
)
def test_a_patch_is_carried_out_or_refused_and_leaves_its_input_alone(operations: list[dict[str, Any]]) -> None:
    for kind, before in ((USERS, USERS.clean(BABS)), (GROUPS, {"displayName": "x", "members": [{"value": "1"}]})):
        told = json.dumps(before)
        with read_or_refused("scim-"):
            after = patches.patched(kind, before, {"schemas": [patches.SCHEMA], "Operations": operations})
            assert kind.clean(after) == after
        assert json.dumps(before) == told
