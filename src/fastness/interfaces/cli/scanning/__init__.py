"""`fastness scan …` and `fastness rules`."""

from fastness.interfaces.cli.scanning.commands import app, list_rules

__all__ = ["app", "list_rules"]
