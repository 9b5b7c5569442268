"""The restrictions as a worker keeps them: looked up by what a request names, in time that does not grow with their number.

Networks are looked up once for each length of prefix that occurs, at most 25 and 105 of them; all else is one dictionary. A
restriction that has ended counts no more, whether or not a new snapshot came.

Cost: without restrictions, one truth value; with them, about eight look-ups; `benchmarks/decisions.py`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import msgspec

from fastness.access.decisions import stepped_up
from fastness.access.restrictions import records
from fastness.access.restrictions.orders import TOPIC, Kind, Measure, opened
from fastness.access.sealing.records import EVERYBODY, Seen
from fastness.core.clock import Instant
from fastness.core.errors import Corrupt, Forbidden, Limited
from fastness.core.identity import (
    DEFAULT_TENANT,
    Action,
    Principal,
    PrincipalId,
    PrincipalKind,
    Strength,
    TenantId,
)
from fastness.core.limits import Limit, LimitKey
from fastness.foundation.storage import Counters, Reading


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """A restriction as the workers know it; why it was set is not their business."""

    id: str
    tenant: TenantId
    measure: Measure
    kind: Kind
    target: str
    expires_at: int
    limit: Limit | None = None


class Restrictions(msgspec.Struct, frozen=True):
    """The snapshot of all restrictions of all tenants.

    Attributes:
        doubted: tenants of whom somebody else changed the rows, or `*`: nobody may do anything there until it was looked at.
    """

    standing: tuple[Standing, ...]
    doubted: frozenset[str] = frozenset()


class RestrictionsProjection:
    """Loads `Restrictions`."""

    topic: ClassVar[str] = TOPIC

    def load(self, reading: Reading) -> Restrictions:
        """Those not lifted, of every tenant.

        Raises:
            Corrupt: a row holds no restriction.
        """
        seen = Seen()
        found = records.all_standing(reading, seen)
        return Restrictions(tuple(_standing(row) for row in found), seen.doubted(reading))


class Asking(NamedTuple):
    """What of a request is looked up.

    Attributes:
        action: what is asked for; None where callers look after what is theirs.
        credential: id of the key, session or token, or empty.
        address: where it comes from; empty, or no address at all, for a Unix socket.
        model: the model that it names, or empty.
    """

    principal: Principal
    action: Action | None
    credential: str = ""
    address: str = ""
    model: str = ""


class Fence:
    """A snapshot, indexed.

    Raises:
        Corrupt: an address is none.
    """

    def __init__(self, restrictions: Restrictions) -> None:
        self._named: dict[tuple[str, str, str], list[Standing]] = {}
        self._networks: dict[tuple[str, int], dict[int, dict[int, list[Standing]]]] = {}
        self._doubted = restrictions.doubted
        for each in restrictions.standing:
            if each.kind is Kind.ADDRESS:
                self._add_network(each)
            else:
                whose = each.target if each.kind is Kind.TENANT else each.tenant
                self._named.setdefault((whose, each.kind, each.target), []).append(each)
        self._anything = bool(self._named or self._networks or self._doubted)

    def _add_network(self, each: Standing) -> None:
        try:
            network = ipaddress.ip_network(each.target)
        except ValueError as error:
            raise Corrupt("access-changed", "a restricted address is none") from error
        bits = network.max_prefixlen - network.prefixlen
        lengths = self._networks.setdefault((each.tenant, network.version), {})
        lengths.setdefault(bits, {}).setdefault(int(network.network_address) >> bits, []).append(each)

    def at_edge(self, address: str, now: Instant) -> None:
        """Return if the house lets this address in; asked before anybody is known.

        Raises:
            Forbidden: it is blocked.
        """
        for each in self._of_address(DEFAULT_TENANT, address):
            if each.measure is Measure.BLOCK and each.expires_at > now:
                raise _blocked(each)

    def bars(self, asking: Asking, now: Instant) -> bool:
        """Whether a block stands against this request, or its tenant is in doubt."""
        if self._in_doubt(asking.principal.tenant):
            return True
        return any(each.measure is Measure.BLOCK and each.expires_at > now for each in self._matching(asking))

    def enforce(
        self, asking: Asking, counters: Counters, now: Instant, measures: frozenset[Measure] = frozenset(Measure)
    ) -> None:
        """Return if no restriction stands against this request.

        Args:
            measures: those that are asked; a second factor is given by who has not given it yet.

        Raises:
            Forbidden: `restricted`, `rows-doubtful`, or `step-up-required` where a second factor, given lately, would do.
            Limited: it comes faster than a throttle lets it.
        """
        if not self._anything:
            return
        if self._in_doubt(asking.principal.tenant):
            message = "somebody changed the records behind the back of this house"
            raise Forbidden("rows-doubtful", message, "Whoever runs it sees more by: fastness doctor.")
        found = [each for each in self._matching(asking) if each.expires_at > now and each.measure in measures]
        for each in sorted(found, key=lambda each: each.measure is not Measure.BLOCK):
            if each.measure is Measure.BLOCK:
                raise _blocked(each)
            if each.measure is Measure.STEP_UP and not stepped_up(asking.principal, now):
                raise Forbidden(
                    "step-up-required", "this asks for a second factor at the moment", "Give it, and ask again."
                )
        for each in found:
            if each.limit is not None:
                taken = counters.take(LimitKey(f"restriction:{each.id}"), each.limit, 1, now)
                if not taken.allowed:
                    raise Limited(
                        "restricted", "this is slowed down at the moment", "Come back later.", taken.retry_after_s
                    )

    def _in_doubt(self, tenant: str) -> bool:
        return bool(self._doubted) and (tenant in self._doubted or EVERYBODY in self._doubted)

    def _matching(self, asking: Asking) -> Iterator[Standing]:
        who = asking.principal
        tenant = who.tenant
        named = self._named
        if named:
            yield from named.get((tenant, Kind.PRINCIPAL, who.id), ())
            yield from named.get((tenant, Kind.TENANT, tenant), ())
            if asking.action is not None:
                yield from named.get((tenant, Kind.ACTION, asking.action), ())
            yield from named.get((tenant, Kind.KEY, asking.credential), ())
            yield from named.get((tenant, Kind.MODEL, asking.model), ())
            if who.actor:  # whoever acts by delegation is restricted as if acting alone
                yield from named.get((tenant, Kind.PRINCIPAL, who.actor), ())
        if self._networks:
            yield from self._of_address(tenant, asking.address)
            if tenant != DEFAULT_TENANT:
                yield from self._of_address(DEFAULT_TENANT, asking.address)

    def _of_address(self, tenant: str, text: str) -> Iterator[Standing]:
        if not self._networks:
            return
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return
        address = getattr(address, "ipv4_mapped", None) or address
        number = int(address)
        for bits, networks in self._networks.get((tenant, address.version), {}).items():
            yield from networks.get(number >> bits, ())


def barred(reading: Reading, principal: PrincipalId, address: str, now: Instant) -> bool:
    """Whether a block stands against a principal of the tenant who comes in from an address, by the rows themselves.

    Raises:
        Corrupt: a row was changed.
    """
    who = Principal(PrincipalKind.USER, principal, reading.scope.tenant, frozenset(), Strength.NONE, now)
    return Fence(RestrictionsProjection().load(reading)).bars(Asking(who, None, address=address), now)


def _blocked(each: Standing) -> Forbidden:
    """What the blocked is told: not why, nor for how long."""
    return Forbidden("restricted", "this is blocked at the moment", f"Ask a security officer about {each.id}.")


def _standing(row: records.RestrictionRow) -> Standing:
    made = opened(row)
    order = made.order
    return Standing(made.id, made.tenant, order.measure, order.kind, order.target, order.expires_at, order.limit)
