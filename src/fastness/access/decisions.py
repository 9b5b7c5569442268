"""May they? One question to the Cedar policies, answered from a bounded cache where it was asked before.

What Cedar would do that this house does not want, and what is done about it:
- a policy that errors is ignored, so a failing `forbid` would let pass: any error in any policy denies;
- an empty set denies without a word, and a template that nobody links does nothing: neither loads;
- a rule on an attribute that the caller left out never fires: the schema demands the attributes, and refuses others.

Obligations: a rule with `@obliges` asks for something besides the answer (`core.identity.Obligation`). A `forbid` that
obliges is lifted by fulfilling it, and so forbids wherever nobody knows of obligations; a `permit` that obliges permits
only with it. The obligations of all rules that match count, also where another rule permits without them.

The cache key is all that Cedar gets to see, in the bytes it gets to see, so a cached answer is the one Cedar would give.
A resource's name is shown only to sets that speak of names; callers who make up names can then not fill the cache.

Cost: cached, one look-up; cold, linear in the rules that could match (`cedar.py`); `benchmarks/decisions.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Final

import msgspec

from fastness.access.cedar import UNNAMED, Answer, Question, Rules
from fastness.core.clock import SECOND, Instant
from fastness.core.digests import Digest
from fastness.core.identity import Action, Obligation, Principal, Resource, Role

Context = Mapping[str, str | int | bool]

STEP_UP_S: Final = 300
"""How long a second factor counts as given lately."""

_SCHEMA_FILE: Final = "schema.cedar"
_GENERATION: Final = 4096
_encode = msgspec.json.Encoder(order="deterministic").encode
_Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class AccessDecision:
    """What was decided, by which rules, and what it asks for.

    Attributes:
        rules: the `@id` of each policy that decided, sorted; empty where none spoke.
        reason: `permitted`, `forbidden` (by `rules`), `not-permitted` (no rule permits it), `credential-narrowed`
            (the credential leaves this action or model out), `policy-error`, `request-refused` (the request does not fit
            the schema), or, where only an obligation is open, `step-up-required`, `two-persons-required`,
            `mask-required` or `log-required`.
        message: what happened, and so what to change, for people.
        obligations: all that the matching rules oblige to, fulfilled or not.
        open: those of them that are not fulfilled; while there are any, `allow` is false.
    """

    allow: bool
    rules: tuple[str, ...]
    reason: str
    message: str = ""
    obligations: tuple[Obligation, ...] = ()
    open: tuple[Obligation, ...] = ()

    def carrying(self, *carried: Obligation) -> AccessDecision:
        """The decision where the caller carries out `carried`, such as writing the event or masking the reply.

        A second factor cannot be promised: it was given, or it was not.
        """
        left = tuple(o for o in self.open if o is Obligation.STEP_UP or o not in carried)
        return self if left == self.open else _outstanding(self, left)


def _outstanding(decision: AccessDecision, left: tuple[Obligation, ...]) -> AccessDecision:
    reason = f"{left[0]}-required" if left else "permitted"
    return replace(decision, allow=not left, reason=reason, open=left)


class Policies:
    """A set of policies, checked, and the answers it gave lately. Share one; it is safe between threads.

    Args:
        texts: file name to Cedar text. Each policy carries an `@id` of its own, and may carry `@says`, a sentence.
        schema: Cedar schema text; see `policies/schema.cedar`.

    Attributes:
        version: digest of texts and schema.
        rules: what is asked.
        says: rule id to its sentence.

    Raises:
        Invalid: `policies-empty`, or `policies-unloadable` with what is wrong.
    """

    def __init__(self, texts: Mapping[str, str], schema: str) -> None:
        self.texts = dict(sorted(texts.items()))
        self.schema = schema
        self.version = Digest(f"sha256:{hashlib.sha256(_encode([self.texts, schema])).hexdigest()}")
        self.rules = Rules(self.texts, schema)
        self.says = {name: rule.says for name, rule in self.rules.by_id.items()}
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

    def ask(self, question: Question, key: _Key) -> AccessDecision:
        """Ask Cedar itself, and remember the answer unless it is an error. What the decision obliges to is open in it."""
        try:
            ruling, lifted = self.rules.ask(question)
        except (ValueError, TypeError) as error:
            return AccessDecision(allow=False, rules=(), reason="request-refused", message=str(error))
        decision = self._judge(ruling, lifted, question)
        if not ruling.errors and not lifted.errors:
            self._remember(key, decision)
        return decision

    def _judge(self, ruling: Answer, lifted: Answer, question: Question) -> AccessDecision:
        if errors := ruling.errors + lifted.errors:
            rules = tuple(sorted(ruling.forbids | ruling.permits))
            return AccessDecision(allow=False, rules=rules, reason="policy-error", message="; ".join(errors))
        if ruling.forbids:
            rules = tuple(sorted(ruling.forbids))
            return AccessDecision(allow=False, rules=rules, reason="forbidden", message=self._sentences(rules))
        if not ruling.permits:
            held = ", ".join(sorted(question.roles)) or "none"
            message = f"no role of this principal ({held}) permits {question.action}"
            return AccessDecision(allow=False, rules=(), reason="not-permitted", message=message)
        rules = tuple(sorted(ruling.permits | lifted.forbids))
        obliging = tuple(rule for rule in rules if self.rules.by_id[rule].obliges)
        obliged = {self.rules.by_id[rule].obliges for rule in obliging}
        obligations = tuple(each for each in Obligation if each in obliged)
        permitted = AccessDecision(
            allow=True, rules=rules, reason="permitted", message=self._sentences(obliging or rules),
            obligations=obligations,
        )  # fmt: skip
        return _outstanding(permitted, obligations) if obligations else permitted

    def _sentences(self, rules: tuple[str, ...]) -> str:
        return " ".join(self.says[rule] for rule in rules if self.says[rule])


def decide(
    principal: Principal,
    action: Action,
    resource: Resource,
    context: Context,
    policies: Policies,
    now: Instant | None = None,
) -> AccessDecision:
    """Whether `principal` may do `action` to `resource`. What cannot be decided is denied.

    Args:
        context: always `tenant`, whose the resource is; for `model.approve` also `author` (who pushed the version) and for
            `approval.give` (who asked); for `model.deploy` also `author` and `own_approval` (this principal approved the
            version); for what is done to somebody `owner` (whose roles, key, session, limit or grant it is), for
            `key.create` also `owner_kind`. Left out is refused. `policies/schema.cedar` has the list.
        now: tells whether a second factor was given lately; without it, it was not.
    """
    if (principal.actions is not None or principal.models is not None) and (
        left_out := _left_out(principal, action, resource)
    ):
        message = f"the credential used leaves out {left_out[:200]}"
        return AccessDecision(allow=False, rules=(), reason="credential-narrowed", message=message)
    try:
        shown = _encode(context if type(context) is dict else dict(context))
    except (TypeError, ValueError) as error:
        return AccessDecision(allow=False, rules=(), reason="request-refused", message=str(error))
    roles = effective_roles(principal, resource)
    name = resource.id if policies.rules.named else UNNAMED
    key = (
        principal.id,
        principal.tenant,
        principal.kind,
        roles,
        principal.strength,
        principal.actor,
        principal.signed,
        principal.certified,
        action,
        resource.kind,
        name,
        shown,
    )
    decision = policies.cached(key)
    if decision is None:
        decision = policies.ask(Question(principal, roles, action, resource.kind, name, shown), key)
    if Obligation.STEP_UP in decision.open and stepped_up(principal, now):
        return _outstanding(decision, tuple(o for o in decision.open if o is not Obligation.STEP_UP))
    return decision


def stepped_up(principal: Principal, now: Instant | None) -> bool:
    """Whether a second factor was given with this credential in the last five minutes."""
    at = principal.stepped_up_at
    return at is not None and now is not None and at <= now <= at + STEP_UP_S * SECOND


def model_of(resource: Resource) -> str | None:
    """The model that a resource of kind `model` is, or is a version of (`digits`, `digits/3`); None for all else."""
    return resource.id.partition("/")[0] if resource.kind == "model" else None


def effective_roles(principal: Principal, resource: Resource) -> frozenset[Role]:
    """The roles that count for `resource`: those held everywhere, and those held on its model."""
    if not principal.grants or (model := model_of(resource)) is None:
        return principal.roles
    return principal.roles | {grant.role for grant in principal.grants if grant.model == model}


def _left_out(principal: Principal, action: Action, resource: Resource) -> str:
    """What the credential was not left: the action, or the resource; empty where it may be used."""
    if principal.actions is not None and action not in principal.actions:
        return action.value
    if principal.models is not None and model_of(resource) not in principal.models:
        return str(resource)
    return ""
