"""The pages made from the code are current, and say something of what they list."""

from __future__ import annotations

import re

import pytest

from tests.needs import ROOT
from tools.reference import POLICIES, pages


@pytest.mark.parametrize("name", ["settings.md", "rules.md", "roles.md"])
def test_the_page_is_current(name: str) -> None:
    assert (ROOT / "docs" / name).read_text("utf-8") == pages()[name], "run: python tools/reference.py"


def test_settings_rules_and_roles_are_found() -> None:
    made = pages()
    policies = "".join(path.read_text("utf-8") for path in POLICIES.glob("*.cedar"))
    assert len(re.findall(r"^\| `[\w-]+` \| [^|]+ \| [^|]+ \|$", made["roles.md"], re.MULTILINE)) == policies.count(
        "@id("
    )
    assert "| `publisher` | A publisher brings models in" in made["roles.md"]
    assert "| `max_connections` | whole number | `1024` | open at once" in made["settings.md"]
    assert re.search(r"^\| `pickle-dangerous-call` \| critical \| \*\*.+CWE-502", made["rules.md"], re.MULTILINE)
