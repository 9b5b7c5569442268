"""docs/attacks.md names attacks that are there: each file and each test of its table, and every test of a whole attack is named."""

from __future__ import annotations

import ast
import re

import pytest

from tests.needs import ROOT

ATTACKS = ROOT / "tests" / "attack"
NAMED = sorted(set(re.findall(r"`(test_\w+)(?:::(test_\w+))?`", (ROOT / "docs" / "attacks.md").read_text("utf-8"))))
DOORS = (
    "test_console",
    "test_control_*",
    "test_oauth_pages",
    "test_sign_on",
    "test_http_smuggling",
    "test_signed_requests",
)
"""The files that attack access at its doors; a new one gets a line on the page."""


def test_there_is_something_to_look_at() -> None:
    assert len(NAMED) > 40


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_what_the_page_names_is_there(file: str, test: str) -> None:
    path = ATTACKS / f"{file}.py"
    assert path.is_file()
    if test:
        tree = ast.parse(path.read_text("utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_page_names_every_file_that_attacks_a_door() -> None:
    there = {path.stem for pattern in DOORS for path in ATTACKS.glob(f"{pattern}.py")}
    assert there - {file for file, _ in NAMED} == set()
