"""What others have to approve before it is done: their word is looked for, taken once, and given back where nothing came of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from fastness.access import AccessDecision
from fastness.access.approvals import requests
from fastness.app import House
from fastness.core.digests import Digest
from fastness.core.errors import Conflict, Forbidden
from fastness.core.identity import Action, Obligation, Scope
from fastness.wire.rules import Operation

OPERATION: Final = "operation:"
"""Begins the purpose of approvals of operations; what is proposed in another way has another purpose."""
REQUIRED: Final = "approval-required"
_HINT: Final = (
    "Ask them: repeat the command with --ask REASON, or POST /api/v1/approvals with this operation and its digest. "
    "When they have said yes, repeat it as it is."
)


@dataclass(slots=True)
class Approvable:
    """A request that others can approve.

    Attributes:
        scope: in whose name it is made.
        taken: the approval requests that were taken for it, by permission.
    """

    scope: Scope
    operation: Operation
    taken: dict[Action, str] = field(default_factory=dict)


def refusal(asked: Approvable | None, action: Action, decision: AccessDecision) -> Forbidden:
    """What the caller is told where the word of others is missing."""
    subject = asked.operation.digest if asked is not None else ""
    return Forbidden(REQUIRED, decision.message, _HINT, subject, action.value)


class Approvals:
    """The approvals of operations of one house."""

    def __init__(self, house: House) -> None:
        self._house = house

    def settle(self, asked: Approvable | None, action: Action, decision: AccessDecision) -> AccessDecision:
        """The decision once others have had their say: allowed where they have approved, which is taken, else `approval-required`.

        Args:
            asked: None where nobody can be asked; what takes approvals is then refused.
        """
        if set(decision.open) - {Obligation.TWO_PERSONS} or not (decision.allow or decision.open):
            return decision  # something else stands against it
        needed = self._house.settings.approvals.needed_for(action, obliged=bool(decision.open))
        if not needed:
            return decision
        if asked is None:
            return replace(decision, allow=False, reason="two-persons-required", open=(Obligation.TWO_PERSONS,))
        missing = self._take(asked, action, needed)
        if missing:
            message = f"{action} takes the approval of {needed} others: {missing}"
            return replace(decision, allow=False, reason=REQUIRED, message=message, open=(Obligation.TWO_PERSONS,))
        return decision.carrying(Obligation.TWO_PERSONS)

    def give_back(self, asked: Approvable) -> None:
        """Return the approvals that were taken for a request that was then refused."""
        with self._house.records.begin(asked.scope, self._house.clock.now()) as tx:
            for request in asked.taken.values():
                requests.give_back(tx, request)

    def _take(self, asked: Approvable, action: Action, needed: int) -> str:
        """Take what others have approved of this very operation, once; what is missing, or nothing."""
        if action in asked.taken:
            return ""
        purpose, subject = f"{OPERATION}{action}", Digest(asked.operation.digest)
        missing = "nobody was asked yet"
        with self._house.records.begin(asked.scope, self._house.clock.now()) as tx:
            for found in requests.pending(tx, purpose, subject, tx.now):
                try:
                    requests.use(tx, found.id, purpose, subject, needed)
                except Conflict as error:
                    missing = f"request {found.id}: {error.message}"
                    continue
                asked.taken[action] = found.id
                return ""
        return missing
