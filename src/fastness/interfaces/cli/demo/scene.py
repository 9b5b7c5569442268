"""What the steps of the story share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fastness.interfaces.cli.demo.model import Trained
from fastness.interfaces.cli.demo.people import Person


@dataclass
class Scene:
    """A running house with its people, and the model that is brought in.

    Attributes:
        blobs: blob file of each version, by number.
        key: the caller's API key.
    """

    root: Path
    people: dict[str, Person]
    model: Trained
    port: int
    blobs: dict[int, Path] = field(default_factory=dict)
    key: str = ""

    @property
    def house(self) -> Path:
        """The home folder."""
        return self.root / "home"

    @property
    def url(self) -> str:
        """Where the gateway listens."""
        return f"https://127.0.0.1:{self.port}"
