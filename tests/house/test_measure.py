"""tools/house.py: what it measures, and that each limit of the budget is held."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.needs import ROOT
from tools import house


def package(tmp_path: Path, text: str, name: str = "module.py") -> Path:
    root = tmp_path / "pack"
    root.mkdir(exist_ok=True)
    (root / "__init__.py").touch()
    (root / name).write_text(text, encoding="utf-8")
    return root


def body(lines: int, indent: str = "    ") -> str:
    return "".join(f"{indent}x{i} = {i}\n" for i in range(lines))


def classes(depth: int) -> str:
    return "class C0: ...\n" + "".join(f"class C{i}(C{i - 1}): ...\n" for i in range(1, depth))


FAULTS = [
    ("long file", "x = 1\n" * 601, "601 lines"),
    ("long function", f"def f():\n    '''Doc.'''\n{body(50)}", "length 51"),
    ("complex function", "def f(x):\n" + "    if x: pass\n" * 12, "complexity 13"),
    ("deep function", "def f():\n for a in b:\n  if a:\n   with a:\n    while a: pass\n", "nesting 4"),
    ("many parameters", "def f(a, b, c, d, e, *, f, g): ...\n", "parameters 7"),
    ("many methods", "class C:\n" + "".join(f"    def m{i}(self): ...\n" for i in range(15)), "15 methods"),
    ("no docstring", f"def f():\n{body(10)}", "no docstring"),
    ("deep inheritance", classes(4), "inheritance 4 deep"),
    ("vague name", "class FooManager: ...\n", "vague name"),
    ("much Any", "x: Any\n" * 6, "Any: 6.0 per 1000"),
    ("many suppressions", "x = 1  # noqa: X\n" * 6, "suppression: 6.0 per 1000"),
    ("broad excepts", "try: x\nexcept Exception: y\n" * 2, "broad except: 2.0 per 1000"),
]
SOUND = [
    ("file", "x = 1\n" * 600),
    ("function", f"def f():\n    '''Doc.'''\n{body(49)}"),
    ("branches", "def f(x):\n    '''Doc.'''\n" + "    if x: pass\n" * 11),
    ("elif is not nesting", "def f():\n" + "  if a: pass\n" + "  elif b: pass\n" * 5),
    ("parameters without self", "class C:\n    def m(self, a, b, c, d, e, f): ...\n"),
    ("private, so without a docstring", f"def _f():\n{body(20)}"),
    ("a function inside is counted by itself", f"def f():\n    '''Doc.'''\n    def g():\n{body(10, ' ' * 8)}"),
    ("inheritance", classes(3)),
    ("a word in a string", 'x = "Any # noqa: X"\n' * 20),
]


@pytest.mark.parametrize(("text", "complaint"), [pytest.param(t, c, id=i) for i, t, c in FAULTS])
def test_what_breaks_the_budget_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    seen = house.check(package(tmp_path, text), None)
    assert any(complaint in line for line in seen), seen


@pytest.mark.parametrize("text", [pytest.param(t, id=i) for i, t in SOUND])
def test_what_keeps_the_budget_passes(tmp_path: Path, text: str) -> None:
    assert house.check(package(tmp_path, text), None) == []


def test_every_limit_has_its_fault() -> None:
    shown = " ".join(complaint for _, _, complaint in FAULTS)
    words = {"lines": "lines", "bare": "no docstring"}
    assert all(words.get(name, name) in shown for name in [*house.BUDGET, *house.RATES])


def test_a_cycle_is_named_also_where_it_is_lazy(tmp_path: Path) -> None:
    package(tmp_path, "import pack.b\n", "a.py")
    root = package(tmp_path, "def f():\n    import pack.a\n", "b.py")
    assert house.check(root, None) == ["pack.a: import cycle with pack.b"]


def test_an_exception_covers_its_name_and_a_stale_one_is_a_complaint(tmp_path: Path) -> None:
    root = package(tmp_path, "def f(a, b, c, d, e, f, g): ...\n")
    budget = tmp_path / "budget.txt"
    budget.write_text("# a comment\npack.module.f  one for each field\npack.gone  it was long\n", encoding="utf-8")
    assert house.check(root, budget) == ["pack.gone: exception no longer needed"]


def test_an_exception_without_a_reason_does_not_count(tmp_path: Path) -> None:
    root = package(tmp_path, "def f(a, b, c, d, e, f, g): ...\n")
    budget = tmp_path / "budget.txt"
    budget.write_text("pack.module.f\n", encoding="utf-8")
    assert house.check(root, budget) == ["pack.module.f: parameters 7"]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tools" / "house.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_fails_when_the_budget_is_broken(tmp_path: Path) -> None:
    done = run("--check", package(tmp_path, "x: Any\n" * 6))
    assert (done.returncode, "Any: 6.0" in done.stderr) == (1, True)


@pytest.mark.parametrize("arguments", [["--check", "no/such/folder"], ["--nonsense"], ["--check", "--json"]])
def test_a_check_of_nothing_does_not_pass(arguments: list[str]) -> None:
    assert run(*arguments).returncode == 2


def test_this_house_keeps_its_budget() -> None:
    done = run("--check", "src/fastness")
    assert done.returncode == 0, done.stdout + done.stderr
