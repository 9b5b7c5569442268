"""The rules in force as the workers get them: the house's seals, and the last good rules where a new set is not good.

Each worker checks the seals itself and builds its rules from them. A set that was tampered with, that went back to an earlier
number or that does not load changes nothing: the rules that held go on holding, and the problem is named, to be recorded. Where
none held before, that tenant is refused: its own rules may forbid what the shipped ones permit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from fastness.access.decisions import Policies
from fastness.access.policysets import records
from fastness.access.policysets.documents import TOPIC, open_seal
from fastness.access.policysets.findings import joined
from fastness.core.digests import Digest
from fastness.core.errors import Corrupt, FastnessError, Unavailable
from fastness.core.events import EventKind, decode_event
from fastness.core.identity import TenantId
from fastness.foundation.storage import Reading


class SealedRules(msgspec.Struct, frozen=True):
    """A tenant's rules in force: all of it stands in the seal."""

    number: int
    seal: bytes


class PolicySnapshot(msgspec.Struct, frozen=True):
    """The rules in force of every tenant that has its own.

    Attributes:
        problems: tenant to what is wrong with its records.
    """

    sets: dict[TenantId, SealedRules]
    problems: dict[TenantId, str] = {}


class PoliciesProjection:
    """Loads `PolicySnapshot`, held against the events that tell of activations."""

    topic: ClassVar[str] = TOPIC

    def load(self, reading: Reading) -> PolicySnapshot:
        """The newest activated set of every tenant; what is wrong with one is named and hinders no other."""
        newest, problems = _activations(reading)
        sets: dict[TenantId, SealedRules] = {}
        for row in records.all_active(reading):
            tenant = TenantId(row.tenant)
            if row.seal is None:
                problems[tenant] = f"policy set {row.number} bears no seal"
            elif row.number != newest.get(tenant, 0):
                problems[tenant] = f"policy set {row.number} stands, but {newest.get(tenant, 0)} was activated"
            else:
                sets[tenant] = SealedRules(row.number, row.seal)
        for tenant in newest.keys() - sets.keys():
            problems.setdefault(tenant, f"policy set {newest[tenant]} was activated, but is gone")
        return PolicySnapshot({t: s for t, s in sets.items() if t not in problems}, problems)


def _activations(reading: Reading) -> tuple[dict[TenantId, int], dict[TenantId, str]]:
    """The highest number that was activated in each tenant, by the events, those not yet numbered included."""
    newest: dict[TenantId, int] = {}
    for data in records.change_events(reading):
        try:
            event = decode_event(data)
        except msgspec.MsgspecError as error:
            hint = "Somebody changed the records: run `fastness audit verify`."
            raise Corrupt("events-changed", "an event cannot be read", hint) from error
        number = event.details.get("number")
        if (event.kind, event.reason) == (EventKind.POLICY_CHANGED, "activated") and isinstance(number, int):
            newest[event.tenant] = max(newest.get(event.tenant, 0), number)
    return newest, {}


class _Held(msgspec.Struct, frozen=True):
    number: int
    digest: Digest
    policies: Policies


class PolicyBook:
    """The rules that a process decides by. `take` replaces them as a whole; readers see the old or the new, never a mix.

    Args:
        shipped: what holds where a tenant has no rules of its own.
        house: key id to PEM of the keys by which the house seals.
    """

    def __init__(self, shipped: Policies, house: Mapping[str, bytes]) -> None:
        self.shipped = shipped
        self._house = dict(house)
        self._held: dict[TenantId, _Held] = {}
        self._refused: frozenset[TenantId] = frozenset()

    def of(self, tenant: TenantId) -> Policies:
        """The rules of a tenant.

        Raises:
            Unavailable: it has rules of its own that could not be verified, and none that held before.
        """
        held = self._held.get(tenant)
        if held is not None:
            return held.policies
        if tenant in self._refused:
            hint = "Whoever keeps the house has to look at the record of integrity failures."
            raise Unavailable("policies-unavailable", "the rules of this tenant cannot be verified", hint)
        return self.shipped

    def take(self, snapshot: PolicySnapshot) -> dict[TenantId, str]:
        """Take new rules; tenant to the problem, where the last good rules were kept or the tenant is refused."""
        problems = dict(snapshot.problems)
        held = dict(self._held)
        for tenant, sealed in snapshot.sets.items():
            try:
                held[tenant] = self._opened(tenant, sealed)
            except FastnessError as error:
                problems[tenant] = error.message
        for tenant in self._held.keys() - snapshot.sets.keys():
            problems.setdefault(tenant, "the rules in force are gone")
        self._refused = frozenset(problems.keys() - held.keys())
        self._held = held
        return problems

    def _opened(self, tenant: TenantId, sealed: SealedRules) -> _Held:
        document = open_seal(sealed.seal, self._house, tenant)
        before = self._held.get(tenant)
        if document.number != sealed.number or (before is not None and document.number < before.number):
            raise Corrupt("policies-rolled-back", f"policy set {document.number} is not the newest")
        if before is not None and before.digest == document.digest:
            return before  # and with it the answers it remembers
        return _Held(document.number, document.digest, joined(document.texts, self.shipped))
