"""What a guest sees, before it is seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastness.core.errors import Unavailable
from fastness.foundation.sandbox import EntryPoint
from fastness.foundation.sandbox.view import view_of
from tests.needs import ROOT


def test_neither_home_nor_the_working_folder_nor_the_checkout_is_bound() -> None:
    view = view_of(EntryPoint("fastness.models.runtime.worker", packages=("numpy", "onnxruntime")))
    private = {Path.home(), Path.cwd(), ROOT, ROOT / "src", Path("/"), Path("/etc"), Path("/root"), Path("/usr")}
    assert not {Path(source).resolve() for source, _ in view.binds} & {path.resolve() for path in private}


def test_only_the_packages_asked_for_are_bound() -> None:
    places = {place for _, place in view_of(EntryPoint("fastness.models.runtime.worker", packages=("numpy",))).binds}
    assert {p for p in places if p.startswith("/app")} <= {"/app/packages/numpy", "/app/packages/numpy.libs"}


def test_packages_above_a_module_are_empty_but_for_the_door() -> None:
    texts = {place: content for content, place in view_of(EntryPoint("fastness.models.runtime.worker")).texts}
    assert texts["/app/source/fastness/models/runtime/__init__.py"] == ""
    assert texts["/app/source/fastness/models/__init__.py"] == ""
    door = texts["/app/source/fastness/foundation/sandbox/__init__.py"]
    assert "guest" in door
    assert "subprocess" not in door


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        (EntryPoint("fastness.core.clock", packages=("no_such_package",)), "package-missing"),
        (EntryPoint("fastness.core.clock", packages=("sys",)), "package-missing"),
        (EntryPoint("fastness.core.no_such_module"), "module-missing"),
    ],
)
def test_what_is_not_installed_is_named(entry: EntryPoint, code: str) -> None:
    with pytest.raises(Unavailable) as caught:
        view_of(entry)
    assert caught.value.code == code


def test_the_interpreter_is_within_what_is_bound() -> None:
    view = view_of(EntryPoint("fastness.core.clock"))
    assert any(view.interpreter == place or view.interpreter.startswith(place + os.sep) for _, place in view.binds)
