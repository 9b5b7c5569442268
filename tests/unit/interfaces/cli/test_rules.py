"""Policies, approvals, restrictions and quotas from the command line, against a house that is served."""

from __future__ import annotations

import re
import shlex
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import uvicorn

from fastness.core.clock import SystemClock
from fastness.interfaces.api import create_api
from fastness.interfaces.cli import main
from tests.needs import ROOT
from tests.unit.interfaces.api.rows_rules import CASES, NIGHT, OFFICER
from tests.unit.interfaces.api.town import Town, founded


@dataclass
class Said:
    """What a command printed, and how it ended."""

    status: int
    out: str
    err: str


@dataclass
class Line:
    """A command line to one house."""

    town: Town
    folder: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *words: str, who: str = OFFICER, code: bool = False) -> Said:
        given = [*words, "--home", str(self.town.house.home.root), "--as", who]
        if code:
            given += ["--code", self.town.seconds[who].app.code(SystemClock().now())]
        self.capsys.readouterr()
        try:
            main(given)
            status: int | str | None = 0
        except SystemExit as ended:
            status = ended.code
        said = self.capsys.readouterr()
        return Said(int(status or 0), said.out, said.err)

    def json(self, *words: str, who: str = OFFICER, code: bool = False) -> dict[str, object]:
        said = self.run(*words, "--format", "json", who=who, code=code)
        assert said.status == 0, said
        return msgspec.json.decode(said.out, type=dict[str, object])

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text, "utf-8")
        return str(path)


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory(prefix="fst-") as folder, founded(Path(folder) / "home") as made:
        made.keep_credentials()
        config = uvicorn.Config(
            create_api(made.house), uds=str(made.house.home.control_socket), lifespan="off", access_log=False,
            log_level="warning", server_header=False, ws="none", interface="asgi3", timeout_graceful_shutdown=5,
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield made
        server.should_exit = True
        thread.join()


@pytest.fixture
def line(town: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setenv("COLUMNS", "200")
    return Line(town, tmp_path, capsys)


def test_rules_are_tried_proposed_approved_and_put_into_force(line: Line) -> None:
    rules, cases = (
        line.file("night.cedar", NIGHT.format(name="faces")),
        line.file("c.yaml", CASES.format(name="faces", expect="allow")),
    )
    tried = line.run("access", "policy", "test", rules, cases)
    assert (tried.status, "passed 1 of 1" in tried.out) == (0, True)
    made = line.json("access", "policy", "propose", rules, "--reason", "nights are long", code=True)
    number, request = str(msgspec.convert(made["set"], dict[str, object])["number"]), str(made["request"])
    waits = line.run("access", "approvals", "list", "--waiting", who="approver")
    assert "nights are long" in waits.out
    shown = line.run("access", "approvals", "show", request, who="approver")
    assert f"policy show {number}" in shown.out
    assert "night-faces" in line.run("access", "policy", "show", number, who="approver").out
    for who in ("approver", "second"):
        assert line.run("access", "approvals", "answer", request, who=who).status == 0
    assert "in force" in line.run("access", "policy", "activate", number, request, code=True).out
    assert "nights are long" in line.run("access", "policy", "list").out
    assert "# Who may do what" in line.run("access", "policy", "show").out


NAMES = {"officer": OFFICER, "first": "approver", "second": "second", "caller": "developer", "author": "publisher"}


def test_the_page_in_its_own_words(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of docs/policies.md, in order; REQUEST, NUMBER and RESTRICTION are what was printed before."""
    page = (ROOT / "docs" / "policies.md").read_text("utf-8")
    for name, language in (("night.cedar", "cedar"), ("cases.yaml", "yaml")):
        blocks = re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        line.file(name, "\n".join(blocks))
    monkeypatch.chdir(line.folder)
    line.town.push("digits")
    known: dict[str, str] = {}
    commands = [
        one for block in re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL) for one in block.splitlines()
    ]
    assert len(commands) > 20
    for command in commands:
        filled = re.sub(r"\b(REQUEST|NUMBER|RESTRICTION)\b", lambda match: known[match[1]], command)
        words = shlex.split(filled)[1:]
        who = NAMES.get(words[-1], words[-1])
        words = [re.sub(r"^user:(\w+)$", lambda match: f"user:{NAMES[match[1]]}", word) for word in words[:-2]]
        said = line.run(*words, who=who, code={"propose", "activate", "rotate"} & set(words) != set())
        assert said.status == (77 if "--ask" in words else 0), (command, said)
        for name, pattern in PRINTED.items():
            if found := re.search(pattern, said.out + said.err):
                known[name] = found[1]
    assert known.keys() == PRINTED.keys()


PRINTED = {
    "REQUEST": r"approvals answer (\S+)",
    "NUMBER": r"proposed set (\d+)",
    "RESTRICTION": r"access lift (\S+)",
}


def test_a_case_that_goes_otherwise_makes_the_exit_status_1(line: Line) -> None:
    rules, cases = (
        line.file("r.cedar", NIGHT.format(name="x")),
        line.file("c.yaml", CASES.format(name="y", expect="allow")),
    )
    failed = line.run("access", "policy", "test", rules, cases)
    assert (failed.status, "expected allow" in failed.out) == (1, True)
    assert line.run("access", "policy", "test", rules, cases, "--format", "json").status == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("policy", "test", "{folder}/none.cedar", "{folder}/none.yaml"), "file-unreadable"),
        (("policy", "test", "{folder}", "{folder}/none.yaml"), "policies-missing"),
        (("policy", "propose", "--reason", "why"), "policies-missing"),
        (("policy", "activate", "7000", "x"), "step-up-required"),
        (("approvals", "answer", "nothing"), "approval-unknown"),
        (("lift", "nothing", "--reason", "why"), "restriction-unknown"),
        (("restrict", "planet", "x", "--reason", "why"), "restriction-kind"),
        (("explain", "user:none", "model.read", "model:x"), "principal-unknown"),
        (("quota", "set", "model", "x", "requests", "day", "1"), "not-permitted"),
    ],
)
def test_what_is_wrong_is_named(line: Line, words: tuple[str, ...], code: str) -> None:
    credentials = line.town.house.home.root / "credentials" / f"{OFFICER}.elevation"
    credentials.unlink(missing_ok=True)
    said = line.run("access", *(word.format(folder=line.folder) for word in words))
    assert said.status not in {0, 1}
    assert f"({code})" in said.err


def test_a_file_that_is_no_text_is_named(line: Line) -> None:
    path = line.folder / "r.cedar"
    path.write_bytes(b"\xff")
    assert "file-unreadable" in line.run("access", "policy", "test", str(path), str(path)).err


def test_a_request_is_withdrawn(line: Line) -> None:
    made = line.json("access", "policy", "propose", "--shipped", "--reason", "back", code=True)
    assert line.run("access", "approvals", "withdraw", str(made["request"])).status == 0
    assert "withdrawn" in line.run("access", "approvals", "show", str(made["request"])).out


def test_a_no_is_signed_too(line: Line) -> None:
    made = line.json("access", "policy", "propose", "--shipped", "--reason", "once more", code=True)
    said = line.run("access", "approvals", "answer", str(made["request"]), "--reject", who="approver")
    assert "the request is rejected" in said.out


def test_restrictions_are_set_listed_and_lifted(line: Line) -> None:
    words = (
        "access",
        "restrict",
        "model",
        "noisy",
        "--measure",
        "throttle",
        "--rate",
        "2",
        "--reason",
        "too [bold]loud",
    )
    made = line.json(*words)
    assert (made["per_s"], made["burst"], made["standing"]) == (2, 1, True)
    listed = line.run("access", "restrictions").out
    assert "throttle 2/s" in listed
    assert "too [bold]loud" in listed
    assert "lifted" in line.run("access", "lift", str(made["id"]), "--reason", "quiet now").out
    assert str(made["id"]) not in line.run("access", "restrictions").out
    assert str(made["id"]) in line.run("access", "restrictions", "--all", "--format", "json").out


def test_quotas_are_set_listed_and_removed(line: Line) -> None:
    place = ("model", "digits", "requests", "day")
    said = line.run("access", "quota", "set", *place, "1000", "--alert", "100", "--alert", "80", who="third")
    assert "(not-permitted)" in said.err
    made = line.json("access", "quota", "set", *place, "1000", "--alert", "100", "--alert", "80", who="admin")
    assert made["alerts"] == [80, 100]
    even = line.run("access", "quota", "set", "tenant", "*", "requests", "second", "50", "--shape", "even", who="admin")
    assert "50 requests per second (even, 50 at once)" in even.out
    assert "80 %, 100 %" in line.run("access", "quota", "list", who="admin").out
    assert line.run("access", "quota", "use", who="admin").status == 0
    assert line.run("access", "quota", "remove", *place, who="admin").status == 0
    assert "digits" not in line.run("access", "quota", "list", who="admin").out


def test_an_explanation_names_the_rule_that_decides(line: Line) -> None:
    said = line.run("access", "explain", "user:third", "role.grant", "principal:user:third").out
    assert "deny user:third role.grant principal:user:third" in said
    assert "by own-roles" in said
    allowed = line.run("access", "explain", "user:viewer", "model.read", "model:x", who="auditor").out
    assert allowed.startswith("allow")
    assert "by viewer" in allowed
    missing = line.run("access", "explain", "user:viewer", "model.push", "model:x", who="auditor").out
    assert "by no rule" in missing
    assert "it would be allowed with principal.roles: +publisher" in missing


def test_conflicts_are_told_with_what_to_do(line: Line) -> None:
    said = line.run("access", "conflicts", who="auditor").out
    assert "user:third is approver and operator" in said
    assert "what to do" in said


def test_who_can_do_what_is_told(line: Line) -> None:
    said = line.run("access", "rights", "--action", "model.deploy", who="auditor").out
    assert "user:operator" in said
    assert "user:viewer" not in said
    assert "user:third is approver and operator" in line.run("access", "findings", who="auditor").out


def test_an_answer_is_not_signed_over_something_else(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """A house that shows one set and asks for a signature over another gets none."""
    made = line.json("access", "policy", "propose", "--shipped", "--reason", "honest", code=True)
    other = line.json("access", "policy", "propose", "--shipped", "--reason", "other", code=True)
    from fastness.client.rules import ApprovalCalls

    show = ApprovalCalls.show

    def lying(calls: ApprovalCalls, request: str) -> object:
        shown, hidden = show(calls, request), show(calls, str(other["request"]))
        return msgspec.structs.replace(shown, signing=hidden.signing)

    monkeypatch.setattr(ApprovalCalls, "show", lying)
    said = line.run("access", "approvals", "answer", str(made["request"]), who="approver")
    assert "approval-mismatch" in said.err


@pytest.mark.parametrize(
    "words",
    [
        ("policy", "list"), ("policy", "show"), ("policy", "test"), ("policy", "propose"), ("policy", "activate"),
        ("explain",), ("conflicts",), ("rights",), ("findings",), ("approvals", "list"), ("approvals", "show"), ("approvals", "answer"),
        ("approvals", "withdraw"), ("restrict",), ("lift",), ("restrictions",), ("quota", "set"), ("quota", "list"),
        ("quota", "remove"), ("quota", "use"),
    ],
)  # fmt: skip
def test_each_command_explains_itself(line: Line, words: tuple[str, ...]) -> None:
    said = line.run("access", *words, "--help")
    assert said.status == 0
    assert f"Example: fastness access {' '.join(words)}" in " ".join(said.out.split())
