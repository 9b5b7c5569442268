"""What README.md and docs/ tell a new user to type is typed, word for word and in order, in a fresh home folder.

Only what a person would fill in is filled in: CODE and KEY_ID from what the line before has printed, $KEY likewise, and
a free port for 8443. `fastness up` runs in a terminal of its own. What is new in the documents is run too.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from fastness.core.clock import SystemClock
from fastness.interfaces.cli import main
from fastness.interfaces.cli.demo.authenticator import Authenticator
from tests.attack.test_crash import free_port
from tests.needs import ROOT, need_host, need_tool
from tests.unit.foundation.sandbox.grounds import can_isolate

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]
OTHER_STATUS = {
    "fastness scan": {0, 1, 3},
    "fastness models rollback": {75},  # there is nothing before the first revision
}
ENDLESS = re.compile(r"--follow|fastness up|fastness demo|fastness login")  # a login waits for a person


@dataclass(frozen=True)
class Block:
    """A fenced block; `where` is its file and line."""

    where: str
    language: str
    text: str

    def lines(self) -> list[str]:
        """Its commands, with continued lines joined."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        return [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def blocks(file: str, heading: str = "", until: str = "\n## ") -> list[Block]:
    """The shell and Python blocks of a document, or of its part under `heading`."""
    text = (ROOT / file).read_text("utf-8")
    start = text.index(heading) if heading else 0
    end = text.find(until, start + 1) if heading else len(text)
    found = []
    for match in re.finditer(r"^( *)```(sh|python)\n(.*?)^\1```", text[start:end], re.MULTILINE | re.DOTALL):
        indent, language, body = match.groups()
        place = text[: start + match.start()].count("\n") + 1
        found.append(Block(f"{file}:{place}", language, re.sub(rf"^{indent}", "", body, flags=re.MULTILINE)))
    return found


class Desk:
    """A user's terminal: a home folder of their own, a folder to work in, and what was last printed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.work = home / "work"
        self.work.mkdir()
        self.port = free_port()
        self.code = self.key_id = ""
        self.app: Authenticator | None = None
        shim = home / "bin" / "fastness"
        shim.parent.mkdir()
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m fastness "$@"\n')
        shim.chmod(0o755)
        self.environment = {
            "HOME": str(home),
            "PATH": f"{shim.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "FASTNESS_SERVER__PORT": str(self.port),
            "FASTNESS_SERVER__ADMIN_PORT": str(free_port()),
            "LANG": "C.UTF-8",
        }
        self.running: subprocess.Popen[bytes] | None = None

    def type(self, block: Block) -> None:
        """Do what a block says."""
        if block.language == "python":
            self.run([sys.executable, "-c", self._filled(block.text)], block.where, {0})
            return
        for line in block.lines():
            if line.startswith("source "):
                continue  # `fastness` is on the path already
            if line.startswith("fastness up"):
                self.up(line)
            elif not ENDLESS.search(line):
                self.shell(line, block.where)

    def shell(self, line: str, where: str) -> str:
        """Run one line in a shell, and remember what it printed to be used further on."""
        allowed = next((status for start, status in OTHER_STATUS.items() if line.startswith(start)), {0})
        if self.app is not None and "--as operator" in line:  # what the person types when they are asked
            self.environment["FASTNESS_CODE"] = self.app.code(SystemClock().now())
        said = self.run(["bash", "-c", self._filled(line)], f"{where}: {line}", allowed)
        for name, pattern in (("code", r"\bfse_\w+"), ("key_id", r"key (\w{8}) for")):
            if found := re.search(pattern, said):
                setattr(self, name, found[found.re.groups])
        if found := re.search(r"otpauth://\S+", said):
            self.set_up(found[0], re.sub(r"\s+", " ", said), where)
        if found := re.search(r"\bfst_\w+", said):
            self.environment["KEY"] = found[0]
        return said

    def set_up(self, uri: str, said: str, where: str) -> None:
        """Give the first code of an app, as the person whose phone has it; only the operator is asked again."""
        app = Authenticator(uri)
        confirm = re.search(r"fastness access factor confirm \S+ CODE --as (\S+)", said)
        assert confirm, said
        line = confirm[0].replace("CODE", app.code(SystemClock().now()))
        codes = self.run(["bash", "-c", line], f"{where}: {line}", {0})
        app.recovery = re.findall(r"\b\w{4}-\w{4}-\w{4}-\w{4}\b", codes)
        assert len(app.recovery) == 10, codes
        if confirm[1] == "operator":
            self.app = app

    def run(self, line: list[str], where: str, allowed: set[int]) -> str:
        done = subprocess.run(
            line, capture_output=True, text=True, check=False, env=self.environment, cwd=self.work, timeout=120
        )
        said = done.stdout + done.stderr
        assert done.returncode in allowed, f"{where} ended with {done.returncode}\n{said}"
        assert "urn:fastness:problem" not in said, f"{where} was refused\n{said}"
        assert "Traceback" not in said, f"{where}\n{said}"
        return said

    def up(self, line: str) -> None:
        log = (self.home / "up.log").open("wb")
        with log:
            self.running = subprocess.Popen(
                ["bash", "-c", f"exec {line.partition('#')[0]}"],
                env=self.environment, cwd=self.work, stdout=log, stderr=log,
            )  # fmt: skip
        for _ in range(600):
            if (self.home / ".fastness" / "run" / "control.sock").exists():
                return
            assert self.running.poll() is None, (self.home / "up.log").read_text()
            time.sleep(0.05)
        raise AssertionError("`fastness up` never came up")

    def _filled(self, text: str) -> str:
        for word, value in (("CODE", self.code), ("KEY_ID", self.key_id)):
            text = re.sub(rf"\b{word}\b", lambda _, v=value, w=word: v or w, text)
        return text.replace("8443", str(self.port))

    def close(self) -> None:
        if self.running is not None:
            self.running.send_signal(signal.SIGINT)  # Ctrl-C, as the user would
            assert self.running.wait(60) == 0, (self.home / "up.log").read_text()


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    """A user who has followed first steps to a model file, and the README to an answer."""
    need_tool("curl")
    need_tool("bash")
    need_host("user namespaces and landlock", present=can_isolate())
    with tempfile.TemporaryDirectory(prefix="fst-") as folder, contextlib.closing(Desk(Path(folder))) as made:
        for block in blocks("docs/first-steps.md"):
            if block.language == "python":
                made.type(block)
        for block in blocks("README.md", "## With your own model"):
            made.type(block)
        yield made


def test_the_readme_leads_to_an_answer(desk: Desk) -> None:
    said = desk.shell("fastness call digits --input X=pixels.npy --as caller --format json", "after the README")
    assert '"label"' in said
    assert "digits" in desk.shell("fastness models list --as auditor", "after the README")
    assert desk.environment["KEY"].startswith("fst_")


def test_there_are_blocks_to_run() -> None:
    """A document that is cut into other pieces must not pass because nothing was found."""
    lines = [line for block in blocks("README.md", "## With your own model") for line in block.lines()]
    for start in (
        "init",
        "up",
        "push",
        "models approve",
        "models deploy",
        "call",
        "access enroll",
        "access key create",
    ):
        assert any(line.startswith(f"fastness {start}") for line in lines), start
    assert any(line.startswith("curl ") for line in lines)
    assert [block.language for block in blocks("docs/calling.md")].count("python") >= 1
    assert len(table()) >= 8


def test_first_steps_in_its_own_words(desk: Desk) -> None:
    for block in blocks("docs/first-steps.md"):
        if block.language == "sh":
            desk.type(block)


def test_calling_from_python_and_from_anywhere(desk: Desk) -> None:
    for block in blocks("docs/calling.md"):
        if block.language == "python":
            desk.type(Block(block.where, "python", f"import os\nkey = os.environ['KEY']\n{block.text}"))
        else:
            lines = block.lines()
            for number, line in enumerate(lines):
                if "key revoke" not in line:
                    desk.type(Block(block.where, "sh", line))
                else:  # the key is needed further on: another one goes
                    desk.shell("fastness access key create spare --as caller", f"{block.where}, line {number}")
                    kept = desk.environment["KEY"]
                    desk.shell(line, block.where)
                    refused = desk.run(
                        ["bash", "-c", desk._filled(CURL_STATUS)], "a revoked key", {0}
                    )  # fmt: skip
                    assert refused.strip() == "401", (refused, kept)
                    desk.shell("fastness access key create web --as caller", block.where)


CURL_STATUS = (
    'curl -s -o /dev/null -w "%{http_code}" --cacert ~/.fastness/tls/ca.pem -H "authorization: Bearer $KEY"'
    " https://127.0.0.1:8443/v2/models/digits"
)


def table() -> list[tuple[str, str]]:
    """The commands of the README's table of what else there is, with their lines."""
    text = (ROOT / "README.md").read_text("utf-8")
    start = text.index("## What else there is")
    rows = text[start : text.index("\n## ", start + 1)]
    return [(f"README.md, {row.split('|')[1].strip()}", command) for row in rows.splitlines() if row.startswith("| ")
            for command in re.findall(r"`(fastness [^`]+)`", row)]  # fmt: skip


@pytest.mark.parametrize(
    "file", sorted(str(p.relative_to(ROOT)) for p in [ROOT / "README.md", *ROOT.glob("docs/*.md")])
)
def test_every_command_and_option_that_is_named_exists(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    known(file)


def known(file: str) -> None:
    """Every `fastness …` in a document is a command, and takes the options that stand there."""
    text = re.sub(r"\\\n\s*", "", (ROOT / file).read_text("utf-8"))
    for line in sorted(set(re.findall(r"(?:^|[`( ])(fastness(?: [^`\n#|]+)?)", text))):
        words = line.split()[1:]
        names = list(itertools.takewhile(re.compile("[a-z]+").fullmatch, words))
        options = re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", line)
        help_of(file, names, options, line)


def help_of(file: str, names: list[str], options: list[str], line: str) -> None:
    commands = {"models": 2, "audit": 2, "access": 3}
    depth = commands.get(names[0], 1) if names else 0
    if names[:2] in (["access", "enroll"], ["access", "password"], ["access", "whoami"], ["scan", "waive"]):
        depth = 2
    if not names or names[0] not in COMMANDS or len(names) < depth:
        return  # a word in a sentence, not a command to type
    said = _help(tuple(names[:depth]))
    for option in options:
        assert option in said or option in ANYWHERE, f"{file}: {line!r}: {option} is not known"


COMMANDS = {
    "access", "audit", "call", "convert", "demo", "doctor", "init", "login", "logout", "models", "push", "rules", "scan",
    "status", "up", "whoami",
}  # fmt: skip
ANYWHERE = {"--home", "--as", "--credentials", "--format", "--passphrase-file", "--code", "--help"}
_HELPS: dict[tuple[str, ...], str] = {}


def _help(names: tuple[str, ...]) -> str:
    if names not in _HELPS:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as ended:
            main([*names, "--help"])
        assert not ended.value.code, f"`fastness {' '.join(names)}` is no command"
        _HELPS[names] = out.getvalue()
    return _HELPS[names]


# --- commands stay light ---------------------------------------------------------------------------------------------

LIGHT = {
    "status": "admin",
    "models list": "auditor",
    "models show digits 1": "auditor",
    "models history digits": "auditor",
    "models verify digits 1": "auditor",
    "access user list": "auditor",
    "access key list": "auditor",
    "access key create light": "caller",
    "access allowance list development": "auditor",
    "audit tail": "auditor",
    "audit prove 0": "auditor",
    "push model.onnx light --range X=0:16": "author",
}
HEAVY = {
    "alembic", "cedarpy", "cryptography", "joblib", "litestar", "numpy", "onnx", "onnxruntime", "scipy", "sklearn",
    "sqlalchemy", "uvicorn",
}  # fmt: skip
LOADED = """
import sys
from fastness.interfaces.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code, stop.code
print("LOADED", *sys.modules)
"""


@pytest.mark.parametrize("form", ["table", "json"])
def test_commands_to_a_running_house_load_neither_a_server_nor_a_database(desk: Desk, form: str) -> None:
    for command, who in LIGHT.items():
        line = [sys.executable, "-c", LOADED, *command.split(), "--as", who, "--format", form]
        said = desk.run(line, command, {0})
        loaded = {name.partition(".")[0] for name in said.rpartition("LOADED")[2].split()}
        assert "msgspec" in loaded, command
        assert loaded & HEAVY == set(), command


def test_a_call_finds_the_house_that_was_told_another_port(desk: Desk) -> None:
    """It asked where the settings say, although `up --port` had been typed."""
    settings = desk.environment.pop("FASTNESS_SERVER__PORT")
    try:
        said = desk.shell("fastness call digits --input X=pixels.npy --as caller", "without the port in the settings")
    finally:
        desk.environment["FASTNESS_SERVER__PORT"] = settings
    assert "label" in said


def test_what_else_there_is(desk: Desk) -> None:
    """The last one: it ends with taking the model out of service."""
    (desk.work / "weights").mkdir()
    np.save(desk.work / "weights" / "w.npy", np.zeros(3))
    (desk.work / "model.pkl").write_bytes(pickle.dumps({"a": 1}))
    (desk.work / "estimator.pkl").write_bytes(pickle.dumps(Ridge().fit(np.eye(3), [1.0, 2.0, 3.0])))
    shutil.copy(desk.home / ".fastness" / "ledger" / "checkpoint", desk.work / "kept-checkpoint")
    last = [row for row in table() if "quarantine" in row[1]]
    for where, command in [row for row in table() if row not in last] + last:
        if not ENDLESS.search(command):
            desk.shell(command, where)
