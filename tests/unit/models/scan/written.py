"""The committed model files that real libraries wrote, and what readers tell of bytes."""

from collections.abc import Iterator
from pathlib import Path

from fastness.core.sources import BytesSource
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.catalogue import all_readers
from fastness.models.scan.facts import Fact, FactKind

FOLDER = Path(__file__).parents[3] / "data/artifacts"


def fixtures(family: str, prefix: str = "") -> list[tuple[str, dict[str, bytes]]]:
    """The models of a family whose names begin with `prefix`: name, and files by path."""
    found = [folder for folder in sorted((FOLDER / family).glob(f"{prefix}*")) if folder.is_dir()]
    assert found, f"no {family} {prefix}"
    return [(folder.name, dict(_files(folder))) for folder in found]


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield file.relative_to(folder).as_posix(), file.read_bytes()


def fixture(family: str, name: str, path: str) -> bytes:
    """One file of one model."""
    return (FOLDER / family / name / path).read_bytes()


def read_facts(reader: str, data: bytes, *kinds: FactKind) -> list[Fact]:
    """What one reader tells of `data`, of these kinds; of all kinds where none is given."""
    (one,) = [each for each in all_readers() if each.name == reader]
    told = one.read(BytesSource("m", data), Budget(ScanSettings()))
    return [item for item in told if isinstance(item, Fact) and (not kinds or item.kind in kinds)]
