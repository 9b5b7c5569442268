"""Setting and lifting restrictions: each with its reason, its author and its end.

A restriction is itself a lever against the house, so it has bounds: no block may leave a tenant without an administrator who can
act, none covers the addresses of the house itself or of whoever sets it, none takes away the actions by which it is lifted,
at most half of the people may be blocked at once, and one author sets so many an hour. A throttle keeps a pace at which a
person can still work.

What it misses: an administrator whose only factors are lost is not counted as locked out; `credential.reset` is the way back.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum

from fastness.access import records as people
from fastness.access.restrictions import records
from fastness.access.restrictions.records import RestrictionRow
from fastness.core.clock import SECOND, Instant, later, uuid7
from fastness.core.errors import Conflict, Corrupt, Forbidden, Invalid, Limited, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.identity import DEFAULT_TENANT, Action, PrincipalId, PrincipalKind, Role, TenantId
from fastness.core.limits import Limit
from fastness.foundation.storage import Reading, Transaction

TOPIC = "restrictions"
LONGEST_S = 30 * 86_400.0
MOST_STANDING = 1000
MOST_AN_HOUR = 30
SLOWEST_PER_S = 0.1
WIDEST = {4: 8, 6: 24}
"""The shortest prefix of a network that may be restricted, by version of the Internet protocol."""

KEPT_OPEN = frozenset(
    {
        Action.RESTRICTION_CHANGE,
        Action.ACCESS_READ,
        Action.ROLE_GRANT,
        Action.PRINCIPAL_CREATE,
        Action.KEY_CREATE,
        Action.KEY_REVOKE,
        Action.SESSION_REVOKE,
        Action.CREDENTIAL_RESET,
        Action.POLICY_CHANGE,
    }
)
"""Actions that no block takes away, since by them a house is set right."""
_LONGEST_REASON = 512
_HOUR_NS = 3600 * SECOND


class Measure(StrEnum):
    """What a restriction does."""

    BLOCK = "block"
    THROTTLE = "throttle"
    STEP_UP = "step-up"


class Kind(StrEnum):
    """What a restriction is on."""

    PRINCIPAL = "principal"
    KEY = "key"
    ADDRESS = "address"
    TENANT = "tenant"
    MODEL = "model"
    ACTION = "action"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be restricted, how, why and until when.

    Attributes:
        target: an id, a name, an action, or an address or network such as `203.0.113.0/24`.
        limit: the pace of a throttle; None for all else.
    """

    measure: Measure
    kind: Kind
    target: str
    reason: str
    expires_at: Instant
    limit: Limit | None = None


@dataclass(frozen=True, slots=True)
class Restriction:
    """A restriction as it stands."""

    id: str
    tenant: TenantId
    order: Order
    author: PrincipalId
    created_at: Instant
    lifted_at: Instant | None = None
    lifted_by: PrincipalId | None = None


def impose(tx: Transaction, order: Order, here: str = "") -> Restriction:
    """Set a restriction; the workers keep it with their next snapshot.

    Args:
        here: the address that the request came from; it is not blocked.

    Raises:
        Invalid: it has no reason, no end within 30 days, or no such target.
        Forbidden: only the house restricts tenants, and never itself.
        Conflict: it would lock out a tenant's last administrator, whoever sets it, or more than half of the people.
        Limited: its author has set too many this hour.
    """
    order = _checked(tx, order, here)
    standing = records.find_standing(tx, tx.now)
    if len(standing) >= MOST_STANDING:
        raise Conflict("restrictions-many", f"{MOST_STANDING} restrictions stand already", "Lift some.")
    if order.measure is Measure.BLOCK:
        _require_measured(tx, order, standing)
    limit = order.limit
    row = RestrictionRow(
        tx.scope.tenant, uuid7(tx.now, tx.events.entropy), order.measure, order.kind, order.target,
        None if limit is None else limit.per_s, None if limit is None else limit.burst,
        order.reason, tx.scope.principal, tx.now, order.expires_at,
    )  # fmt: skip
    records.add(tx, row)
    details: dict[str, Detail] = {
        "measure": order.measure.value,
        "target": f"{order.kind}:{order.target}",
        "expires_at": order.expires_at,
        "why": order.reason,
    }
    tx.emit(tx.events.make(EventKind.RESTRICTION_SET, f"restriction:{row.id}", details=details))
    tx.touch(TOPIC)
    return opened(row)


def lift(tx: Transaction, restriction: str, reason: str) -> None:
    """End a restriction.

    Raises:
        NotFound: none of that id stands in the tenant.
        Invalid: no reason.
    """
    _require_reason(reason)
    if records.mark_lifted(tx, restriction, tx.scope.principal) != 1:
        raise NotFound("restriction-unknown", "no such restriction stands", "See: fastness access restrictions.")
    tx.emit(
        tx.events.make(
            EventKind.RESTRICTION_LIFTED, f"restriction:{restriction}", reason="lifted", details={"why": reason}
        )
    )
    tx.touch(TOPIC)


def expire(tx: Transaction) -> int:
    """Put away the restrictions that have ended by themselves; how many. They counted no more before that."""
    ended = records.find_expired(tx, tx.now)
    for row in ended:
        records.mark_lifted(tx, row.id, tx.scope.principal)
        tx.emit(tx.events.make(EventKind.RESTRICTION_LIFTED, f"restriction:{row.id}", reason="expired"))
    if ended:
        tx.touch(TOPIC)
    return len(ended)


def standing(reading: Reading, now: Instant) -> list[Restriction]:
    """The restrictions of the tenant that count now, oldest first."""
    return [opened(row) for row in records.find_standing(reading, now)]


def history(reading: Reading) -> list[Restriction]:
    """All restrictions that the tenant ever had, oldest first."""
    return [opened(row) for row in records.find(reading)]


def find(reading: Reading, restriction: str) -> Restriction:
    """The restriction of that id.

    Raises:
        NotFound: there is none in the tenant.
    """
    rows = records.find(reading, restriction)
    if not rows:
        raise NotFound("restriction-unknown", "there is no such restriction", "See: fastness access restrictions.")
    return opened(rows[0])


def _checked(tx: Transaction, order: Order, here: str) -> Order:
    """The order with its target as it is stored."""
    _require_reason(order.reason)
    if not tx.now < order.expires_at <= later(tx.now, LONGEST_S):
        raise Invalid("restriction-expiry", "a restriction ends, at the latest in 30 days", "Set it anew then.")
    if (order.measure is Measure.THROTTLE) != (order.limit is not None):
        raise Invalid("restriction-limit", "a throttle needs a limit, and nothing else has one")
    if order.limit is not None and order.limit.per_s < SLOWEST_PER_S:
        raise Invalid("restriction-limit", f"a throttle leaves at least {SLOWEST_PER_S:g} a second", "Block instead.")
    target = _target(tx, order, here)
    return Order(order.measure, order.kind, target, order.reason.strip(), order.expires_at, order.limit)


def _target(tx: Transaction, order: Order, here: str) -> str:
    target = order.target
    if order.kind is Kind.ADDRESS:
        return _network(target, here, block=order.measure is Measure.BLOCK)
    if not 0 < len(target) <= 128 or not target.isprintable():
        raise Invalid("restriction-target", "a target is up to 128 printable characters")
    if order.kind is Kind.ACTION and target not in set(Action):
        raise Invalid("restriction-target", f"{target!r} is no action")
    if order.kind is Kind.ACTION and order.measure is Measure.BLOCK and target in KEPT_OPEN:
        raise Conflict("restriction-lockout", f"{target} is never blocked: by it a house is set right")
    if order.kind is Kind.TENANT and (tx.scope.tenant != DEFAULT_TENANT or target == DEFAULT_TENANT):
        raise Forbidden("restriction-tenant", "only the house restricts tenants, and never itself")
    _require_known(tx, order)
    return target


def _require_known(tx: Transaction, order: Order) -> None:
    if order.kind is Kind.PRINCIPAL and not people.find_principals(tx, PrincipalId(order.target)):
        raise NotFound("principal-unknown", f"there is no principal {order.target!r}")
    if order.kind is Kind.KEY and not people.find_keys(tx, order.target):
        raise NotFound("key-unknown", f"there is no key {order.target!r}")


def _network(text: str, here: str, *, block: bool) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise Invalid("restriction-target", f"{text[:80]!r} is no address or network") from error
    if network.version == 6 and network.network_address.ipv4_mapped and network.prefixlen >= 96:
        network = ipaddress.ip_network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    if network.prefixlen < WIDEST[network.version]:
        widest = WIDEST[network.version]
        raise Invalid("restriction-wide", f"a network has a prefix of at least {widest} bits", "Name smaller ones.")
    if network.is_loopback:
        raise Conflict("restriction-lockout", "the addresses of the house itself are never restricted")
    if block and here and _holds(network, here):
        raise Conflict("restriction-lockout", "this would block the address that you come from")
    return str(network)


def _holds(network: ipaddress.IPv4Network | ipaddress.IPv6Network, text: str) -> bool:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:  # a Unix socket
        return False
    return (getattr(address, "ipv4_mapped", None) or address) in network


def _require_reason(reason: str) -> None:
    if not 0 < len(reason.strip()) <= _LONGEST_REASON:
        raise Invalid("restriction-reason", f"a reason is needed, of up to {_LONGEST_REASON} characters", "Say why.")


def _require_measured(tx: Transaction, order: Order, standing: list[RestrictionRow]) -> None:
    """Raises Conflict or Limited where one more block would be too much."""
    since = Instant(tx.now - _HOUR_NS)
    if records.count_since(tx, tx.scope.principal, Measure.BLOCK, since) >= MOST_AN_HOUR:
        raise Limited(
            "restrictions-fast",
            f"one author sets at most {MOST_AN_HOUR} blocks an hour",
            "Let another person look.",
            3600,
        )
    blocks = {(row.kind, row.target) for row in standing if row.measure == Measure.BLOCK} | {(order.kind, order.target)}
    everybody = [person for person in people.find_principals(tx).values() if person.active]
    blocked = [person for person in everybody if (Kind.PRINCIPAL, person.id) in blocks]
    if len(blocked) > max(1, len(everybody) // 2):
        raise Conflict("restrictions-mass", "more than half of the principals would be blocked", "Block the tenant.")
    if order.kind in {Kind.PRINCIPAL, Kind.KEY}:
        _require_administrator(tx, blocks, everybody)


def _require_administrator(tx: Transaction, blocks: set[tuple[str, str]], everybody: list[people.PrincipalRow]) -> None:
    live: dict[PrincipalId, list[str]] = {}
    for key in people.find_keys(tx):
        if not key.revoked and key.expires_at > tx.now:
            live.setdefault(key.principal, []).append(key.key_id)
    for person in everybody:
        if person.kind is not PrincipalKind.USER or Role.ADMINISTRATOR not in person.roles:
            continue
        keys = live.get(person.id, [])
        keyless = bool(keys) and all((Kind.KEY, key) in blocks for key in keys)
        if (Kind.PRINCIPAL, person.id) not in blocks and not keyless:
            return
    raise Conflict(
        "restriction-lockout", "this would leave the tenant without an administrator", "Make another one first."
    )


def opened(row: RestrictionRow) -> Restriction:
    """The restriction in a row.

    Raises:
        Corrupt: it is none.
    """
    try:
        limit = None if row.per_s is None or row.burst is None else Limit(row.per_s, row.burst)
        measure, kind = Measure(row.measure), Kind(row.kind)
    except (ValueError, TypeError, Invalid) as error:
        raise _changed() from error
    if (measure is Measure.THROTTLE) != (limit is not None):
        raise _changed()
    order = Order(measure, kind, row.target, row.reason, Instant(row.expires_at), limit)
    return Restriction(
        row.id, TenantId(row.tenant), order, PrincipalId(row.author), Instant(row.created_at),
        None if row.lifted_at is None else Instant(row.lifted_at),
        None if row.lifted_by is None else PrincipalId(row.lifted_by),
    )  # fmt: skip


def _changed() -> Corrupt:
    hint = "Somebody changed the database: compare it with the ledger, and restore a backup."
    return Corrupt("access-changed", "a restriction is none", hint)
