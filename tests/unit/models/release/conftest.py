from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.models.release.world import World, copied


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with copied(tmp_path / "home") as world:
        yield world
