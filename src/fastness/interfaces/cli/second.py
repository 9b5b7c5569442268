"""Second factors at a terminal: codes are asked for, and an elevation is kept for as long as it is good."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

from fastness.core.errors import Conflict, Unauthenticated
from fastness.wire.control import StepUpRequest, WaysView

_APP_CODE = re.compile(r"[0-9]{3} ?[0-9]{3}", re.ASCII)


class AtTerminal:
    """Whoever sits at the terminal, or the code on the line.

    Args:
        kept: file of the last elevation, which the next commands send along; only its owner can read it.
        code: given with `--code`; used once.
    """

    def __init__(self, kept: Path, code: str = "") -> None:
        self._kept = kept
        self._code = code

    @property
    def elevation(self) -> str:
        """The last elevation, also of a command before."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            descriptor = os.open(self._kept, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            with os.fdopen(descriptor, encoding="ascii") as file:
                if not os.fstat(descriptor).st_mode & 0o077:
                    return file.read(256).strip()
        return ""

    @elevation.setter
    def elevation(self, text: str) -> None:
        from fastness.app import write_private

        if text:
            write_private(self._kept, text.encode())
        else:
            self._kept.unlink(missing_ok=True)

    def answer(self, ways: WaysView) -> StepUpRequest:
        """The code on the line, or what is typed.

        Raises:
            Unauthenticated: nobody is there to ask.
            Conflict: only a browser could answer.
        """
        if not {"totp", "recovery"} & set(ways.methods):
            raise Conflict(
                "passkey-only", "your only second factor is a passkey", "Do it in the console, or add an app."
            )
        given, self._code = self._code or _asked(), ""
        method = "totp" if _APP_CODE.fullmatch(given.strip()) else "recovery"
        return StepUpRequest(method, given.strip())


def _asked() -> str:
    if not sys.stdin.isatty():
        hint = "Give a code of your app, or a recovery code: --code CODE, or FASTNESS_CODE."
        raise Unauthenticated("step-up-required", "this takes a second factor, given lately", hint)
    import getpass

    return getpass.getpass("Code of your app, or a recovery code: ")


def show_app(uri: str) -> None:
    """Print what an authenticator app takes in, as a picture to scan."""
    import segno

    segno.make(uri, error="m").terminal(out=sys.stderr, compact=True)
