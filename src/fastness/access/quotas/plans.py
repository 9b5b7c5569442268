"""Which limits a request meets: the snapshot of all quotas, and what of it concerns one caller and model.

A caller meets their key's, their own, the tenant's and the model's quotas at once: more keys make nobody faster. Where nothing is
stored for principals or tenants, the rates of the settings hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple

import msgspec

from fastness.access.quotas import records
from fastness.access.quotas.stored import TOPIC
from fastness.access.quotas.words import EACH, Kind, Quota, Shape
from fastness.access.sealing.records import Seen
from fastness.core.errors import Limited
from fastness.core.limits import LARGEST_COST, Cap, Charge, Charged, Limit, LimitKey, Rate, Unit, Window, limit_key
from fastness.core.settings import InvalidSetting
from fastness.foundation.storage import Reading

_PLANS_KEPT: Final = 16_384
_LONGEST_WAIT_S: Final = 31 * 86_400.0


@dataclass(frozen=True)
class QuotaSettings:
    """Rates that hold where no quota is stored.

    Attributes:
        principal_per_s, principal_burst: of a principal, over all of their keys.
        tenant_per_s, tenant_burst: of a tenant, over all that belongs to it.
        flush_s: how often what was used is written down; what a kill may forgive with counters in memory.
    """

    principal_per_s: int = 500
    principal_burst: int = 1_000
    tenant_per_s: int = 5_000
    tenant_burst: int = 10_000
    flush_s: float = 1.0

    def __post_init__(self) -> None:
        for name in ("principal_per_s", "principal_burst", "tenant_per_s", "tenant_burst"):
            if not 1 <= getattr(self, name) <= 1_000_000_000:
                raise InvalidSetting(f"quotas.{name}", "is 1 to 1,000,000,000")
        if not 0 < self.flush_s <= 60:
            raise InvalidSetting("quotas.flush_s", "is above 0 and at most 60")

    @property
    def defaults(self) -> tuple[Quota, ...]:
        """What they say, as quotas."""
        return tuple(
            Quota(kind, EACH, Unit.REQUESTS, Window.SECOND, per_s, Shape.EVEN, burst)
            for kind, per_s, burst in (
                (Kind.PRINCIPAL, self.principal_per_s, self.principal_burst),
                (Kind.TENANT, self.tenant_per_s, self.tenant_burst),
            )
        )


class QuotaBook(msgspec.Struct, frozen=True):
    """All quotas: by tenant, then by `kind:subject`."""

    tenants: dict[str, dict[str, tuple[Quota, ...]]]
    defaults: tuple[Quota, ...]

    def of(self, tenant: str, kind: Kind, subject: str) -> tuple[Quota, ...]:
        """What holds for a subject: its own quotas, those for each of its kind, the settings'; one for each unit and window."""
        stored = self.tenants.get(tenant, {})
        found = {quota.place: quota for quota in self.defaults if quota.kind is kind}
        found |= {quota.place: quota for quota in stored.get(f"{kind.value}:{EACH}", ())}
        if subject != EACH:
            found |= {quota.place: quota for quota in stored.get(f"{kind.value}:{subject}", ())}
        return tuple(found.values())


class QuotasProjection:
    """Loads the `QuotaBook` of every tenant."""

    topic: ClassVar[str] = TOPIC

    def __init__(self, settings: QuotaSettings) -> None:
        self._defaults = settings.defaults

    def load(self, reading: Reading) -> QuotaBook:
        """The quotas as they stand.

        Raises:
            Corrupt: the records hold what is no quota.
        """
        tenants: dict[str, dict[str, tuple[Quota, ...]]] = {}
        for tenant, quota in records.all_quotas(reading, Seen()):
            subjects = tenants.setdefault(tenant, {})
            name = f"{quota.kind.value}:{quota.subject}"
            subjects[name] = (*subjects.get(name, ()), quota)
        return QuotaBook(tenants, self._defaults)


class Asker(NamedTuple):
    """Who asks for what; empty where there is no key, or no model."""

    tenant: str
    principal: str
    key_id: str = ""
    model: str = ""


class _Entry(NamedTuple):
    key: LimitKey
    limit: Rate | Cap
    unit: Unit
    kind: Kind
    window: Window


class Plan:
    """The limits of one caller and model, in the order key, principal, tenant, model.

    Attributes:
        measures: something else than requests is counted, so that what was used has to be settled.
    """

    __slots__ = ("_entries", "_simple", "measures")

    def __init__(self, entries: tuple[_Entry, ...]) -> None:
        self._entries = entries
        self.measures = any(e.unit is not Unit.REQUESTS for e in entries)
        self._simple = tuple(Charge(e.key, e.limit, int(e.unit is Unit.REQUESTS)) for e in entries)

    def charges(self, costs: Mapping[Unit, int] | None = None) -> tuple[Charge, ...]:
        """What a request is charged: itself, and what else is known or estimated; what is not only asks if anything is left.

        Raises:
            Invalid: when taken, if a cost is negative or absurd.
        """
        if not costs:
            return self._simple
        known = {Unit.REQUESTS: 1, **costs}
        return tuple(Charge(e.key, e.limit, known.get(e.unit, 0)) for e in self._entries)

    def used(self, used: Mapping[Unit, int]) -> tuple[int, ...]:
        """What `settle_all` is told; units that are not named used nothing, requests are one."""
        known = {Unit.REQUESTS: 1, **used}
        return tuple(min(known.get(e.unit, 0), LARGEST_COST) for e in self._entries)

    def check(self, charged: Charged) -> None:
        """Return if all was taken.

        Raises:
            Limited: something was not: which, and when to come back.
        """
        if charged.refused is None:
            return
        entry = self._entries[charged.refused]
        if math.isinf(charged.retry_after_s):
            raise Limited(
                "quota-never",
                f"this needs more {entry.unit.value} than the quota of the {entry.kind.value} ever has",
                "Ask for less at once, or for a higher quota.",
                _LONGEST_WAIT_S,
            )
        rate = isinstance(entry.limit, Rate)
        raise Limited(
            "rate-limited" if rate else "quota-exceeded",
            f"the {entry.unit.value} of this {entry.kind.value} per {entry.window.value} are used up",
            "Wait as long as Retry-After says, or ask for a higher quota.",
            charged.retry_after_s,
        )


class Planner:
    """Makes plans, and keeps them for as long as the snapshot is the same object."""

    def __init__(self) -> None:
        self._book: QuotaBook | None = None
        self._plans: dict[tuple[Asker, Limit | None], Plan] = {}

    def plan(self, book: QuotaBook, asker: Asker, key_limit: Limit | None = None) -> Plan:
        """The plan of `asker`.

        Args:
            key_limit: the rate that the key was created with.

        Raises:
            Invalid: a name is too long to be counted.
        """
        if book is not self._book or len(self._plans) >= _PLANS_KEPT:
            self._plans = {}
            self._book = book
        plan = self._plans.get((asker, key_limit))
        if plan is None:
            plan = self._plans[asker, key_limit] = Plan(_entries(book, asker, key_limit))
        return plan


def _entries(book: QuotaBook, asker: Asker, key_limit: Limit | None) -> tuple[_Entry, ...]:
    tenant = asker.tenant
    entries = []
    if key_limit is not None and asker.key_id:
        key = limit_key("key", tenant, asker.key_id)
        entries.append(_Entry(key, Rate.of(key_limit), Unit.REQUESTS, Kind.KEY, Window.SECOND))
    subjects = (
        (Kind.KEY, asker.key_id),
        (Kind.PRINCIPAL, asker.principal),
        (Kind.TENANT, EACH),
        (Kind.MODEL, asker.model),
    )
    for kind, subject in subjects:
        if subject:
            entries += [
                _Entry(quota.key(tenant, subject), quota.limit, quota.unit, kind, quota.window)
                for quota in book.of(tenant, kind, subject)
            ]
    return tuple(entries)
