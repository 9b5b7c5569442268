"""What rules are looked up by; what Cedar itself says of whole sets stands in `tests/property/test_access_rules.py`."""

from __future__ import annotations

import cedarpy
import msgspec
import pytest

from fastness.access.guards import Guard, Policy, condition, either, guards, read_policy

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def policy(text: str) -> Policy:
    (one,) = _members(_members(cedarpy.policies_to_json_str(text))["staticPolicies"]).values()
    return read_policy(one)


def shown(guard: Guard) -> str:
    return ", ".join(sorted(f"{atom.path} {'^' if atom.starts else '='} {atom.value}" for atom in guard))


GUARDS = {
    "nothing": ("principal, action, resource", "", []),
    "a role": ('principal in Role::"viewer", action, resource', "", ["role = text:viewer"]),
    "a principal": ('principal == Principal::"u", action, resource', "", ["principal.id = text:u"]),
    "a resource": ('principal, action, resource in Resource::"d"', "", ["resource.name = text:d"]),
    "a group of principals that nobody is in": ('principal in Group::"g", action, resource', "", []),
    "text": ("", 'resource.name == "d"', ["resource.name = text:d"]),
    "turned round": ("", '"d" == resource.name', ["resource.name = text:d"]),
    "truth is not one": ("", "context.version == 1 && context.own == true", ["context.version = int:1", "context.own = bool:True"]),
    "one of a list": ("", '["a", "b"].contains(resource.name)', ["resource.name = text:a, resource.name = text:b"]),
    "a list with more than literals": ("", '["a", context.tenant].contains(resource.name)', []),
    "either": ("", 'resource.name == "a" || principal.id == "u"', ["principal.id = text:u, resource.name = text:a"]),
    "either, one untold": ("", 'resource.name == "a" || principal.id == context.owner', []),
    "an order": ("", "principal.strength >= 3", ["principal.strength = int:3, principal.strength = int:4"]),
    "an order turned round": ("", "1 > principal.strength", ["principal.strength = int:0"]),
    "an order never met": ("", "principal.strength > 4", [""]),
    "an order of something else": ("", "context.version >= 3", []),
    "not": ("", "!principal.signed", ["principal.signed = bool:False"]),
    "unless": ("", "true } unless { principal.strength >= 1", ["principal.strength = int:0"]),
    "not, of what may be anything": ("", '!(resource.name == "a")', []),
    "a beginning": ("", r'resource.name like "a\*b*c"', ["resource.name ^ a*b"]),
    "no beginning": ("", 'resource.name like "*c"', []),
    "unequal": ("", 'resource.name != "a"', []),
    "an attribute that no question has": ("", 'principal.mail == "a" && resource.name == "d"', []),
    "after what cannot err": (
        "",
        'context has version && principal.tenant == context.tenant && resource.name == "d"',
        ["resource.name = text:d"],
    ),
    "after what may err": ("", 'context.version + 1 > 2 && resource.name == "d"', []),
    "after what may err, in another clause": ("", 'context.version + 1 > 2 } when { resource.name == "d"', []),
    "after an unless that may err": ("", 'true } unless { context.version + 1 > 2 } when { resource.name == "d"', []),
    "within an if": ("", 'if principal.signed then resource.name == "d" else true', []),
}  # fmt: skip


@pytest.mark.parametrize(("scope", "body", "expected"), GUARDS.values(), ids=GUARDS)
def test_guards_are_what_must_hold(scope: str, body: str, expected: list[str]) -> None:
    when = f" when {{ {body} }}" if body else ""
    assert [
        shown(guard) for guard in guards(policy(f"permit ({scope or 'principal, action, resource'}){when};"))
    ] == expected


def test_a_guard_of_too_many_values_is_none() -> None:
    names = ", ".join(f'"m{n}"' for n in range(65))
    assert guards(policy(f"permit (principal, action, resource) when {{ [{names}].contains(resource.name) }};")) == []


def test_the_longest_condition_that_loads_is_read() -> None:
    body = " || ".join(f'resource.name == "m{n}"' for n in range(100))
    long = policy(f"permit (principal, action, resource) when {{ {body} }};")
    assert guards(long) == []
    assert either([condition(long)] * 16)


def test_a_scope_of_an_unknown_form_has_no_condition() -> None:
    assert condition(policy("permit (principal is Principal, action, resource);")) is None
    assert condition(policy("permit (principal, action, resource);")) == {"Value": True}
