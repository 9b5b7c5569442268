"""Logging in by external OpenID providers: what is settled with them, and the five steps of a login (`logins`)."""

from fastness.access.federation.fetching import Fetcher
from fastness.access.federation.logins import Begun, Federation, note_failure
from fastness.access.federation.mapping import Admitted, admit
from fastness.access.federation.parts import Proven, Resumed
from fastness.access.federation.providers import (
    Authentication,
    Known,
    Provider,
    disable_provider,
    providers,
    set_provider,
    unlink,
)

__all__ = [
    "Admitted",
    "Authentication",
    "Begun",
    "Federation",
    "Fetcher",
    "Known",
    "Proven",
    "Provider",
    "Resumed",
    "admit",
    "disable_provider",
    "note_failure",
    "providers",
    "set_provider",
    "unlink",
]
