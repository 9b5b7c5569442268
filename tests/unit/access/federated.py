"""A house that lets people in by an external provider, for the tests of federation."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from fastness.access import federation
from fastness.access.federation import Federation, Fetcher, Proven, Provider
from fastness.access.federation.logins import Begun
from fastness.access.federation.mapping import Admitted
from fastness.access.federation.parts import NOBODY, Asker, Resumed
from fastness.access.federation.providers import Known
from fastness.core.clock import SECOND, SystemClock
from fastness.core.identity import PrincipalId, Role
from fastness.core.secrets import SecretBytes
from fastness.foundation.crypto import Purpose, SealedKeyRing
from tests.unit.access.house import ADMIN, House

REDIRECT = "https://fastness.example/console/login/oidc"
SECRET = b"a secret of 32 characters or more"


def settled(issuer: str, **changes: Any) -> Provider:
    values: dict[str, Any] = {
        "name": "acme",
        "issuer": issuer,
        "client_id": "fastness",
        "algorithms": ("ES256", "RS256"),
        "people": {"subject-of-alice": PrincipalId("user:alice")},
    }
    return Provider(**values | changes)


@dataclass
class Gate(House):
    """A house with providers, at the time of the machine: the provider's process knows no other."""

    ring: SealedKeyRing = field(default_factory=lambda: SealedKeyRing.in_memory(os.urandom))
    fetcher: Fetcher = field(default_factory=lambda: Fetcher(loopback=True, timeout_s=30.0))

    def __post_init__(self) -> None:
        self.clock.advance((SystemClock().now() - self.clock.now()) / SECOND)
        self.federation = self.another()
        self.person("alice", Role.DEVELOPER)

    def another(self, fetcher: Fetcher | None = None) -> Federation:
        """A federation that remembers nothing yet."""
        mac = self.ring.mac(Purpose.TOKENS)
        return Federation(mac, self.ring, fetcher or self.fetcher, REDIRECT)

    def settle(self, issuer: str, **changes: Any) -> Provider:
        provider = settled(issuer, **changes)
        public = provider.authentication is federation.Authentication.NONE
        secret = None if public or provider.secret_ref else SecretBytes(SECRET)
        with self.begin() as tx:
            federation.providers.set_provider(tx, self.ring, provider, secret)
        return provider

    def known(self, name: str = "acme") -> Known:
        with self.records.read(ADMIN) as reading:
            return self.federation.known(reading, name)

    def begun(
        self, name: str = "acme", return_to: str = "/models", *, fresh: bool = False, asker: Asker = NOBODY
    ) -> Begun:
        known = self.known(name)
        endpoints = self.federation.endpoints(known, self.clock.now())
        with self.begin() as tx:
            return self.federation.begin(tx, known, endpoints, return_to, fresh=fresh, asker=asker)

    def resumed(self, parameters: dict[str, str], browser: str, name: str = "acme") -> Resumed | None:
        with self.begin() as tx:
            return self.federation.resume(tx, name, parameters, browser)

    def proven(self, resumed: Resumed | None) -> Proven:
        assert resumed is not None
        return self.federation.prove(resumed, self.clock.now())

    def admitted(self, proven: Proven) -> Admitted:
        with self.begin() as tx:
            return federation.admit(tx, proven)
