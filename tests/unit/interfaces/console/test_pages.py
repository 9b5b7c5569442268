"""What people do on the pages, from the one-time code to the way out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.interfaces.api.town import Town, founded
from tests.unit.interfaces.console.visit import arrive


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory(prefix="fastness-console-") as folder, founded(Path(folder) / "home") as made:
        yield made


def test_smoke(town: Town) -> None:
    visitor = arrive(town, "alice")
    home = visitor.browser.get("/console")
    assert home.status == 200, home.text
    done = visitor.set_up_app()
    assert done.status == 200
    assert len(visitor.app.recovery) == 10
    page = visitor.browser.get("/console/security")
    out = visitor.browser.fill(page, "/console/logout")
    assert (out.status, out.to) == (303, "/console/login")
    assert visitor.browser.get("/console").to == "/console/login?next=/console"
    back = visitor.log_in()
    assert (back.status, back.to) == (303, "/console"), back.text
