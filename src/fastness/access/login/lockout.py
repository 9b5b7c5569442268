"""Failures and the waits that follow them, such that nobody can make others wait.

Failures are counted apart for each (account, network), for each network, and for each account over all networks, so a
guesser waits and the owner, who comes from elsewhere, does not. Each wait is twice the one before. What was tried from a
known device (a signed cookie, bound to the account and its password) or with a credential that the owner holds counts on
that alone: failures of others never touch it. A flood from many networks slows one account by a minute at most, and only
on unknown devices; passkeys, which cannot be guessed, never wait. While one waits the right answer is refused like a wrong
one and is not counted. Accounts that do not exist wait like those that do.

Rows are bounded for each tenant; where there are too many, those that would be forgotten first go. They name accounts,
networks and devices by keyed digests only.

What it misses: a guesser with as many networks as guesses is slowed to one guess a minute for each account. Neighbours in
one network share its waits on devices that are unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fastness.access.login import records
from fastness.access.login.desk import Client, Desk, Use, note
from fastness.access.login.records import BucketRow
from fastness.core.clock import SECOND, Instant, later
from fastness.core.errors import Limited
from fastness.core.events import EventKind
from fastness.core.identity import PrincipalId, TenantId
from fastness.foundation.storage import Reading, Transaction


class Area(StrEnum):
    """What is guessed at."""

    PASSWORD = "password"  # noqa: S105 - a name, no password
    FACTOR = "factor"


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where failures are counted.

    Attributes:
        kind: `network`, `account`, `pair` (account and network) or `device`.
        free: failures before the first wait.
        longest_s: no wait is longer.
    """

    digest: bytes
    kind: str
    account: bytes
    free: int
    longest_s: float


def account_tag(desk: Desk, tenant: TenantId, principal: PrincipalId) -> bytes:
    """What stands for an account, whether there is one or not."""
    return desk.digest(Use.BUCKET, "account", tenant, principal)


def network_bucket(desk: Desk, area: Area, tenant: TenantId, client: Client) -> Bucket:
    """The failures of a network at any account."""
    network = desk.network(client)
    digest = desk.digest(Use.BUCKET, area, "network", tenant, network)
    return Bucket(digest, "network", bytes(32), desk.settings.free_network, desk.settings.delay_max_s)


def buckets(desk: Desk, area: Area, whose: tuple[TenantId, PrincipalId], client: Client, held: str) -> list[Bucket]:
    """Where a failure would count.

    Args:
        held: the known device, session or credential that the attempt is made with; empty for none.
    """
    settings, (tenant, principal) = desk.settings, whose
    account = account_tag(desk, tenant, principal)
    if held:
        digest = desk.digest(Use.BUCKET, area, "device", tenant, principal, held)
        return [Bucket(digest, "device", account, settings.free_attempts, settings.delay_max_s)]
    pair = desk.digest(Use.BUCKET, area, "pair", tenant, principal, desk.network(client))
    whole = desk.digest(Use.BUCKET, area, "account", tenant, principal)
    return [
        Bucket(pair, "pair", account, settings.free_attempts, settings.delay_max_s),
        network_bucket(desk, area, tenant, client),
        Bucket(whole, "account", account, settings.free_account, settings.account_delay_max_s),
    ]


def wait_s(reading: Reading, where: list[Bucket], now: Instant) -> float:
    """Seconds until the next attempt counts; 0 if it does now."""
    found = records.find_buckets(reading, [bucket.digest for bucket in where], now)
    return max([0.0, *((row.blocked_until - now) / SECOND for row in found.values())])


def refuse_flood(reading: Reading, desk: Desk, area: Area, client: Client, now: Instant) -> None:
    """Return if the network may try at all; asked before any costly work. It tells nothing about any account.

    Raises:
        Limited: `login-limited`.
    """
    bucket = network_bucket(desk, area, reading.scope.tenant, client)
    if left := wait_s(reading, [bucket], now):
        message = "too many failed logins came from this network"
        raise Limited("login-limited", message, "Wait, or log in from a device that you used before.", left)


def count(tx: Transaction, desk: Desk, where: list[Bucket], resource: str) -> None:
    """Count one failure; the caller has emitted it. Where a wait begins, an event tells of it."""
    found = records.find_buckets(tx, [bucket.digest for bucket in where], tx.now)
    forget_at = later(tx.now, desk.settings.forget_s)
    for bucket in where:
        before = found.get(bucket.digest)
        failures = 1 if before is None else before.failures + 1
        delay_s = _delay(desk, bucket, failures)
        row = BucketRow(failures, later(tx.now, delay_s), later(forget_at, delay_s))
        records.put_bucket(tx, bucket.digest, (bucket.kind, bucket.account), row, desk.settings.buckets_max)
        if delay_s:
            told = resource if bucket.kind != "network" else "login:network"
            details: dict[str, str | int | float | bool] = {
                "kind": bucket.kind,
                "failures": failures,
                "delay_s": delay_s,
            }
            note(tx, EventKind.LOCKOUT_STARTED, told, details=details)


def forgive(tx: Transaction, where: list[Bucket]) -> None:
    """Forget the failures of who has succeeded, but not those of its network or of others at the account."""
    records.drop_buckets(tx, [bucket.digest for bucket in where if bucket.kind in {"pair", "device"}])


def _delay(desk: Desk, bucket: Bucket, failures: int) -> float:
    over = failures - bucket.free
    if over < 0:
        return 0.0
    return min(bucket.longest_s, desk.settings.delay_s * 2.0 ** min(over, 40))
