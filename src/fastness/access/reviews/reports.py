"""Who can do what, and what nobody needs: as rows and as findings, from the rules in force and from what was really used.

Last uses come from the log; they are as fresh as the job that reads it (`access.directory.use`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fastness.access import duties
from fastness.access import records as people
from fastness.access.decisions import Policies
from fastness.access.directory import use
from fastness.access.records import PrincipalRow
from fastness.access.reviews.rights import Rights, Uses
from fastness.core.clock import SECOND, Instant, rfc3339
from fastness.core.findings import Finding, Rule, Severity, Verdict, judge
from fastness.core.identity import Action, PrincipalId
from fastness.foundation.storage import Reading

DAY_NS = 86_400 * SECOND

DORMANT = Rule(
    "access-dormant-principal", "Somebody who has not come for long still may", Severity.MEDIUM,
    "What nobody uses, nobody misses when it is stolen.", "Deactivate them; taking them back is one step.",
    {"cwe": "CWE-1390"},
)  # fmt: skip
DORMANT_KEY = Rule(
    "access-dormant-key", "An API key that is not used is still good", Severity.LOW,
    "A forgotten key is found by somebody else.", "Revoke it.", {"cwe": "CWE-324"},
)  # fmt: skip
EXCESSIVE = Rule(
    "access-unused-role", "A role is held and not used", Severity.LOW,
    "Rights beyond what the work needs only serve who takes over the account.", "Take the role away.",
    {"cwe": "CWE-250"},
)  # fmt: skip
LONG_KEY = Rule(
    "access-key-long-lived", "An API key does not end for more than a year", Severity.LOW,
    "The longer a key is good, the more often it was copied.", "Rotate it to one that ends sooner.",
    {"cwe": "CWE-324"},
)  # fmt: skip
ENDING_KEY = Rule(
    "access-key-ending", "An API key that is in use ends soon", Severity.INFO,
    "What works with it stops working.", "Rotate it with an overlap.",
)  # fmt: skip
RULES = (DORMANT, DORMANT_KEY, EXCESSIVE, LONG_KEY, ENDING_KEY)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When something stands out, in days."""

    dormant: int = 90
    unused: int = 90
    long: int = 366
    ending: int = 14


@dataclass(frozen=True, slots=True)
class Reach:
    """What somebody may do: everywhere in the tenant, and to single models."""

    principal: PrincipalId
    active: bool
    actions: frozenset[Action]
    on_models: dict[str, frozenset[Action]]
    last_seen_at: Instant | None


def who_can(reading: Reading, policies: Policies, now: Instant) -> list[Reach]:
    """Everybody in the tenant with all that they may do; nothing for who is not active.

    Raises:
        Conflict: `rights-undecided`: the policies give errors.
    """
    rights = Rights(policies, reading.scope.tenant, now)
    uses = Uses(use.last_uses(reading), rights)
    return [_reach(row, rights, uses) for row in people.find_principals(reading).values()]


def _reach(row: PrincipalRow, rights: Rights, uses: Uses) -> Reach:
    seen = uses.of_anything(row.id)
    if not row.active:
        return Reach(row.id, active=False, actions=frozenset(), on_models={}, last_seen_at=seen)
    everywhere = rights.permitted(row.kind, row.roles)
    on_models = {
        model: rights.permitted(
            row.kind, row.roles | {grant.role for grant in row.grants if grant.model == model}, of_model=True
        ) - everywhere
        for model in sorted({grant.model for grant in row.grants})
    }  # fmt: skip
    return Reach(row.id, active=True, actions=everywhere, on_models=on_models, last_seen_at=seen)


def findings(reading: Reading, policies: Policies, now: Instant, thresholds: Thresholds | None = None) -> Verdict:
    """What stands out in the tenant: who and what is dormant, unused, long-lived, ending, or in one hand too many.

    Raises:
        Conflict: `rights-undecided`.
    """
    limits = thresholds or Thresholds()
    uses = Uses(use.last_uses(reading), Rights(policies, reading.scope.tenant, now))
    everybody = [row for row in people.find_principals(reading).values() if row.active]
    found = [finding for row in everybody for finding in _about(row, uses, now, limits)]
    found.extend(_about_keys(reading, {row.id for row in everybody}, uses, now, limits))
    grants = [(row.id, grant) for row in everybody for grant in row.grants]
    return judge([*found, *duties.conflicts(reading, grants).findings])


def _about(row: PrincipalRow, uses: Uses, now: Instant, limits: Thresholds) -> Iterable[Finding]:
    seen = uses.of_anything(row.id)
    if _idle(seen, row.created_at, now, limits.dormant):
        yield _finding(DORMANT, f"principal:{row.id}", f"{row.id} was last seen {_told(seen)}", seen)
        return
    for role in sorted(row.roles):
        used = uses.of_roles(row.id, row.kind, frozenset({role}))
        if _idle(used, row.created_at, now, limits.unused):
            yield _finding(EXCESSIVE, f"principal:{row.id}", f"{row.id} used {role} last {_told(used)}", used)
    for grant in sorted(row.grants):
        used = uses.of_grant(row.id, row.kind, grant)
        if _idle(used, row.created_at, now, limits.unused):
            text = f"{row.id} used {grant.role} of {grant.model} last {_told(used)}"
            yield _finding(EXCESSIVE, f"principal:{row.id}", text, used)


def _about_keys(
    reading: Reading, active: set[PrincipalId], uses: Uses, now: Instant, limits: Thresholds
) -> Iterable[Finding]:
    for key in people.find_keys(reading):
        if key.revoked or key.expires_at <= now or key.principal not in active:
            continue
        where, used = f"key:{key.key_id}", uses.of_key(key.principal, key.key_id)
        idle = _idle(used, key.created_at, now, limits.dormant)
        if idle:
            yield _finding(DORMANT_KEY, where, f"{key.key_id} of {key.principal} was used {_told(used)}", used)
        if key.expires_at - now > limits.long * DAY_NS:
            yield _finding(
                LONG_KEY, where, f"{key.key_id} of {key.principal} ends {rfc3339(key.expires_at)[:10]}", used
            )
        if not idle and not key.successor and key.expires_at - now <= limits.ending * DAY_NS:
            yield _finding(
                ENDING_KEY, where, f"{key.key_id} of {key.principal} ends {rfc3339(key.expires_at)[:10]}", used
            )


def _idle(used: Instant | None, since: Instant, now: Instant, days: int) -> bool:
    return now - (used if used is not None else since) > days * DAY_NS


def _told(at: Instant | None) -> str:
    return "never" if at is None else rfc3339(at)[:10]


def _finding(rule: Rule, where: str, message: str, used: Instant | None) -> Finding:
    return Finding(rule.id, rule.severity, where, message, {"last_used": _told(used)})
