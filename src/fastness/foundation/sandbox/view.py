"""What a guest sees: the C library, the interpreter, the packages it names and its own sources. Nothing else.

No working directory, no home, no /etc, no shell: of /usr only the libraries. The guest's sources are read here and
written into the view, so that it does not matter who may enter the folder they lie in.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

from fastness.core.errors import Unavailable
from fastness.foundation.sandbox.guest import boot
from fastness.foundation.sandbox.settings import EntryPoint

BOOT = "fastness.foundation.sandbox.guest.boot"
_PACKAGE = "fastness.foundation.sandbox"
_ALWAYS = tuple(f"{_PACKAGE}.guest.{name}" for name in ("boot", "channel", "inside", "lockdown"))
# The door of this package as guests find it: what they may use of it, without what starts sandboxes.
_DOOR = f"""\
from {_PACKAGE}.guest.channel import HEAD_BYTES, Channel, ChannelError, pack_head, read_head
from {_PACKAGE}.guest.inside import Guest
from {_PACKAGE}.guest.lockdown import LockError
"""
_SYSTEM = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32")
# Wheels name the folder of their shared libraries after the distribution.
_DISTRIBUTIONS = {"sklearn": "scikit_learn"}
_ROOT_LIBS = ("/lib", "/lib32", "/lib64", "/libx32")


@dataclass(frozen=True, slots=True)
class View:
    """Mounts (source, place), links (target, place) and written files (content, place), and how to begin in it."""

    binds: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]
    texts: tuple[tuple[str, str], ...]
    interpreter: str
    boot: str


def view_of(entry: EntryPoint, extra: tuple[tuple[str, str], ...] = ()) -> View:
    """What `entry` needs to run.

    Args:
        extra: further files to bind, read-only.

    Raises:
        Unavailable: a module or package is not installed.
    """
    interpreter = str(Path(getattr(sys, "_base_executable", None) or sys.executable).resolve())
    binds: dict[str, str] = {path: path for path in _SYSTEM if Path(path).is_dir()}
    links = []
    for path in _ROOT_LIBS:
        if Path(path).is_symlink():
            links.append((str(Path(path).readlink()), path))
        elif Path(path).is_dir():
            binds[path] = path
    for part in (interpreter, *_libraries(Path(sys.base_prefix).resolve())):
        if not any(part == place or part.startswith(f"{place}/") for place in binds):
            binds[part] = part
    for package in entry.packages:
        binds |= {place: str(source) for source, place in _package(package)}
    texts = tuple(_sources((*_ALWAYS, entry.main, *entry.modules)))
    given = [(source, place) for place, source in binds.items()]
    return View((*given, *extra), tuple(links), texts, interpreter, f"{boot.SOURCES}/{_relative(BOOT)}")


def _libraries(prefix: Path) -> Iterator[str]:
    for name in ("lib", "lib64"):
        if (prefix / name).is_dir() and not (prefix / name).is_symlink():
            yield str(prefix / name)


def _package(name: str) -> Iterator[tuple[Path, str]]:
    """The folder of a package, and the one beside it in which wheels keep their shared libraries; or a module's file."""
    found = _found(name)
    place = f"{boot.PACKAGES}/{name.replace('.', '/')}"
    if not found.submodule_search_locations:
        file = Path(str(found.origin)).resolve()
        yield file, f"{place}{''.join(file.suffixes)}"
        return
    folder = Path(next(iter(found.submodule_search_locations))).resolve()
    yield folder, place
    beside = folder.with_name(f"{_DISTRIBUTIONS.get(name, name)}.libs")
    if beside.is_dir():
        yield beside, f"{boot.PACKAGES}/{beside.name}"


def _found(name: str) -> ModuleSpec:
    try:
        found = find_spec(name)
    except ModuleNotFoundError:  # the package around it
        found = None
    if found is None or not (found.submodule_search_locations or Path(str(found.origin)).is_file()):
        raise Unavailable(
            "package-missing", f"the package {name} is not installed", "Install Fastness with the extra that brings it."
        )
    return found


def _sources(modules: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The sources of `modules`, under packages that are empty: what a package's own `__init__` loads is not wanted."""
    packages = {module.rpartition(".")[0] for module in modules}
    packages |= {".".join(parts[:n]) for p in packages for parts in [p.split(".")] for n in range(1, len(parts))}
    for package in sorted(packages - {""}):
        yield _DOOR if package == _PACKAGE else "", f"{boot.SOURCES}/{package.replace('.', '/')}/__init__.py"
    for module in dict.fromkeys(modules):
        found = find_spec(module)
        if found is None or found.origin is None:
            raise Unavailable("module-missing", f"the module {module} is not there", "Install Fastness again.")
        yield Path(found.origin).read_text("utf-8"), f"{boot.SOURCES}/{_relative(module)}"


def _relative(module: str) -> str:
    return f"{module.replace('.', '/')}.py"
