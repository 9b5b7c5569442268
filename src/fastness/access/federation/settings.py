"""From where this house takes what external providers publish, and which secrets it may show them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from fastness.core.errors import Invalid
from fastness.core.identity import DEFAULT_TENANT, TenantId
from fastness.core.secrets import SecretRef
from fastness.core.settings import InvalidSetting

_LONGEST_WAIT_S = 30.0


@dataclass(frozen=True)
class FederationSettings:
    """Logging in by external OpenID providers.

    Attributes:
        networks: private networks that providers may be in, such as 10.20.0.0/16; all others are refused.
        loopback: whether a provider may be on this machine, over http too.
        ca_file: certificates to trust in place of the system's; empty for the system's.
        timeout_s: of one exchange with a provider as a whole, at most 30.
        at_once: exchanges at the same time; whoever comes beyond that is asked to try again.
        secrets: references that may be given as the secret of a provider, each whole or up to a last `/`, such as
            secret://vault/kv/sso/ . Without one none may: whoever sets a provider could have any secret sent to it.
    """

    networks: tuple[str, ...] = ()
    loopback: bool = False
    ca_file: str = ""
    timeout_s: float = 5.0
    at_once: int = 8
    secrets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            for network in self.networks:
                ipaddress.ip_network(network)
        except ValueError as error:
            raise InvalidSetting("federation.networks", f"names networks such as 10.20.0.0/16: {error}") from error
        if not 0 < self.timeout_s <= _LONGEST_WAIT_S:
            raise InvalidSetting("federation.timeout_s", f"is above 0 and at most {_LONGEST_WAIT_S:g}")
        if not 1 <= self.at_once <= 64:
            raise InvalidSetting("federation.at_once", "is 1 to 64")
        for entry in self.secrets:
            try:
                SecretRef.parse(entry + "x#x" if entry.startswith("secret://vault/") and entry[-1] == "/" else entry)
            except Invalid as error:
                raise InvalidSetting("federation.secrets", error.hint) from error

    def permits(self, tenant: TenantId, reference: str) -> bool:
        """Whether a provider of the tenant may be shown this secret: of the house's own, and as the settings name it."""
        named = any(reference == entry or (entry[-1] == "/" and reference.startswith(entry)) for entry in self.secrets)
        return tenant == DEFAULT_TENANT and named
