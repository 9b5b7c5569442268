"""Sealed tables are written by `access.sealing.records` alone: what writes them otherwise would make rows that are refused."""

from __future__ import annotations

import ast
from pathlib import Path

import fastness

ACCESS = Path(fastness.__file__).parent / "access"
WRITERS = {"insert", "update", "delete"}


def sealed_names() -> set[str]:
    """The names of tables that have a `seal_column()`."""
    found = set()
    for path in ACCESS.rglob("tables.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Assign) and "seal_column" in {
                getattr(call.func, "id", "") for call in ast.walk(node.value) if isinstance(call, ast.Call)
            }:
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def written(path: Path) -> set[str]:
    """The names of tables that a module writes by statements of its own."""
    found = set()
    for call in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in WRITERS:
            found |= {argument.id for argument in call.args if isinstance(argument, ast.Name)}
        elif isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in WRITERS:
            found |= {call.func.value.id} if isinstance(call.func.value, ast.Name) else set()
    return found


def test_sealed_tables_are_written_in_one_place() -> None:
    names = sealed_names()
    assert len(names) >= 37
    strangers = {
        str(path.relative_to(ACCESS)): found
        for path in ACCESS.rglob("*.py")
        if "sealing" not in path.parts and (found := written(path) & names)
    }
    federated = strangers.pop("federation/records.py", set())
    assert strangers == {}
    assert all(name.startswith("FEDERATION_") for name in federated)  # they have no sums
