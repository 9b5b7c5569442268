"""An authenticator app in memory, for people that a program plays: it never gives a code twice, and never waits."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from pyotp.totp import TOTP

from fastness.core.clock import SECOND, Instant

_STEP_S = 30


class Authenticator:
    """The app of one person.

    Args:
        uri: `otpauth://…`, as the house showed it.
    """

    def __init__(self, uri: str) -> None:
        self._totp = TOTP(parse_qs(urlsplit(uri).query)["secret"][0])
        self._last = -1
        self.recovery: list[str] = []

    def code(self, now: Instant) -> str:
        """A code that was not given before: of this step of the clock or the next, which a house takes too.

        When those are used up, a recovery code. The step before is left out: it may be over when the house sees it.
        """
        current = now // SECOND // _STEP_S
        step = max(self._last + 1, current)
        if step > current + 1:
            return self.recovery.pop()
        self._last = step
        return self._totp.generate_otp(step)
