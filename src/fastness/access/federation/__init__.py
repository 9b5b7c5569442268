"""Logging in by external OpenID providers: what is settled with them, and the five steps of a login (`logins`).

`providers` is what administrators settle, `identities` who of a provider's people is who here, `logouts` how sessions
that began by a provider end with it, `Federation.talks` tells whether a provider does what is settled with it.
"""

from fastness.access.federation import identities, logouts, providers
from fastness.access.federation.fetching import Fetcher
from fastness.access.federation.logins import Federation, note_failure, place_of, read_place
from fastness.access.federation.mapping import admit
from fastness.access.federation.parts import Asker, Proven
from fastness.access.federation.providers import Authentication, Provider
from fastness.access.federation.settings import FederationSettings
from fastness.access.federation.talks import References

__all__ = [
    "Asker",
    "Authentication",
    "Federation",
    "FederationSettings",
    "Fetcher",
    "Proven",
    "Provider",
    "References",
    "admit",
    "identities",
    "logouts",
    "note_failure",
    "place_of",
    "providers",
    "read_place",
]
