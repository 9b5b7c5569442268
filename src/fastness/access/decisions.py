"""May they? One question to the Cedar policies, answered from a bounded cache where it was asked before.

What Cedar would do that this house does not want, and what is done about it:
- a policy that errors is ignored, so a failing `forbid` would let pass: any error in any policy denies;
- an empty set denies without a word, and a template that nobody links does nothing: neither loads;
- a rule on an attribute that the caller left out never fires: the schema demands the attributes, and refuses others.

The cache key is all that Cedar gets to see, in the bytes it gets to see, so a cached answer is the one Cedar would give.
A resource's name is shown only to sets that speak of names; callers who make up names can then not fill the cache.

Cost: cold, linear in the policies whose scope names the action or all actions; `benchmarks/decisions.py`.
Source: Cutler et al., "Cedar: A New Language for Expressive, Fast, Safe, and Analyzable Authorization", OOPSLA 2024.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

import cedarpy
import msgspec

from fastness.core.digests import Digest
from fastness.core.errors import Invalid
from fastness.core.identity import Action, Principal, Resource

Context = Mapping[str, str | int | bool]

_SCHEMA_FILE: Final = "schema.cedar"
_UNNAMED: Final = "*"
_GENERATION: Final = 4096
_encode = msgspec.json.Encoder(order="deterministic").encode
_Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class AccessDecision:
    """What was decided, and by which rules.

    Attributes:
        rules: the `@id` of each policy that decided, sorted; empty where none spoke.
        reason: `permitted`, `forbidden` (by `rules`), `not-permitted` (no rule permits it), `credential-narrowed`
            (the key leaves this action out), `policy-error`, or `request-refused` (the request does not fit the schema).
        message: what happened, and so what to change, for people.
    """

    allow: bool
    rules: tuple[str, ...]
    reason: str
    message: str = ""


class _Entity(msgspec.Struct, frozen=True):
    type: str
    id: str


class _Scope(msgspec.Struct, frozen=True):
    op: str
    entity: _Entity | None = None
    entities: tuple[_Entity, ...] = ()


class _Policy(msgspec.Struct, frozen=True):
    action: _Scope
    annotations: dict[str, str | None] = {}


class _PolicySet(msgspec.Struct, frozen=True, rename="camel"):
    static_policies: dict[str, msgspec.Raw]
    templates: dict[str, msgspec.Raw] = {}
    template_links: list[msgspec.Raw] = []


class Policies:
    """A set of policies, checked, and the answers it gave lately. Share one; it is safe between threads.

    Args:
        texts: file name to Cedar text. Each policy carries an `@id` of its own, and may carry `@says`, a sentence.
        schema: Cedar schema text; see `policies/schema.cedar`.

    Attributes:
        version: digest of texts and schema.
        says: rule id to its sentence.

    Raises:
        Invalid: `policies-empty`, or `policies-unloadable` with what is wrong.
    """

    def __init__(self, texts: Mapping[str, str], schema: str) -> None:
        self.texts = dict(sorted(texts.items()))
        self.schema = schema
        self.version = Digest(f"sha256:{hashlib.sha256(_encode([self.texts, schema])).hexdigest()}")
        try:
            self._schema = cedarpy.Schema.from_str(schema)
            whole = cedarpy.policies_to_json_str("\n".join(self.texts.values()))
            parsed = msgspec.json.decode(whole, type=_PolicySet)
            _validate(self.texts, self._schema)
            policies = {name: msgspec.json.decode(raw, type=_Policy) for name, raw in parsed.static_policies.items()}
            self.says = _sentences(policies, parsed)
            self._sets = {action: _subset(action, policies, parsed) for action in Action}
        except (ValueError, msgspec.MsgspecError) as error:
            raise Invalid(
                "policies-unloadable", f"the policies do not load: {error}", "Mend the policy named."
            ) from error
        self._named = _speaks_of_names(whole)
        self._young: dict[_Key, AccessDecision] = {}
        self._old: dict[_Key, AccessDecision] = {}

    @classmethod
    def shipped(cls) -> Policies:
        """The policies that come with the house."""
        folder = resources.files("fastness.access.policies")
        files = {file.name: file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".cedar")}
        schema = files.pop(_SCHEMA_FILE)
        return cls(files, schema)

    @classmethod
    def from_texts(cls, texts: Mapping[str, str], schema: str | None = None) -> Policies:
        """The policies in `texts` and nothing else, on the shipped schema unless another is given.

        Raises:
            Invalid: `policies-empty` or `policies-unloadable`.
        """
        if schema is None:
            schema = resources.files("fastness.access.policies").joinpath(_SCHEMA_FILE).read_text("utf-8")
        return cls(texts, schema)

    def cached(self, key: _Key) -> AccessDecision | None:
        """The answer given to `key` before, if it is still remembered."""
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self._remember(key, found)
        return found

    def _remember(self, key: _Key, decision: AccessDecision) -> None:
        """Keep `decision`; of two generations the older goes when the younger is full, so memory is bounded."""
        if len(self._young) >= _GENERATION:
            self._old, self._young = self._young, {}
        self._young[key] = decision

    def name_shown(self, resource: Resource) -> str:
        """The resource's name where a policy speaks of names, else the same for all."""
        return resource.id if self._named else _UNNAMED

    def ask(
        self, principal: Principal, action: Action, resource: Resource, context: bytes, key: _Key
    ) -> AccessDecision:
        """Ask Cedar itself, and remember the answer unless it is an error."""
        name = self.name_shown(resource)
        request = {
            "principal": {"type": "Principal", "id": principal.id},
            "action": {"type": "Action", "id": action.value},
            "resource": {"type": "Resource", "id": name},
            "context": context.decode("utf-8"),
        }
        try:
            entities = _entities(principal, resource.kind, name)
            result = cedarpy.is_authorized(request, self._sets[action], entities, self._schema)
        except (ValueError, TypeError) as error:
            return AccessDecision(allow=False, rules=(), reason="request-refused", message=str(error))
        decision = self._judge(result, principal, action)
        if not result.diagnostics.errors:
            self._remember(key, decision)
        return decision

    def _judge(self, result: cedarpy.AuthzResult, principal: Principal, action: Action) -> AccessDecision:
        found = result.diagnostics
        rules = tuple(sorted({found.id_annotations_by_reason.get(reason, "") for reason in found.reasons}))
        if found.errors or result.decision is cedarpy.Decision.NoDecision:
            reason = "request-refused" if result.decision is cedarpy.Decision.NoDecision else "policy-error"
            return AccessDecision(allow=False, rules=rules, reason=reason, message="; ".join(found.errors))
        says = " ".join(self.says[rule] for rule in rules if self.says.get(rule))
        if result.allowed and rules:
            return AccessDecision(allow=True, rules=rules, reason="permitted", message=says)
        if rules:
            return AccessDecision(allow=False, rules=rules, reason="forbidden", message=says)
        held = ", ".join(sorted(principal.roles)) or "none"
        return AccessDecision(
            allow=False,
            rules=(),
            reason="not-permitted",
            message=f"no role of this principal ({held}) permits {action}",
        )


def decide(
    principal: Principal, action: Action, resource: Resource, context: Context, policies: Policies
) -> AccessDecision:
    """Whether `principal` may do `action` to `resource`. What cannot be decided is denied.

    Args:
        context: always `tenant`, whose the resource is; for `model.approve` also `author` (who pushed the version); for
            `model.deploy` also `author` and `own_approval` (this principal approved the version); for `role.grant` and
            `key.revoke` also `owner` (whose roles or key), for `key.create` also `owner` and `owner_kind`. Left out is
            refused. `policies/schema.cedar` has the list.
    """
    if principal.actions is not None and action not in principal.actions:
        return AccessDecision(
            allow=False, rules=(), reason="credential-narrowed", message=f"the credential used leaves out {action}"
        )
    try:
        shown = _encode(context if type(context) is dict else dict(context))
    except (TypeError, ValueError) as error:
        return AccessDecision(allow=False, rules=(), reason="request-refused", message=str(error))
    key = (
        principal.id,
        principal.tenant,
        principal.kind,
        principal.roles,
        principal.strength,
        action,
        resource.kind,
        policies.name_shown(resource),
        shown,
    )
    return policies.cached(key) or policies.ask(principal, action, resource, shown, key)


def _entities(principal: Principal, kind: str, name: str) -> str:
    return _encode(
        [
            {
                "uid": {"type": "Principal", "id": principal.id},
                "attrs": {
                    "id": principal.id,
                    "kind": principal.kind,
                    "tenant": principal.tenant,
                    "strength": int(principal.strength),
                },
                "parents": [{"type": "Role", "id": role} for role in sorted(principal.roles)],
            },
            {"uid": {"type": "Resource", "id": name}, "attrs": {"kind": kind, "name": name}, "parents": []},
        ]
    ).decode("utf-8")


def _validate(texts: Mapping[str, str], schema: cedarpy.Schema) -> None:
    for name, text in texts.items():
        result = cedarpy.validate_policies(text, schema)
        if not result.validation_passed:
            raise ValueError(f"{name}: " + "; ".join(str(error) for error in result.errors))


def _sentences(policies: Mapping[str, _Policy], parsed: _PolicySet) -> dict[str, str]:
    """Rule id to sentence; refuses what would decide nothing, or could not be named in the record."""
    if parsed.templates or parsed.template_links:
        raise ValueError("templates (?principal, ?resource) are not supported; write the policy out")
    if not policies:
        raise Invalid("policies-empty", "there are no policies, so nothing would be permitted", "Load at least one.")
    says: dict[str, str] = {}
    for policy in policies.values():
        rule = policy.annotations.get("id")
        if not rule:
            raise ValueError("a policy lacks its @id(…)")
        if rule in says:
            raise ValueError(f"two policies are called @id({rule!r})")
        says[rule] = policy.annotations.get("says") or ""
    return says


def _subset(action: Action, policies: Mapping[str, _Policy], parsed: _PolicySet) -> cedarpy.PolicySet:
    """The policies whose scope takes in `action`; any other can neither match nor err on it."""
    kept = {
        name: parsed.static_policies[name]
        for name, policy in policies.items()
        if policy.action.op == "All" or action in _actions(policy.action)
    }
    whole = {"staticPolicies": kept, "templates": {}, "templateLinks": []}
    return cedarpy.PolicySet.from_str(cedarpy.policies_from_json_str(_encode(whole).decode("utf-8")))


def _actions(scope: _Scope) -> frozenset[str]:
    entities = (scope.entity, *scope.entities)
    unknown = {e.id for e in entities if e is not None} - set(Action)
    if scope.op not in {"==", "in"} or unknown:  # an action group of a foreign schema would hide its members
        raise ValueError(f"the scope of a policy names no known action: {scope.op} {sorted(unknown)}")
    return frozenset(e.id for e in entities if e is not None)


def _speaks_of_names(policies_json: str) -> bool:
    """Whether any policy could tell two resources of one kind apart. Rather once too often: then the cache knows more."""
    text = msgspec.json.encode(msgspec.json.decode(policies_json))
    return b'"type":"Resource"' in text or b'"attr":"name"' in text
