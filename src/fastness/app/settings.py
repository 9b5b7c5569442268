"""The settings of a house, composed of each package's own, read once: file < environment < flags."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

from fastness.access.approvals import ApprovalSettings
from fastness.access.duties import DutySettings
from fastness.access.federation import FederationSettings
from fastness.access.login import LoginSettings
from fastness.access.possession import Nonces, SignatureSettings
from fastness.access.quotas import QuotaSettings
from fastness.access.scim import ScimSettings
from fastness.app.home import OPTIONS, Home
from fastness.core.clock import Clock
from fastness.core.secrets import SecretRef
from fastness.core.settings import InvalidSetting, load
from fastness.foundation.crypto import references
from fastness.foundation.sandbox import SandboxSettings
from fastness.foundation.storage import MemoryCounters, counters
from fastness.gateway import GatewaySettings
from fastness.models.release import ReleaseSettings
from fastness.models.runtime import RuntimeSettings
from fastness.models.scan import RunSettings, ScanSettings

_MOST_GATEWAYS = 64
_PORTS = range(65536)
_LONGEST_TOKEN_S = 600
_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?", re.ASCII)

FILE = """\
# Settings of this house. An unknown key, a wrong type or a value out of range stops the start.
# Each key can also be given as FASTNESS_SECTION__KEY in the environment.

[server]
host = "127.0.0.1"
port = 8443
admin_port = 8444       # control plane and console, on this machine only
gateways = 1            # gateway worker processes

[release]
serving = "development" # the environment that the gateway serves
"""


class ClientCertificates(StrEnum):
    """Whether the listeners ask their callers for a certificate, and end the handshake without one."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True)
class ServerSettings:
    """Where the gateway listens.

    Attributes:
        host: address to listen on; 0.0.0.0 is all of IPv4, :: all of IPv6.
        port: 0 takes a free one.
        gateways: gateway worker processes, 1 to 64; limits are shared among them.
        max_key_rate, max_key_burst: the highest limit that a key can be given: requests a second, and at once.
        admin_host, admin_port: where the control plane and the console listen, over TLS, besides the Unix socket; 0 takes
            a free port.
        require_if_match: whether PUT and PATCH have to say by If-Match what they replace.
        names: DNS names and addresses in the certificate, besides `host`; signed requests name one of them as authority.
        client_certificates: whether callers prove themselves by certificates: off, optional or required.
        client_ca: PEM file of authorities whose certificates can be bound to principals, besides the house's own.
        trust_domain: of the SPIFFE names in the certificates that the house issues.
    """

    host: str = "127.0.0.1"
    port: int = 8443
    admin_host: str = "127.0.0.1"
    admin_port: int = 8444
    gateways: int = 1
    names: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")
    max_key_rate: float = 10_000.0
    max_key_burst: float = 20_000.0
    require_if_match: bool = False
    client_certificates: str = ClientCertificates.OFF.value
    client_ca: str = ""
    trust_domain: str = "fastness.internal"

    def __post_init__(self) -> None:
        if self.port not in _PORTS or self.admin_port not in _PORTS:
            raise InvalidSetting("server.port", "and server.admin_port are 0 to 65535")
        if not 1 <= self.gateways <= _MOST_GATEWAYS:
            raise InvalidSetting("server.gateways", f"is 1 to {_MOST_GATEWAYS}")
        if not (self.max_key_rate > 0 and self.max_key_burst >= 1):
            raise InvalidSetting("server.max_key_rate", "is above 0, and max_key_burst at least 1")
        if self.client_certificates not in set(ClientCertificates):
            raise InvalidSetting("server.client_certificates", f"is one of {', '.join(ClientCertificates)}")
        if self.client_ca and self.client_certificates == ClientCertificates.OFF:
            raise InvalidSetting("server.client_ca", "is not used while server.client_certificates is off")
        if not _DOMAIN.fullmatch(self.trust_domain):
            raise InvalidSetting("server.trust_domain", "is a lower-case DNS name")

    def authorities(self, port: int) -> frozenset[str]:
        """What signed requests may name as `@authority` at the listener of this port."""
        names = {name.lower() for name in (*self.names, self.host, self.admin_host, "localhost")}
        hosts = {f"[{name}]" if ":" in name else name for name in names}
        return frozenset(hosts | {f"{host}:{port}" for host in hosts})

    @property
    def local_url(self) -> str:
        """Where callers on this machine reach the gateway."""
        return _local(self.host, self.port)

    @property
    def admin_url(self) -> str:
        """Where the control plane and the console are reached on this machine."""
        return _local(self.admin_host, self.admin_port)

    @property
    def console_origin(self) -> str:
        """The origin of the console by a name, where there is one: passkeys belong to names, not to addresses."""
        near = self.admin_host.startswith("127.") or self.admin_host in {"0.0.0.0", "::", "::1"}  # noqa: S104 - compared
        origin = f"https://localhost:{self.admin_port}" if near else self.admin_url
        return origin.removesuffix(":443")  # as browsers write it

    def listening(self, admin_port: int) -> Self:
        """These settings with the port that the control plane really has."""
        return replace(self, admin_port=admin_port)


@dataclass(frozen=True)
class RedisSettings(counters.RedisSettings):
    """Where the shared counters are.

    Attributes:
        password: of the server, such as secret://file/run/secrets/redis; without one, none is sent.
    """

    password: SecretRef | None = None


@dataclass(frozen=True)
class TokenSettings:
    """The access tokens of this house.

    Attributes:
        issuer: the https address in them, at which the control plane is reached; empty takes that of this machine.
        audience: for whom they are; empty takes the issuer.
        life_s: seconds that one is good for, 1 to 600.
        rotate_s: how old the key that signs them may become; at least an hour.
    """

    issuer: str = ""
    audience: str = ""
    life_s: int = _LONGEST_TOKEN_S
    rotate_s: float = 30 * 86_400.0

    def __post_init__(self) -> None:
        if not 1 <= self.life_s <= _LONGEST_TOKEN_S:
            raise InvalidSetting("tokens.life_s", f"is 1 to {_LONGEST_TOKEN_S}")
        if not 3_600 <= self.rotate_s < float("inf"):
            raise InvalidSetting("tokens.rotate_s", "is at least 3600")


def _local(host: str, port: int) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


@dataclass(frozen=True)
class Settings:
    """The whole tree; each package owns its branch."""

    server: ServerSettings = field(default_factory=ServerSettings)
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    login: LoginSettings = field(default_factory=LoginSettings)
    federation: FederationSettings = field(default_factory=FederationSettings)
    tokens: TokenSettings = field(default_factory=TokenSettings)
    approvals: ApprovalSettings = field(default_factory=ApprovalSettings)
    signatures: SignatureSettings = field(default_factory=SignatureSettings)
    duties: DutySettings = field(default_factory=DutySettings)
    quotas: QuotaSettings = field(default_factory=QuotaSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    secrets: references.SecretsSettings = field(default_factory=references.SecretsSettings)
    scim: ScimSettings = field(default_factory=ScimSettings)
    release: ReleaseSettings = field(default_factory=ReleaseSettings)
    scan: ScanSettings = field(default_factory=ScanSettings)
    scanning: RunSettings = field(default_factory=RunSettings)
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)


def shared_counters(
    settings: Settings, secrets: references.Secrets, clock: Clock, changed: Callable[[str], None] | None = None
) -> counters.RedisCounters:
    """The counters in Redis; while it does not answer, this process counts its share alone, if the settings say so.

    Args:
        changed: told why Redis ceased to answer, and with nothing that it began again.

    Raises:
        Invalid: the settings name no Redis.
    """
    redis = settings.redis
    password = None if redis.password is None else secrets.bound(redis.password, clock)
    return counters.RedisCounters(redis, password, MemoryCounters(1 / settings.server.gateways), changed)


def open_nonces(settings: Settings, secrets: references.Secrets, clock: Clock) -> Nonces:
    """Which signed requests came before: in Redis where the settings name one, else in this process, from now on."""
    redis, skew_s = settings.redis, settings.signatures.skew_s
    if not redis.url:
        return Nonces(counters.MemorySeen(), clock.now(), skew_s)
    password = None if redis.password is None else secrets.bound(redis.password, clock)
    return Nonces(counters.RedisSeen(redis, password), None, skew_s)


def load_settings(home: Home, flags: Mapping[str, str]) -> Settings:
    """The settings of `home`.

    Args:
        flags: dotted keys to text.

    Raises:
        InvalidSetting: anything in them is not understood.
    """
    environment = {name: value for name, value in os.environ.items() if name not in OPTIONS}
    return load(Settings, home.settings, environment, flags)
