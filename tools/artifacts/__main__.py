"""Run families of honest models: python -m tools.artifacts [FAMILY ...] --out DIR [--small].

Without a family, all of them; one whose libraries are missing is named and left out. DIR/FAMILY/NAME/ holds the files,
DIR/FAMILY/SOURCES.md the versions that wrote them. `--small` keeps what may be committed as a fixture: at most
20 KB a model, 60 models and 150 KB a family, and nothing in which a path of this machine stands. A family's module may name
the folder of its fixtures, `FOLDER`, and must name the libraries that SOURCES.md tells of, `LIBRARIES`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path

from tools.artifacts import Sample

HERE = Path(__file__).parent
SMALL_BYTES, FAMILY_BYTES, FIXTURES = 20_000, 150_000, 60
GOLDEN = 0.618034  # steps of it spread evenly, however many are taken
_UNSAFE = re.compile(r"[^A-Za-z0-9_.+-]+")


def families() -> list[str]:
    """The names of all families."""
    return sorted(module.name for module in pkgutil.iter_modules([str(HERE)]) if not module.name.startswith("_"))


def samples(family: str) -> Iterator[Sample]:
    """The models of one family."""
    module = importlib.import_module(f"tools.artifacts.{family}")
    yield from module.samples()


def private_paths() -> list[bytes]:
    """Paths of this machine, which no fixture may hold."""
    paths = {tempfile.gettempdir(), str(Path.home()), str(HERE.parents[1]), sys.prefix}
    return [path.encode() + b"/" for path in paths if len(path) > 1]


def fixtures(found: list[Sample]) -> list[Sample]:
    """The ones that may be committed, spread evenly over the family, until it is full."""
    private = private_paths()
    clean = [one for one in found if not any(path in data for data in one[1].values() for path in private)]
    small = [one for one in clean if sum(map(len, one[1].values())) <= SMALL_BYTES]
    kept: list[Sample] = []
    left = FAMILY_BYTES
    for _, one in sorted(enumerate(small), key=lambda pair: pair[0] * GOLDEN % 1):
        size = sum(map(len, one[1].values()))
        if size <= left and len(kept) < FIXTURES:
            kept.append(one)
            left -= size
    return kept


def write(sample: Sample, out: Path) -> None:
    """Write one model under its name."""
    name, files = sample
    for path, data in files.items():
        file = out / _UNSAFE.sub("_", name) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def sources(family: str) -> str:
    """What wrote the files, for the fixtures' own record."""
    module = importlib.import_module(f"tools.artifacts.{family}")
    known = packages_distributions()
    names = sorted({known[name][0] for name in module.LIBRARIES if name in known})
    lines = [f"- {name} {version(name)}" for name in names]
    return "\n".join([f"Written by `python -m tools.artifacts {family} --small` with", "", *lines, ""])


def run(family: str, out: Path, *, small: bool) -> int:
    """Write one family; how many models it has."""
    found = list(samples(family))
    kept = fixtures(found) if small else found
    module = importlib.import_module(f"tools.artifacts.{family}")
    folder = out / str(getattr(module, "FOLDER", family))
    for sample in kept:
        write(sample, folder)
    if kept and hasattr(module, "LIBRARIES"):
        (folder / "SOURCES.md").write_text(sources(family))
    return len(kept)


def main() -> int:
    """Exit status 1 if a family could not be written."""
    parser = argparse.ArgumentParser(prog="tools.artifacts", description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="all where none is given")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--small", action="store_true", help="only what may be committed")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    failed = 0
    for family in given.families or families():
        try:
            count = run(family, given.out, small=given.small)
        except ImportError as error:
            failed += bool(given.families)
            print(f"{family}: left out, {error}")
            continue
        print(f"{family}: {count} models")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
