"""The control plane, `/api/v1`: the one door through which the state of a house changes."""

from fastness.interfaces.api.app import create_api
from fastness.interfaces.api.headers import AsgiApp

__all__ = ["AsgiApp", "create_api"]
