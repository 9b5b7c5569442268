"""Floor 9: settings in, wired objects out; the only place that picks implementations, and the processes of `up`.

Names are imported when they are first used: a command that talks to a running house needs the paths of its home and
none of its libraries.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastness.app.control import ControlProcess
    from fastness.app.doctor import examine
    from fastness.app.home import Home, write_private
    from fastness.app.house import House, create_home, open_house
    from fastness.app.lifeline import lifeline
    from fastness.app.settings import ClientCertificates, Settings, load_settings
    from fastness.app.supervisor import listen, python_argv, supervise

__all__ = [
    "ClientCertificates",
    "ControlProcess",
    "Home",
    "House",
    "Settings",
    "create_home",
    "examine",
    "lifeline",
    "listen",
    "load_settings",
    "open_house",
    "python_argv",
    "supervise",
    "write_private",
]

_MODULES = {
    "ClientCertificates": "settings",
    "ControlProcess": "control",
    "Home": "home",
    "House": "house",
    "Settings": "settings",
    "create_home": "house",
    "examine": "doctor",
    "lifeline": "lifeline",
    "listen": "supervisor",
    "load_settings": "settings",
    "open_house": "house",
    "python_argv": "supervisor",
    "supervise": "supervisor",
    "write_private": "home",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
