"""What is committed names no machine, no package registry, and gives a reason for each rule that is switched off."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.needs import ROOT, need_tool

# Put together here, so that this file does not name them itself.
FOLDERS = ("work", "farm", "root", "tmp")
MACHINE = re.compile(r"(?<![\w.~$})-])/(?:" + "|".join(FOLDERS) + ")/")
HOME = re.compile(r"(?<![\w.~$})-])/(?:home|Users)/[a-z]")
HOSTS = ("py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "npm" + "js.com", "deb." + "debian.org")
REGISTRY = re.compile("|".join(map(re.escape, HOSTS)), re.IGNORECASE)
INDEX = re.compile(r"^\s*(?:-i|--index-url|--extra-index-url|--find-links|-f)\b", re.MULTILINE)


def committed() -> Iterator[tuple[str, str]]:
    """Each tracked text file that exists: path and text."""
    command = [need_tool("git"), "-C", str(ROOT), "ls-files", "-z"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        pytest.skip("host: not a git checkout")
    for name in filter(None, run.stdout.split("\0")):
        data = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b"\0"
        if b"\0" not in data:
            yield name, data.decode("utf-8", "replace")


def places(pattern: re.Pattern[str], *, tests: bool = True) -> list[str]:
    """Where `pattern` stands in what is committed, as path:line."""
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in committed()
        if tests or not name.startswith("tests/")
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_there_is_something_to_look_at() -> None:
    assert len(list(committed())) > 20


def test_no_path_of_a_machine() -> None:
    # Tests may forbid a sandbox to read such folders, and so name them.
    assert places(MACHINE, tests=False) == []
    assert places(HOME, tests=False) == []
    assert places(re.compile(rf"(?<![\w.-])/{FOLDERS[0]}/")) == []


def test_no_package_registry() -> None:
    assert places(REGISTRY) == []


def test_no_index_in_the_requirements() -> None:
    found = [path.name for path in (ROOT / "requirements").iterdir() if INDEX.search(path.read_text("utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (f"open('/{FOLDERS[3]}/x')", True),
        (f"cd /{FOLDERS[0]}/main", True),
        (f"/{FOLDERS[2]}/.ssh", True),
        (f"--tmpfs /{FOLDERS[3]}", False),
        (f"/proc/1/{FOLDERS[2]}/etc", False),
        (f"https://example.org/{FOLDERS[0]}/", False),
        (f"${{HOME}}/{FOLDERS[0]}/", False),
    ],
)
def test_paths_of_a_machine_are_told_from_others(text: str, seen: bool) -> None:
    assert bool(MACHINE.search(text)) == seen


def test_every_rule_that_is_switched_off_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    lists = re.findall(r"(?:^ignore|\*\*\") = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    rows = [row.strip() for body in lists for row in body.splitlines()]
    ignored = tomllib.loads(text)["tool"]["ruff"]["lint"]["ignore"]
    assert len(rows) >= len(ignored) > 10
    # A rule without a reason of its own shares that of the one above it, where they are of one family.
    families = ["".join(filter(str.isalpha, row.partition("#")[0])) for row in rows]
    alone = [row for row, here, above in zip(rows, families, ["", *families], strict=False) if here != above]
    assert [row for row in alone if "#" not in row] == []


def test_ruff_selects_everything() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]["select"] == ["ALL"]


def test_suppressions_name_their_rule() -> None:
    bare = re.compile(r"#\s*(?:noqa(?!:\s*[A-Z])|type:\s*ignore(?!\[))")
    sources = [path for folder in ("src", "tools") for path in (ROOT / folder).rglob("*.py")]
    assert sources
    assert [f"{p.relative_to(ROOT)}" for p in sources if bare.search(_without_strings(p))] == []


def _without_strings(path: Path) -> str:
    return re.sub(r'"[^"\n]*"', '""', path.read_text("utf-8"))
