"""docs/contracts.md says what is built: each exported name stands there, and each name, member and parameter there is real.

The functions that ARCHITECTURE.md names are there too, and the numbers of its steps stand in those that walk the paths.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.house.architecture import NESTED
from tests.needs import ROOT

PAGE = ROOT / "docs" / "contracts.md"
SOURCES = ROOT / "src" / "fastness"
# A bold name, or a code span; spans that are neither a signature nor a member are prose.
_TOKEN = re.compile(r"\*\*(?P<name>\w+)\*\*|`(?P<code>[^`]+)`")
_CALL = re.compile(r"(?P<name>\.?\w*)\((?P<parameters>.*)\)", re.DOTALL)


@dataclass
class Said:
    """What the page says of one exported name."""

    parameters: list[str] | None = None
    members: dict[str, list[str] | None] = field(default_factory=dict)


def sections(page: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def said(section: str) -> dict[str, Said]:
    """Exported name to what follows it, up to the next one."""
    found: dict[str, Said] = {}
    last: Said | None = None
    end = -1
    for token in _TOKEN.finditer(section):
        if token["name"]:
            last, end = found.setdefault(token["name"], Said()), token.end()
            continue
        call = _CALL.fullmatch(token["code"])
        if last is None:
            continue
        if call is not None and not call["name"] and token.start() == end:
            last.parameters = parameters(call["parameters"])
        elif call is not None and call["name"].startswith("."):
            last.members[call["name"][1:]] = parameters(call["parameters"])
        elif re.fullmatch(r"\.\w+", token["code"]):
            last.members[token["code"][1:]] = None
    return found


def parameters(text: str) -> list[str]:
    given = ast.parse(f"def f({text}): ...").body[0]
    assert isinstance(given, ast.FunctionDef)
    rest = [given.args.vararg.arg] if given.args.vararg else []
    return [a.arg for a in given.args.args] + rest + [a.arg for a in given.args.kwonlyargs]


def taken(thing: object) -> list[str]:
    return [name for name in inspect.signature(thing).parameters if name != "self" and not name.startswith("_")]  # type: ignore[arg-type]


def complaints(package: str, page: dict[str, str]) -> Iterator[str]:
    module = importlib.import_module(f"fastness.{package}")
    exported = set(module.__all__)
    written = said(page.get(package, ""))
    yield from (f"{package}.{name} is exported, but not described" for name in sorted(exported - set(written)))
    yield from (f"{package}.{name} is described, but not exported" for name in sorted(set(written) - exported))
    for name in sorted(exported & set(written)):
        yield from _differs(f"{package}.{name}", getattr(module, name), written[name])


def _differs(at: str, thing: object, what: Said) -> Iterator[str]:
    if what.parameters is not None and taken(thing) != what.parameters:
        yield f"{at} takes {taken(thing)}, not {what.parameters}"
    for member, wanted in what.members.items():
        if not _has(thing, member):
            yield f"{at} has no {member}"
        elif wanted is not None and hasattr(thing, member) and wanted != (real := taken(getattr(thing, member))):
            yield f"{at}.{member} takes {real}, not {wanted}"


def _has(thing: object, member: str) -> bool:
    """Whether there is such an attribute; those of instances stand in annotations, or are set in `__init__`."""
    if hasattr(thing, member):
        return True
    if not inspect.isclass(thing):
        return False
    known = any(member in vars(base).get("__annotations__", {}) for base in thing.__mro__)
    return known or re.search(rf"\bself\.{member}\b", inspect.getsource(thing)) is not None


def packages() -> list[str]:
    """Every package that exports something; parts of a package that others cannot enter are left out."""
    found = []
    for path in sorted(SOURCES.rglob("__init__.py")):
        dotted = ".".join(path.relative_to(SOURCES).parts[:-1])
        if not re.search(r"^__all__ = ", path.read_text("utf-8"), re.MULTILINE):
            continue
        if dotted in NESTED or not any(dotted.startswith(f"{outer}.") for outer in found):
            found.append(dotted)
    return found


def test_there_are_packages_to_look_at() -> None:
    assert {"access", "foundation.vault", "models.release"} <= set(packages())


@pytest.mark.parametrize("package", packages())
def test_a_package_is_described_as_it_is(package: str) -> None:
    assert not list(complaints(package, sections(PAGE.read_text("utf-8"))))


@pytest.mark.parametrize("package", ["core", "wire"])
def test_each_public_module_is_named(package: str) -> None:
    section = sections(PAGE.read_text("utf-8"))[package]
    modules = {path.stem for path in (SOURCES / package).glob("*.py")} - {"__init__"}
    assert {name for name in modules if f"`{name}`" not in section} == set()


def links(text: str) -> list[str]:
    """The files that a page points at."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [target for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", prose) if "://" not in target]


def test_links_of_all_pages_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
        for target in links(page.read_text("utf-8"))
        if not (page.parent / target).exists()
    ]
    assert not broken


def functions(path: Path) -> set[str]:
    """Functions, classes and methods (as Class.method) of a file."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}.{m.name}" for m in node.body if isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return found


def test_the_functions_named_in_the_architecture_are_there() -> None:
    named = re.findall(r"`([\w/]+\.py): ([\w.]+)`", (ROOT / "ARCHITECTURE.md").read_text("utf-8"))
    assert len(named) > 20
    files = list(SOURCES.rglob("*.py"))
    lost = [
        f"{file}: {function}"
        for file, function in named
        if not any(
            function in functions(path) for path in files if f"/{path.relative_to(SOURCES)}".endswith(f"/{file}")
        )
    ]
    assert not lost


@pytest.mark.parametrize(
    ("file", "function", "steps"),
    [
        ("models/release/admission.py", "admit", range(1, 8)),
        ("models/release/deployment.py", "deploy", range(8, 11)),
        ("gateway/app.py", "_infer", range(1, 11)),
    ],
)
def test_the_steps_of_a_path_stand_in_its_function(file: str, function: str, steps: range) -> None:
    text = (SOURCES / file).read_text("utf-8")
    nodes = [n for n in ast.walk(ast.parse(text)) if getattr(n, "name", "") == function]
    (node,) = nodes
    body = ast.get_source_segment(text, node) or ""
    comments = " ".join(re.findall(r"# (.*)", body))
    numbers = [int(n) for n in re.findall(r"(?:^|, | )(\d+)(?=[ :,]|$)", comments)]
    assert [n for n in numbers if n in steps][: len(steps)] == list(steps)


# --- the tests above can fail ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("**Vault**`(", "**Cellar**`(), **Vault**`("), "Cellar is described, but not exported"),
        (("**Candidate**", "Candidate"), "Candidate is exported, but not described"),
        (("`.shred(tx, blob)`", "`.shred(tx, blob, why)`"), "Vault.shred takes"),
        (("`.missing(reading)`", "`.absent(reading)`"), "Vault has no absent"),
        (("**Vault**`(blobs, keyring, entropy)`", "**Vault**`(blobs, entropy)`"), "Vault takes"),
    ],
)
def test_a_page_that_is_not_so_is_found(change: tuple[str, str], complaint: str) -> None:
    section = sections(PAGE.read_text("utf-8"))["foundation.vault"]
    found = "\n".join(complaints("foundation.vault", {"foundation.vault": section.replace(*change)}))
    assert complaint in found


def test_the_names_of_a_page_are_read() -> None:
    found = said("- **Keeper**`(key, *, why=None)`: `.hold(thing)`, `.held`; `other(x)` is prose. **free**`(key)`")
    assert found["Keeper"] == Said(["key", "why"], {"hold": ["thing"], "held": None})
    assert found["free"] == Said(["key"])
