"""What takes the word of several besides what the rules in force oblige to, and on what terms it is given."""

from __future__ import annotations

from dataclasses import dataclass

from fastness.access.approvals.requests import LONGEST_S, MOST_NEEDED
from fastness.core.identity import Action, Role
from fastness.core.settings import InvalidSetting

_HOUR_S = 3600.0


@dataclass(frozen=True)
class ApprovalSettings:
    """Approvals of what is done once.

    Attributes:
        actions: actions that take approvals whatever the rules say, such as `allowance.grant`, or `model.deploy=1` where
            another number is needed.
        needed: how many persons besides the one who asks, 1 to 20, where `actions` says nothing else.
        roles: an approver holds one of them.
        hours: how long a request stands where it does not say, more than 0 and at most 720.
    """

    actions: tuple[str, ...] = ()
    needed: int = 2
    roles: tuple[str, ...] = (Role.APPROVER, Role.SECURITY_OFFICER)
    hours: float = 168.0

    def __post_init__(self) -> None:
        if not 1 <= self.needed <= MOST_NEEDED:
            raise InvalidSetting("approvals.needed", f"is 1 to {MOST_NEEDED}")
        if not self.roles or set(self.roles) - set(Role):
            raise InvalidSetting("approvals.roles", f"are of {', '.join(Role)}, and at least one")
        if not 0 < self.hours * _HOUR_S <= LONGEST_S:
            raise InvalidSetting("approvals.hours", "is more than 0 and at most 720")
        for text in self.actions:
            name, separator, number = text.partition("=")
            fits = number.isascii() and number.isdigit() and 1 <= int(number[:3]) <= MOST_NEEDED
            if name not in set(Action) or (separator and not fits):
                raise InvalidSetting("approvals.actions", f"{text[:80]!r} is neither an action nor ACTION=NUMBER")

    @property
    def whose(self) -> frozenset[Role]:
        """The roles whose holders count."""
        return frozenset(map(Role, self.roles))

    def needed_for(self, action: Action, *, obliged: bool) -> int:
        """How many persons an action takes; 0 where it takes none.

        Args:
            obliged: whether a rule in force obliges to approvals.
        """
        for text in self.actions:
            name, _, number = text.partition("=")
            if name == action:
                return int(number) if number else self.needed
        return self.needed if obliged else 0
