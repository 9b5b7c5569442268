"""The errors of Fastness: one root, few kinds, each by what the caller can do about it.

An exception means "could not decide" or "may not"; findings and verdicts are values. Every error carries a stable
`code` for machines, a message that says what happened and a `hint` that says what to change. `STATUS` and `EXIT` are
the one place where a kind becomes an HTTP status or an exit code.
"""

from __future__ import annotations

from typing import ClassVar


class FastnessError(Exception):
    """The root of all errors that Fastness raises on purpose.

    Args:
        code: stable, kebab-case; programs match on it.
        message: what happened, without secrets or personal values.
        hint: what the caller can change; may be empty.
    """

    status: ClassVar[int] = 500
    exit: ClassVar[int] = 70

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(code, message, hint)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.code})" + (f". {self.hint}" if self.hint else "")


class Invalid(FastnessError):
    """The input is wrong; the caller must change it."""

    status = 400
    exit = 2


class Unauthenticated(FastnessError):
    """It is not known who asks.

    Args:
        audit_code: what the audit event says where the caller is told less; `code` if empty.
    """

    status = 401
    exit = 77

    def __init__(self, code: str, message: str, hint: str = "", audit_code: str = "") -> None:
        super().__init__(code, message, hint)
        self.audit_code = audit_code or code


class Forbidden(FastnessError):
    """Who asks may not do this.

    Args:
        subject: digest of what takes the approval of others, where that is all that is missing.
        permission: for which it takes that.
    """

    status = 403
    exit = 77

    def __init__(self, code: str, message: str, hint: str = "", subject: str = "", permission: str = "") -> None:
        super().__init__(code, message, hint)
        self.subject = subject
        self.permission = permission


class NotFound(FastnessError):
    """The thing named does not exist, or not for this caller."""

    status = 404
    exit = 66


class Conflict(FastnessError):
    """The state does not allow it: it exists already, has changed, or a condition is not met."""

    status = 409
    exit = 75


class Stale(FastnessError):
    """What was to be replaced is not what the caller knows (RFC 9110, section 13.1.1)."""

    status = 412
    exit = 75


class TooLarge(FastnessError):
    """A size limit was exceeded."""

    status = 413
    exit = 2


class Limited(FastnessError):
    """A rate or quota was exceeded; `retry_after_s` says when to come back."""

    status = 429
    exit = 75

    def __init__(self, code: str, message: str, hint: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(code, message, hint)
        self.retry_after_s = retry_after_s


class Corrupt(FastnessError):
    """Stored or received bytes fail their integrity check; retrying will not help."""

    status = 500
    exit = 65


class Unavailable(FastnessError):
    """A part that is needed does not answer, or a required condition of the host is missing."""

    status = 503
    exit = 69
