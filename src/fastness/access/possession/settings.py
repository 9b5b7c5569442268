"""How old a signed request may be."""

from __future__ import annotations

from dataclasses import dataclass

from fastness.core.settings import InvalidSetting

_LONGEST_S = 3600
_MOST_SKEW_S = 60


@dataclass(frozen=True)
class SignatureSettings:
    """Signed requests, RFC 9421.

    Attributes:
        max_age_s: seconds for which a signed request is good, 1 to 3600; its nonce is remembered for as long.
        skew_s: seconds by which the clock of who signs may be ahead, 0 to 60.
    """

    max_age_s: int = 300
    skew_s: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.max_age_s <= _LONGEST_S:
            raise InvalidSetting("signatures.max_age_s", f"is 1 to {_LONGEST_S}")
        if not 0 <= self.skew_s <= _MOST_SKEW_S:
            raise InvalidSetting("signatures.skew_s", f"is 0 to {_MOST_SKEW_S}")
