from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.interfaces.api.town import Town, founded


@pytest.fixture(scope="session")
def town() -> Iterator[Town]:
    """One house for all tests of the control plane, with a model in service; tests make models of their own to change."""
    with tempfile.TemporaryDirectory(prefix="fastness-api-") as folder, founded(Path(folder) / "home") as made:
        made.released("served", versions=2)
        yield made
