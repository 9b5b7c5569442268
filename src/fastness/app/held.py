"""What a gateway worker holds of the house: the snapshots as they were last pushed, and where it tells what is wrong with them."""

from __future__ import annotations

import logging

from fastness.access import Credentials, Policies
from fastness.access.policysets import PolicyBook
from fastness.access.possession import PossessionKeys
from fastness.access.quotas import QuotaBook
from fastness.access.restrictions import Restrictions
from fastness.access.tokens import TokenKeys
from fastness.app.feed import Topics
from fastness.app.leaf import Leaf
from fastness.app.snapshots import Rules
from fastness.core.clock import SystemClock, system_entropy
from fastness.core.errors import FastnessError, Unavailable
from fastness.core.events import Detail, EventFactory, EventKind
from fastness.core.findings import Decision
from fastness.core.identity import DEFAULT_TENANT, SYSTEM, TenantId
from fastness.foundation.storage import Journal, Live
from fastness.foundation.telemetry import Metrics
from fastness.models.release import Routes

_LONGEST_TEXT = 500

_log = logging.getLogger(__name__)


class Told:
    """What a worker tells of itself, besides its requests: in its journal, and in its metrics."""

    def __init__(self, journal: Journal, metrics: Metrics, worker: str) -> None:
        self._journal = journal
        self._worker = worker
        self._changes = metrics.counter(
            "fastness_gateway_counters_changes",
            "How often the shared counters ceased to answer, and began again.",
            ["now"],
        )

    def damage(self, tenant: TenantId, problem: str) -> None:
        """A tenant's rules are not as the house sealed them: its last good ones hold, or it is refused."""
        _log.error("the rules of %s: %s", tenant, problem)
        details: dict[str, Detail] = {"what": problem[:_LONGEST_TEXT]}
        self._tell(EventKind.INTEGRITY_FAILED, tenant, f"policies:{tenant}", "policies-corrupt", details)

    def counters(self, reason: str) -> None:
        """The shared counters ceased to answer, for this reason, or answer again."""
        now = "degraded" if reason else "restored"
        _log.warning("the shared counters are %s %s", now, reason)
        self._changes.labels(now).inc()
        self._tell(EventKind.COUNTERS_CHANGED, DEFAULT_TENANT, "system:counters", now, {"why": reason[:_LONGEST_TEXT]})

    def _tell(self, kind: EventKind, tenant: TenantId, resource: str, reason: str, details: dict[str, Detail]) -> None:
        """Where not even that can be recorded, no request is served either."""
        events = EventFactory(tenant, SYSTEM, SystemClock().now(), system_entropy)
        decision = Decision.DENY if kind is EventKind.INTEGRITY_FAILED else None
        details["worker"] = self._worker
        try:
            self._journal.append(events.make(kind, resource, decision=decision, reason=reason, details=details))
            self._journal.flush()
        except FastnessError:
            _log.exception("%s is not recorded", kind)


class Held:
    """The snapshots that a worker decides by, each as it was last pushed.

    Args:
        told: what is wrong with the rules goes there.
    """

    def __init__(self, told: Told) -> None:
        self.credentials: Live[Credentials] = Live()
        self.tokens: Live[TokenKeys] = Live()
        self.possession: Live[PossessionKeys] = Live()
        self.restrictions: Live[Restrictions] = Live()
        self.quotas: Live[QuotaBook] = Live()
        self.routes: Live[Routes] = Live()
        self._rules: Live[Rules] = Live()
        self._leaf: Live[Leaf] = Live()
        self._book: PolicyBook | None = None
        self._told = told
        self._problems: dict[TenantId, str] = {}

    @property
    def topics(self) -> Topics:
        """What is subscribed."""
        return {
            "keys": (Credentials, self.credentials), "policies": (Rules, self._rules), "tokens": (TokenKeys, self.tokens),
            "restrictions": (Restrictions, self.restrictions), "quotas": (QuotaBook, self.quotas),
            "routes": (Routes, self.routes), "tls": (Leaf, self._leaf), "possession": (PossessionKeys, self.possession),
        }  # fmt: skip

    @property
    def policies(self) -> PolicyBook:
        """The rules of every tenant.

        Raises:
            Unavailable: none have arrived yet.
        """
        if self._book is None:
            raise Unavailable("snapshot-missing", "the rules have not arrived yet", "Try again in a moment.")
        return self._book

    def take(self, rules: Rules) -> None:
        """Have the rules hold; a problem is told once."""
        if self._book is None:
            self._book = PolicyBook(Policies.shipped(), rules.house)
        problems = self._book.take(rules.snapshot)
        for tenant, problem in problems.items():
            if self._problems.get(tenant) != problem:
                self._told.damage(tenant, problem)
        self._problems = problems
