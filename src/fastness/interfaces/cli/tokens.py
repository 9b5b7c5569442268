"""A login at a terminal: the tokens that a person let this command line have, kept in a file that only they can read.

A refresh token works once, and one shown twice ends the whole login. So whoever refreshes holds a lock, looks again
whether another process has done it meanwhile, and writes the new tokens before any of them is used. A process that is
killed between the answer and the writing ends the login; nothing else is lost.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fastness.core.clock import Clock, Instant, later
from fastness.core.errors import Invalid, Unauthenticated

if TYPE_CHECKING:
    from fastness.client import Tokens, Transport

_EARLY = 0.8
_LARGEST = 1 << 20


class Login(msgspec.Struct, frozen=True):
    """What is kept of a login.

    Attributes:
        server: the address of the house; empty for the one whose home this is.
        ca: path of the certificate authority that vouches for it; empty for those of the machine.
        refresh_at: from when on the access token is renewed, before it expires.
    """

    principal: str
    server: str
    ca: str
    tenant: str
    access_token: str
    refresh_token: str
    refresh_at: int

    def __repr__(self) -> str:
        return f"Login({self.principal!r}, {self.server!r})"

    def renewed(self, tokens: Tokens, now: Instant) -> Login:
        """The same login with the tokens that it was given now."""
        return msgspec.structs.replace(
            self,
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token or self.refresh_token,
            refresh_at=later(now, tokens.expires_in * _EARLY),
        )


class KeptLogin:
    """The file of one login.

    Args:
        path: of the file; the lock lies beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Login | None:
        """What is kept; None without a login.

        Raises:
            Invalid: the file is not readable as such, or readable by others.
        """
        data = read_private(self.path)
        if data is None:
            return None
        try:
            return msgspec.json.decode(data, type=Login)
        except msgspec.MsgspecError as error:
            hint = "Delete it, and log in again: fastness login."
            raise Invalid("login-malformed", f"{self.path} is no login", hint) from error

    def write(self, login: Login) -> None:
        """Keep a login, instead of the one before."""
        from fastness.app import write_private

        write_private(self.path, msgspec.json.encode(login))

    def forget(self) -> None:
        """Keep it no more."""
        self.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with the file, among all processes of this account."""
        import fcntl

        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path.with_name(f"{self.path.name}.lock"), flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def token(self, transport: Transport, clock: Clock) -> str:
        """An access token that is good now; refreshed where the kept one soon is not.

        Raises:
            Unauthenticated: `login-ended`: there is none any more.
            Unavailable: the house does not answer.
        """
        from fastness.client import TokenCalls

        login = self._standing()
        if clock.now() < login.refresh_at:
            return login.access_token
        with self.locked():
            login, now = self._standing(), clock.now()
            if now < login.refresh_at:  # another process was here
                return login.access_token
            try:
                tokens = TokenCalls(transport, login.tenant).refresh(login.refresh_token)
            except Unauthenticated as error:
                raise _ended() from error
            login = login.renewed(tokens, now)
            self.write(login)
        return login.access_token

    def _standing(self) -> Login:
        login = self.read()
        if login is None:
            raise _ended()
        return login


def read_private(path: Path) -> bytes | None:
    """The bytes of a file of one's own that nobody else may read; None where there is none.

    Raises:
        Invalid: `credentials-exposed`: others can read it, or it is no plain file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Invalid("credentials-exposed", f"{path} cannot be read: {error.strerror}", "Is it a link?") from error
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise Invalid("credentials-exposed", f"{path} can be read by others", f"chmod 600 {path}")
        return file.read(_LARGEST)


def _ended() -> Unauthenticated:
    return Unauthenticated("login-ended", "you are logged in here no more", "Log in again: fastness login.")
