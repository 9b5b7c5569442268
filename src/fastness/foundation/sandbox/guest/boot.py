"""The first program inside: sets the limits, greets the parent, then runs the guest's `main`.

Started as `python -I -S boot.py ARGUMENTS` with nothing of the environment on its path but what was bound for it.
"""

from __future__ import annotations

import json
import resource
import sys
from importlib import import_module

SOURCES = "/app/source"
PACKAGES = "/app/packages"


def limit(limits: dict[str, int]) -> None:
    """Set the limits of this process; they hold for all it starts.

    Args:
        limits: name of a resource, such as `AS`, to its hard and soft limit.
    """
    for name, most in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))


def run(arguments: str) -> None:
    """Run the guest that `arguments` (JSON) describe."""
    given = json.loads(arguments)
    limit(given["limits"])
    sys.path[:0] = [SOURCES, PACKAGES]
    inside = import_module("fastness.foundation.sandbox.guest.inside")
    guest = inside.Guest(given["control"], given["files"], given["listener"], given["frame_bytes"])
    guest.greet()
    import_module(given["main"]).main(guest)


if __name__ == "__main__":
    run(sys.argv[1])
