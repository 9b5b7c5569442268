"""Separation of duties: who holds what does not go together, and what a session may no longer do.

The rules that hold for one thing and one person (author, approver, deployer) are policies. Here stands what they cannot see:
combinations of roles in one hand, reported with their reasons; and the acts of one session or one elevation, where the second
half of a toxic pair on the same thing is refused in whosever name it is asked, so that a delegation does not help.

What it misses: a person with two sessions; the policies know the person.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from fastness.access import records as people
from fastness.access.duties import records
from fastness.access.duties.toxic import ACTS, pairs_in
from fastness.core.clock import SECOND, Instant
from fastness.core.errors import Forbidden
from fastness.core.findings import Finding, Rule, Severity, Verdict, judge
from fastness.core.identity import Action, Grant, PrincipalId, Role
from fastness.foundation.storage import Reading, Transaction

CONFLICT = Rule(
    "duties-conflict",
    "One hand holds roles that do not go together",
    Severity.HIGH,
    "Each role checks the other; in one hand neither is checked.",
    "Take one of the roles away, or record why it stays in the next review.",
    {"cwe": "CWE-1317"},
)
RULES = (CONFLICT,)
_KEPT_NS = 12 * 3_600 * SECOND  # as long as a session lives
_TOXIC = {frozenset[str]({pair.one, pair.two}): pair for pair in ACTS}


def conflicts(reading: Reading, granted: Iterable[tuple[PrincipalId, Grant]] = ()) -> Verdict:
    """Who of the active principals holds roles that do not go together: a finding each, the worst deciding.

    Args:
        granted: roles held on single models; they meet the roles held everywhere, and each other on the same model.
    """
    on_models: dict[PrincipalId, list[Grant]] = {}
    for principal, grant in granted:
        on_models.setdefault(principal, []).append(grant)
    everybody = [person for person in people.find_principals(reading).values() if person.active]
    return judge(
        chain.from_iterable(_found(person.id, person.roles, on_models.get(person.id, [])) for person in everybody)
    )


def _found(principal: PrincipalId, roles: frozenset[Role], grants: Iterable[Grant]) -> Iterable[Finding]:
    for pair, model in pairs_in(roles, grants):
        where = f" on {model}" if model else ""
        yield Finding(
            CONFLICT.id,
            pair.severity,
            f"principal:{principal}",
            f"{principal} is {pair.one} and {pair.two}{where}: {pair.why}",
            {"one": pair.one, "two": pair.two, "model": model},
        )


def note(tx: Transaction, session: str, action: Action, subject: str) -> bool:
    """Keep that `action` was done to `subject` in a session; call it in the transaction of the act, which has its event.

    Args:
        session: id of the session, elevation or credential.
        subject: such as `model:digits/3`; the same for both halves of a pair.

    Returns:
        Whether it was the first time.
    """
    records.drop_acts(tx, Instant(tx.now - _KEPT_NS))
    first = all(row.action != action for row in records.find_acts(tx, session, subject))
    records.add_act(tx, session, action, subject)
    return first


def unnote(tx: Transaction, session: str, action: Action, subject: str, at: Instant) -> None:
    """Forget what was noted at `at`, for the first time, and did not come about; noted again since, it stays."""
    records.drop_act(tx, session, action, subject, at)


def require_separate(reading: Reading, session: str, action: Action, subject: str) -> None:
    """Return if nothing done in this session bars it from doing `action` to `subject`.

    Raises:
        Forbidden: `duties-in-session`.
    """
    for row in records.find_acts(reading, session, subject):
        pair = _TOXIC.get(frozenset[str]({action, row.action}))
        if pair is not None and row.action != action:
            raise Forbidden(
                "duties-in-session",
                f"this session has done {row.action} to {subject[:128]}, so it does not do {action}: {pair.why}",
                "Let another person do it.",
            )
