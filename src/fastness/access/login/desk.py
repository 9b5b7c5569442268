"""What all of login shares: the keys under which its secrets are kept, opaque texts, who knocks, and how attempts end.

Sessions, tickets, elevations, invitations and devices are 256 random bits behind a prefix that secret scanners find. Only
HMAC-SHA-256 of them under a key of their own is kept: a look-up by that digest takes a time that tells nothing about a
secret. Seeds of authenticator apps must be read again; they are wrapped by the key ring for exactly one factor.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

import msgspec

from fastness.access.apikeys import base62
from fastness.access.login.passwords import Cost, Passwords
from fastness.access.login.settings import LoginSettings
from fastness.core.clock import Entropy, Instant, later
from fastness.core.digests import BlobId
from fastness.core.errors import FastnessError, Forbidden, Unavailable
from fastness.core.events import Detail, EventKind
from fastness.core.findings import Decision
from fastness.core.identity import Principal, PrincipalId, TenantId
from fastness.core.secrets import SecretBytes
from fastness.foundation.crypto import KeyContext, KeyRing, Purpose, WrappedKey
from fastness.foundation.storage import Reading, Transaction

T = TypeVar("T")

OPAQUE_PATTERN = r"fs[deilsu]_[0-9A-Za-z]{43}"
"""What a secret scanner looks for."""

_OPAQUE = re.compile(OPAQUE_PATTERN, re.ASCII)
_LOCAL = "local"
_NOBODY = PrincipalId("")
_SECOND_NS = 1_000_000_000


class Use(StrEnum):
    """What a keyed digest is for; each use has a key of its own."""

    SESSION = "session"
    CSRF = "csrf"
    TICKET = "ticket"
    ELEVATION = "elevation"
    INVITATION = "invitation"
    DEVICE = "device"
    RECOVERY = "recovery"
    CHALLENGE = "challenge"
    HANDLE = "handle"
    AGENT = "agent"
    BUCKET = "bucket"
    PASSWORD = "password"  # noqa: S105 - a name, no password


@dataclass(frozen=True, slots=True)
class Client:
    """Who knocks, as far as it can be seen.

    Attributes:
        address: the peer's IP address; empty on a socket of this machine.
        user_agent: the header as sent.
        device: the value of the device cookie; empty without one.
    """

    address: str = ""
    user_agent: str = ""
    device: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of an attempt. A failure is counted in the same transaction, so it is told only after the commit."""

    value: T | None = None
    refusal: FastnessError | None = None

    def settled(self) -> T:
        """What was attained; to be called when the transaction has ended.

        Raises:
            FastnessError: the refusal.
        """
        if self.refusal is not None or self.value is None:
            raise self.refusal or Unavailable("attempt-open", "the attempt came to no end")
        return self.value


class Desk:
    """Where people log in: settings, passwords, and the keys for everything else. Threads share one.

    Args:
        ring: gives the keyed hash of `Purpose.LOGIN`, and wraps seeds.
        passwords: hashes and checks them.
    """

    def __init__(self, settings: LoginSettings, ring: KeyRing, passwords: Passwords) -> None:
        root = ring.mac(Purpose.LOGIN)
        self.settings = settings
        self.passwords = passwords
        self._ring = ring
        self._macs = {use: root.derived(use.encode()) for use in Use}

    @classmethod
    def open(cls, settings: LoginSettings, ring: KeyRing, entropy: Entropy) -> Desk:
        """The desk of a house.

        Raises:
            Unavailable: the list of breached passwords cannot be read.
        """
        pepper = ring.mac(Purpose.LOGIN).derived(Use.PASSWORD.encode())
        cost = Cost(settings.memory_kib, settings.passes, settings.lanes)
        gate = (settings.hash_at_once, settings.hash_queue)
        return cls(settings, ring, Passwords(cost, pepper, entropy, gate, settings.breached))

    def digest(self, use: Use, *parts: str) -> bytes:
        """32 bytes that only this house can compute of `parts`; no two lists of parts run together."""
        return self._macs[use].digest(msgspec.json.encode([_text(part) for part in parts]))

    def known(self, use: Use, text: str) -> bytes:
        """The digest under which the opaque `text` would be kept; of nothing that exists if it is not one."""
        return self.digest(use, text if _OPAQUE.fullmatch(text) else "")

    def wrap(self, seed: SecretBytes, tenant: TenantId, factor: str) -> WrappedKey:
        """`seed` encrypted for this factor of this tenant alone."""
        return self._ring.wrap(seed, _context(tenant, factor))

    def unwrap(self, key: WrappedKey, tenant: TenantId, factor: str) -> SecretBytes:
        """The seed; the caller wipes it.

        Raises:
            Corrupt: it was changed, or is another factor's.
        """
        return self._ring.unwrap(key, _context(tenant, factor))

    def agent(self, client: Client) -> bytes:
        """The digest of a user agent."""
        return self.digest(Use.AGENT, client.user_agent[:1024])

    def network(self, client: Client) -> str:
        """The network of an address, such as 203.0.113.0/24; `local` where there is none."""
        try:
            address = ipaddress.ip_address(client.address.partition("%")[0])
        except ValueError:
            return _LOCAL
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address
        prefix = self.settings.ipv4_prefix if address.version == 4 else self.settings.ipv6_prefix
        return str(ipaddress.ip_network((address, prefix), strict=False))

    def device_cookie(self, tenant: TenantId, principal: PrincipalId, generation: int, tx: Transaction) -> str:
        """A cookie by which the device is known again; to nobody else's account, and not after a new password."""
        device = base62(fresh(tx.events.entropy))
        head = f"fsd_{device}.{tx.now // _SECOND_NS}"
        return f"{head}.{self._device_mac(head, tenant, principal, generation)}"

    def device(self, cookie: str, account: tuple[TenantId, PrincipalId, int], now: Instant) -> str:
        """The id of a known device; empty if the cookie is not good for this account."""
        tenant, principal, generation = account
        head, _, mac = cookie[:256].rpartition(".")
        good = hmac.compare_digest(_text(mac).encode(), self._device_mac(head, tenant, principal, generation).encode())
        device, _, issued = head.partition(".")
        if not good or later(Instant(int(issued) * _SECOND_NS), self.settings.device_days * 86_400.0) <= now:
            return ""
        return device

    def _device_mac(self, head: str, tenant: TenantId, principal: PrincipalId, generation: int) -> str:
        digest = self.digest(Use.DEVICE, head, tenant, principal, str(generation))
        return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def opaque(prefix: str, entropy: Entropy) -> str:
    """A fresh opaque text: `prefix`, an underscore and 256 random bits.

    Raises:
        Unavailable: the source of randomness is broken.
    """
    return f"{prefix}_{base62(fresh(entropy))}"


def fresh(entropy: Entropy) -> bytes:
    """32 random bytes. Raises Unavailable where the source gives none."""
    secret = entropy(32)
    if len(secret) != 32 or not any(secret):
        raise Unavailable("entropy-broken", "the source of randomness is broken", "Check the operating system's.")
    return secret


def require_own(reading: Reading, who: Principal) -> None:
    """Return if the view is of the tenant of who asks: a principal is nobody in another one, whatever its name.

    Raises:
        Forbidden: `tenant-foreign`.
    """
    if reading.scope.tenant != who.tenant:
        raise Forbidden("tenant-foreign", "this belongs to another tenant")


def note(  # the fields of an event that login fills
    tx: Transaction,
    kind: EventKind,
    resource: str,
    by: PrincipalId = _NOBODY,
    reason: str = "",
    details: dict[str, Detail] | None = None,
) -> None:
    """Emit an event caused by `by`; empty where nobody was authenticated, or the scope says it."""
    failed = kind in {EventKind.AUTHENTICATION_FAILED, EventKind.STEP_UP_FAILED}
    passed = kind in {EventKind.AUTHENTICATION_SUCCEEDED, EventKind.STEP_UP_SUCCEEDED}
    decision = Decision.DENY if failed else Decision.ALLOW if passed else None
    event = tx.events.make(kind, resource, decision=decision, reason=reason, details=details)
    tx.emit(msgspec.structs.replace(event, principal=by) if by else event)


def _context(tenant: TenantId, factor: str) -> KeyContext:
    return KeyContext(tenant, BlobId(hashlib.sha256(f"login-totp:{factor}".encode()).hexdigest()), 0)


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
