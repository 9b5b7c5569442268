"""Find the plug-ins of one kind: one file each in a folder, no central list, nothing registered on import."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection
from importlib.metadata import entry_points
from types import ModuleType

from fastness.core.errors import Conflict, Invalid


def discover(package: ModuleType, marker: str, outside: Collection[str] = ()) -> dict[str, type]:
    """The classes called `marker` in the modules of `package`, by their `name`, sorted.

    Third parties offer theirs in the entry-point group named after the package; only the entry points listed in
    `outside` are loaded, for an installed package is not yet a trusted one.

    Raises:
        Invalid: a module of the folder lacks the marker.
        Conflict: two plug-ins share a name.
    """
    plugins = []
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        plugin = getattr(module, marker, None)
        if plugin is None:
            raise Invalid("plugin-marker", f"{module.__name__} has no {marker}")
        plugins.append(plugin)
    plugins += [e.load() for e in entry_points(group=package.__name__) if e.name in outside]
    found: dict[str, type] = {}
    for plugin in sorted(plugins, key=lambda p: str(p.name)):
        if plugin.name in found:
            raise Conflict("plugin-duplicate", f"two plug-ins of {package.__name__} are called {plugin.name!r}")
        found[plugin.name] = plugin
    return found
