"""How people prove who they are, and for how long that is believed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import urlsplit

from fastness.core.settings import InvalidSetting

STEP_UP_S = 300.0
"""A second factor is good for sensitive operations for so long; policies count on it, so it is no setting."""

_LEAST_MEMORY_KIB = 19_456  # OWASP Password Storage Cheat Sheet: Argon2id with 19 MiB and 2 passes at least
_MOST_MEMORY_KIB = 1 << 20
_DAY_S = 86_400.0


@dataclass(frozen=True)
class LoginSettings:
    """Where people log in, what their passwords cost, and how long sessions and delays last.

    Attributes:
        origin: of the console as browsers see it, such as https://fastness.example:8444; passkeys work there alone. Empty
            for where the control plane listens, by name: https://localhost:8444.
        rp_id: the domain that passkeys belong to: the host of `origin` or a parent domain of it; empty for the host. A
            change voids them all.
        issuer: what authenticator apps call this house.
        memory_kib, passes, lanes: Argon2id; passwords are hashed anew at the next login when they change. The defaults are
            the second recommendation of RFC 9106, section 4.
        hash_at_once: passwords hashed at the same time; `memory_kib` is needed for each.
        hash_queue: how many may wait for that; more are told to come back.
        breached: a sorted file of SHA-1 digests, or a folder of range files by their first five digits, of passwords that
            are known to others; empty for none.
        free_attempts: wrong passwords or codes of one network, device or credential before it has to wait.
        free_network: the same for all accounts that one network tries.
        free_account: the same for one account from all networks unknown to it.
        delay_s, delay_max_s: the first wait and the longest one; each is twice the one before.
        account_delay_max_s: the longest wait of unknown devices where only the account as a whole has too many failures.
        forget_s: failures are forgotten this long after the last.
        buckets_max: rows of failures that one tenant keeps.
        ipv4_prefix, ipv6_prefix: how much of an address makes a network.
        idle_s, absolute_s: a session ends when it was not used for so long, and in any case after so long.
        bind_network: whether a session works from its network alone.
        sessions_max: sessions of one principal; a further one ends the oldest.
        ticket_s: how long a login may take between password and second factor.
        challenges_max: passkey challenges open at once in one tenant.
        device_days: how long a device stays known after a login.
    """

    origin: str = ""
    rp_id: str = ""
    issuer: str = "Fastness"
    memory_kib: int = 65_536
    passes: int = 3
    lanes: int = 4
    hash_at_once: int = 2
    hash_queue: int = 16
    breached: str = ""
    free_attempts: int = 5
    free_network: int = 50
    free_account: int = 50
    delay_s: float = 2.0
    delay_max_s: float = 900.0
    account_delay_max_s: float = 60.0
    forget_s: float = 3600.0
    buckets_max: int = 20_000
    ipv4_prefix: int = 24
    ipv6_prefix: int = 48
    idle_s: float = 900.0
    absolute_s: float = 43_200.0
    bind_network: bool = False
    sessions_max: int = 20
    ticket_s: float = 300.0
    challenges_max: int = 10_000
    device_days: int = 180

    def __post_init__(self) -> None:
        for key, (holds, problem) in self._rules().items():
            if not holds:
                raise InvalidSetting(f"login.{key}", problem)

    def at(self, origin: str) -> Self:
        """These settings for a console at `origin`, where they name none."""
        origin = self.origin or origin
        return replace(self, origin=origin, rp_id=self.rp_id or urlsplit(origin).hostname or "")

    def _rules(self) -> dict[str, tuple[bool, str]]:
        """What must hold of each key, and how to say so."""
        at = urlsplit(self.origin)
        host = at.hostname or ""
        bare = at.scheme == "https" or (at.scheme == "http" and host == "localhost")
        return {
            "origin": (
                not self.origin or (bare and self.origin == f"{at.scheme}://{at.netloc}" and "@" not in at.netloc),
                "is https://HOST",
            ),
            "rp_id": (
                not self.rp_id or host == self.rp_id or host.endswith(f".{self.rp_id}"),
                "is the host of origin, or a parent of it, and empty where origin is",
            ),
            "issuer": (0 < len(self.issuer) <= 40 and ":" not in self.issuer, "is 1 to 40 characters without a colon"),
            "memory_kib": (
                _LEAST_MEMORY_KIB <= self.memory_kib <= _MOST_MEMORY_KIB,
                f"is {_LEAST_MEMORY_KIB} to {_MOST_MEMORY_KIB}",
            ),
            "passes": (2 <= self.passes <= 16, "is 2 to 16"),
            "lanes": (1 <= self.lanes <= 16, "is 1 to 16"),
            "hash_at_once": (1 <= self.hash_at_once <= 64, "is 1 to 64"),
            "hash_queue": (0 <= self.hash_queue <= 1000, "is 0 to 1000"),
            "free_attempts": (1 <= self.free_attempts <= 10, "is 1 to 10"),
            "free_network": (1 <= self.free_network <= 1000, "is 1 to 1000"),
            "free_account": (1 <= self.free_account <= 1000, "is 1 to 1000"),
            "delay_s": (1 <= self.delay_s <= self.delay_max_s <= _DAY_S, "is 1 s to delay_max_s, and that a day"),
            "account_delay_max_s": (1 <= self.account_delay_max_s <= self.delay_max_s, "is 1 s to delay_max_s"),
            "forget_s": (self.delay_max_s <= self.forget_s <= 30 * _DAY_S, "is delay_max_s to 30 days"),
            "buckets_max": (100 <= self.buckets_max <= 10_000_000, "is 100 to 10000000"),
            "ipv4_prefix": (8 <= self.ipv4_prefix <= 32, "is 8 to 32"),
            "ipv6_prefix": (16 <= self.ipv6_prefix <= 128, "is 16 to 128"),
            "idle_s": (60 <= self.idle_s <= self.absolute_s <= 7 * _DAY_S, "is 60 s to absolute_s, and that 7 days"),
            "sessions_max": (1 <= self.sessions_max <= 1000, "is 1 to 1000"),
            "ticket_s": (30 <= self.ticket_s <= 900, "is 30 to 900"),
            "challenges_max": (10 <= self.challenges_max <= 1_000_000, "is 10 to 1000000"),
            "device_days": (1 <= self.device_days <= 400, "is 1 to 400"),
        }
