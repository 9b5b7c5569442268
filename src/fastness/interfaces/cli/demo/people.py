"""The demo's cast: each person is a process of their own, with a folder of credentials that nobody else opens."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from fastness.core.clock import SystemClock
from fastness.core.errors import Unavailable
from fastness.interfaces.cli.demo.authenticator import Authenticator
from fastness.wire.control import AppView

STEP_UP = "step-up-required"


class Said(msgspec.Struct, frozen=True):
    """What a command answered."""

    status: int
    out: bytes
    problem: dict[str, str]

    def json(self) -> dict[str, object]:
        """The answer, which must be one JSON object."""
        return msgspec.json.decode(self.out, type=dict[str, object])


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who runs `fastness` in a process of their own."""

    home: Path
    folder: Path
    name: str
    apps: list[Authenticator] = field(default_factory=list, repr=False)

    def run(self, *arguments: str, timeout_s: float = 120, code: str = "") -> Said:
        """Run one command and hear its answer; a refusal is an answer."""
        line = [
            sys.executable, "-I", "-m", "fastness", "--home", str(self.home), "--credentials", str(self.folder),
            "--as", self.name, "--format", "json", *(["--code", code] if code else []), *arguments,
        ]  # fmt: skip
        done = subprocess.run(line, capture_output=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL)
        problem: dict[str, str] = {}
        if done.returncode and done.stderr.strip():
            try:
                problem = msgspec.json.decode(done.stderr.strip().splitlines()[-1], type=dict[str, str])
            except msgspec.MsgspecError:
                problem = {"code": "unexpected", "message": done.stderr.decode(errors="replace")[-2000:]}
        return Said(done.returncode, done.stdout, problem)

    def set_up(self, app: object) -> None:
        """Take an authenticator app into use, as `init` and `access enroll` showed it."""
        shown = msgspec.convert(app, AppView)
        made = Authenticator(shown.uri)
        reply = self.must("access", "factor", "confirm", shown.factor, made.code(SystemClock().now()))
        made.recovery = msgspec.convert(reply["recovery_codes"], list[str])
        self.apps.append(made)

    def with_factor(self, *arguments: str) -> Said:
        """Run a command that is hard to undo; what asks for a second factor gets one."""
        return self.run(*arguments, code=self.apps[0].code(SystemClock().now()))

    def must(self, *arguments: str) -> dict[str, object]:
        """Run a command that has to succeed.

        Raises:
            Unavailable: it did not.
        """
        said = self.run(*arguments)
        if said.problem.get("code") == STEP_UP:
            said = self.with_factor(*arguments)
        if said.status:
            raise Unavailable("demo-command", f"{self.name}: {' '.join(arguments)}: {said.problem or said.out!r}")
        return said.json() if said.out.lstrip().startswith(b"{") else {}
