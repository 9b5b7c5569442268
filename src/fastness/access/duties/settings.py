"""What becomes of roles that do not go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastness.core.settings import InvalidSetting

_REPORT: Final = "report"
_REFUSE: Final = "refuse"


@dataclass(frozen=True)
class DutySettings:
    """Roles that do not go together in one hand: which ones, [policies](policies.md#duties-that-are-kept-apart) says.

    Attributes:
        conflicts: "report" shows who holds such roles; "refuse" also refuses whatever would put two of them into one hand.
            Who held them before keeps them.
    """

    conflicts: str = _REPORT

    def __post_init__(self) -> None:
        if self.conflicts not in {_REPORT, _REFUSE}:
            raise InvalidSetting("duties.conflicts", f'is "{_REPORT}" or "{_REFUSE}"')

    @property
    def refuses(self) -> bool:
        """Whether they are refused."""
        return self.conflicts == _REFUSE
