"""The reviewed globals by name, for whoever looks names up after a scan."""

from __future__ import annotations

from fastness.models.scan.machine import catalogue


def reviewed_globals() -> frozenset[tuple[str, str]]:
    """Module and qualified name of every global that a pickle may name. What each may be called with, the scan checks."""
    return frozenset(catalogue().reviewed)
