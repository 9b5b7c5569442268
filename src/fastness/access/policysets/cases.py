"""Cases that rules must decide as written, to be run before rules are put into force.

```yaml
cases:
  - name: the night shift may take back
    principal: {id: "user:nora", roles: [operator], stepped_up: true}
    action: model.rollback
    resource: model:digits
    expect: allow
    by: [operator]
```

What is left out: a person of the tenant `default` with a key and no roles; the context holds the tenant besides what is given. `by`
names the rules that must have decided, `obligations` what they must ask for; both only where given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated

import msgspec
import yaml

from fastness.access.decisions import AccessDecision, Policies, decide
from fastness.core.clock import Instant
from fastness.core.errors import Invalid
from fastness.core.findings import Finding, Rule, Severity, Verdict, judge
from fastness.core.identity import (
    DEFAULT_TENANT,
    Action,
    Grant,
    Obligation,
    Principal,
    PrincipalId,
    PrincipalKind,
    Resource,
    Role,
    Strength,
    TenantId,
)

FAILED = Rule(
    "policy-case",
    "The rules decide otherwise than a case says",
    Severity.HIGH,
    "A case says what the rules are meant to do.",
    "Mend the rule, or the case.",
)
RULES = (FAILED,)
MOST_BYTES = 1 << 18
MOST_CASES = 500
LONGEST_S = 10.0
_FEW = msgspec.Meta(max_length=100)
_AT = Instant(0)
_DEEPEST = 16
_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class CaseGrant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role on one model."""

    role: Role
    model: str


class CasePrincipal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who asks; see `core.identity.Principal`."""

    id: PrincipalId
    roles: Annotated[tuple[Role, ...], _FEW] = ()
    tenant: TenantId = DEFAULT_TENANT
    strength: str = "key"
    grants: Annotated[tuple[CaseGrant, ...], _FEW] = ()
    actions: Annotated[tuple[Action, ...], _FEW] | None = None
    models: Annotated[tuple[str, ...], _FEW] | None = None
    actor: PrincipalId = PrincipalId("")
    stepped_up: bool = False
    signed: bool = False
    certified: bool = False


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked, and what is to be answered."""

    name: str
    principal: CasePrincipal
    action: Action
    resource: str
    expect: str
    context: Annotated[dict[str, str | int | bool], _FEW] = {}
    by: Annotated[tuple[str, ...], _FEW] | None = None
    obligations: Annotated[tuple[Obligation, ...], _FEW] | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cases: Annotated[tuple[Case, ...], msgspec.Meta(max_length=MOST_CASES)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case; `wrong` says what differs, or nothing."""

    case: Case
    decision: AccessDecision
    wrong: str


def read_cases(data: bytes) -> tuple[Case, ...]:
    """The cases of a YAML (or JSON) file.

    Raises:
        Invalid: it is too large, no such file, holds no case, or a case expects neither allow nor deny.
    """
    if len(data) > MOST_BYTES:
        raise Invalid("cases-large", f"a file of cases has at most {MOST_BYTES} bytes", "Try fewer at once.")
    try:
        _require_flat(data)
        cases = msgspec.yaml.decode(data, type=_File).cases
        for case in cases:
            _principal(case.principal)
    except (msgspec.MsgspecError, yaml.YAMLError, RecursionError, KeyError, ValueError) as error:
        raise Invalid("cases-malformed", f"this is no file of cases: {str(error)[:300]}") from error
    if not cases:
        raise Invalid("cases-empty", "there are no cases, so nothing would be tested", "Write at least one.")
    if wrong := [case.name for case in cases if case.expect not in {"allow", "deny"}]:
        raise Invalid("cases-malformed", f"{wrong[0]!r} expects neither allow nor deny")
    return cases


def run_cases(cases: Iterable[Case], policies: Policies, late: Callable[[], bool] = lambda: False) -> list[Outcome]:
    """What the rules decide in each case.

    An obligation that the caller would carry out counts as carried out; a second factor counts as the case says.

    Args:
        late: asked before each case: whether it has taken too long.

    Raises:
        Invalid: `cases-slow`, it has.
    """
    outcomes: list[Outcome] = []
    for case in cases:
        if late():
            raise Invalid(
                "cases-slow", f"after {len(outcomes)} cases the time was up", "Try fewer cases, or fewer rules."
            )
        outcomes.append(_run(case, policies))
    return outcomes


def verdict_of(outcomes: Iterable[Outcome]) -> Verdict:
    """ALLOW where all cases went as written, else DENY with a finding each."""
    return judge(
        Finding(FAILED.id, FAILED.severity, f"case:{outcome.case.name}", outcome.wrong)
        for outcome in outcomes
        if outcome.wrong
    )


def _require_flat(data: bytes) -> None:
    """Return if nothing in a file lies deeper than a case has parts: what makes objects of it walks it by recursion.

    Raises:
        ValueError: something does.
        yaml.YAMLError: it is no YAML.
    """
    depth = 0
    for event in yaml.parse(data.decode("utf-8"), Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError(f"lists and tables lie within each other more than {_DEEPEST} deep")


def _run(case: Case, policies: Policies) -> Outcome:
    principal = _principal(case.principal)
    kind, _, name = case.resource.partition(":")
    context = {"tenant": principal.tenant, **case.context}
    asked = decide(principal, case.action, Resource(kind, name), context, policies, _AT)
    decision = asked.carrying(Obligation.TWO_PERSONS, Obligation.MASK, Obligation.LOG)
    wrong = []
    if decision.allow is not (case.expect == "allow"):
        wrong.append(f"expected {case.expect}, got {decision.reason}: {decision.message}")
    if case.by is not None and set(case.by) != set(decision.rules):
        wrong.append(f"expected by {', '.join(case.by) or 'no rule'}, got {', '.join(decision.rules) or 'none'}")
    if case.obligations is not None and set(case.obligations) != set(decision.obligations):
        wrong.append(f"expected obligations {list(case.obligations)}, got {list(decision.obligations)}")
    return Outcome(case, decision, "; ".join(wrong))


def _principal(who: CasePrincipal) -> Principal:
    return Principal(
        PrincipalKind(who.id.partition(":")[0]),
        who.id,
        who.tenant,
        frozenset(who.roles),
        Strength[who.strength.upper()],
        _AT,
        None if who.actions is None else frozenset(who.actions),
        None if who.models is None else frozenset(who.models),
        frozenset(Grant(grant.role, grant.model) for grant in who.grants),
        _AT if who.stepped_up else None,
        who.actor,
        who.signed,
        who.certified,
    )
