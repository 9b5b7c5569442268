"""Licences are read from cards and licence files, and noted; none of it decides."""

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import report_of, rules_of

CASES = {
    # name, text, rules, licences in the contents
    "a free one": ("README.md", "---\nlicense: apache-2.0\ntags:\n- x\n---\n# M\n", set(), ["apache-2.0"]),
    "quoted": ("README.md", '---\nlicense: "MIT"\n---\n', set(), ["mit"]),
    "a list of one": ("README.md", "---\nlicense:\n- mit\nlanguage:\n- en\n---\n", set(), ["mit"]),
    "two that differ": ("README.md", "---\nlicense:\n- mit\n- apache-2.0\n---\n", {"licence-conflict"}, ["mit", "apache-2.0"]),
    "not for commerce": ("README.md", "---\nlicense: cc-by-nc-4.0\n---\n", {"licence-limited"}, ["cc-by-nc-4.0"]),
    "limited uses": ("README.md", "---\nlicense: bigscience-openrail-m\n---\n", {"licence-limited"}, ["bigscience-openrail-m"]),
    "unknown": ("README.md", "---\nlicense: my-own\n---\n", {"licence-unknown"}, ["my-own"]),
    "none": ("README.md", "---\ntags: [x]\n---\n", {"licence-unnamed"}, []),
    "no front matter": ("README.md", "# A model\n", set(), []),
    "the text of MIT": ("LICENSE", "MIT License\n\nPermission is hereby granted, free of charge, to any person obtaining a copy of", set(), ["mit"]),
    "the text of Apache": ("LICENSE.txt", "Apache License\n Version 2.0, January 2004", set(), ["apache-2.0"]),
    "a text of Llama": ("LICENSE", "LLAMA 3.1 COMMUNITY LICENSE AGREEMENT", {"licence-limited"}, ["llama"]),
    "a text not known": ("LICENSE", "You may look at this.", {"licence-unknown"}, ["other"]),
}  # fmt: skip


@pytest.mark.parametrize(("name", "text", "rules", "licences"), CASES.values(), ids=CASES)
def test_licences_are_read_and_noted(name: str, text: str, rules: set[str], licences: list[str]) -> None:
    report = report_of(text.encode(), name)
    assert {rule for rule in rules_of(report) if rule.startswith("licence")} == rules
    assert [what for kind, what, _ in report.contents if kind == "licence"] == licences
    assert report.outcome is Outcome.PASS


@pytest.mark.parametrize(
    "text", ["---\n" * 50_000, "---\nlicense:" + "\n- x" * 20_000, "---\nlicense: " + "a" * 60_000, "---\n\xff\n---"]
)
@pytest.mark.timeout(10)
def test_hostile_cards_get_a_verdict(text: str) -> None:
    assert report_of(text.encode("latin-1"), "README.md").outcome in set(Outcome)
