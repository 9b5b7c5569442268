"""What decides who may do what, out of the records: each part kept, and loaded anew when its rows moved.

The control process decides by it and pushes it to the gateway workers. What is found damaged is told once and left out, or held
at its last good state; the rules of `access` say which.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import msgspec

from fastness.access import Credentials, KeysProjection, Policies
from fastness.access.policysets import PoliciesProjection, PolicyBook, PolicySnapshot
from fastness.access.possession import PossessionKeys, PossessionProjection
from fastness.access.quotas import QuotaBook, QuotaSettings, QuotasProjection
from fastness.access.restrictions import Fence, Restrictions, RestrictionsProjection
from fastness.access.tokens import Issuer, TokenKeys, TokenKeysProjection, Verifier
from fastness.core.clock import system_entropy
from fastness.core.errors import Corrupt
from fastness.core.identity import DEFAULT_TENANT, SYSTEM_SCOPE, TenantId
from fastness.foundation.crypto import KeyRing, Purpose
from fastness.foundation.storage import Reading, Records

T = TypeVar("T", bound=msgspec.Struct)
Damaged = Callable[[TenantId, str, Corrupt], None]


class Topic(Generic[T]):
    """One part; any thread may ask.

    Args:
        load: makes it of the records.
        names: what moves when it changes.
    """

    def __init__(self, records: Records, load: Callable[[Reading], T], *names: str) -> None:
        self._records = records
        self._load = load
        self._names = names
        self._held: tuple[int, T] | None = None
        self._stirred = 0

    def epoch(self) -> int:
        """Grows whenever it changes."""
        return self._stirred + sum(self._records.epoch(name) for name in self._names)

    def stir(self) -> None:
        """Have it loaded anew, though no row of it moved."""
        self._stirred += 1

    def load(self) -> T:
        """The part as it stands now; the same object for as long as nothing moved."""
        epoch, held = self.epoch(), self._held
        if held is None or held[0] != epoch:
            with self._records.read(SYSTEM_SCOPE) as reading:
                self._held = held = (epoch, self._load(reading))
        return held[1]


class Rules(msgspec.Struct, frozen=True):
    """The rules in force, and by which keys the house seals them."""

    snapshot: PolicySnapshot
    house: dict[str, bytes]


class Snapshots:
    """All parts of one house.

    Args:
        ring: has the pepper of the keys, and the key by which the house seals rules.
        damaged: told, with tenant and resource, of what is not as the house wrote it.

    Attributes:
        keys, policies, restrictions, quotas, tokens, possession: the parts.
    """

    def __init__(
        self, records: Records, ring: KeyRing, issuer: Issuer, quotas: QuotaSettings, damaged: Damaged
    ) -> None:
        self._damaged = damaged
        seals = ring.signer(Purpose.POLICIES)
        self._seals = {seals.keyid: seals.public_pem}
        self._lock = threading.Lock()
        self._book = PolicyBook(Policies.shipped(), self._seals)
        self._taken: Rules | None = None
        self._fence: tuple[Restrictions, Fence] | None = None
        self._verifier: tuple[TokenKeys, Verifier] | None = None
        self._refused: list[Corrupt] = []
        self._keys = KeysProjection(ring.mac(Purpose.KEY_PEPPER), self._refused.append)
        self._policies = PoliciesProjection()
        self._tokens = TokenKeysProjection(issuer.signers, issuer.name, issuer.audience)
        book = QuotasProjection(quotas)
        self._doubted: frozenset[str] = frozenset()
        self._restrictions = RestrictionsProjection()
        self.keys: Topic[Credentials] = Topic(records, self._load_keys, KeysProjection.topic)
        self.policies: Topic[Rules] = Topic(records, self._load_rules, PoliciesProjection.topic)
        self.restrictions: Topic[Restrictions] = Topic(records, self._load_restrictions, RestrictionsProjection.topic)
        self.quotas: Topic[QuotaBook] = Topic(records, book.load, QuotasProjection.topic)
        self.tokens: Topic[TokenKeys] = Topic(
            records, self._tokens.load, TokenKeysProjection.topic, KeysProjection.topic
        )
        self._possession = PossessionProjection(self._refused.append)
        self.possession: Topic[PossessionKeys] = Topic(
            records, self._load_possession, PossessionProjection.topic, KeysProjection.topic
        )

    @property
    def topics(self) -> Mapping[str, Topic[msgspec.Struct]]:
        """The parts by name, as they are pushed."""
        parts: dict[str, Topic[msgspec.Struct]] = {}
        for name in ("keys", "policies", "restrictions", "quotas", "tokens", "possession"):
            parts[name] = getattr(self, name)
        return parts

    def book(self) -> PolicyBook:
        """The rules of every tenant, as they stand now."""
        rules = self.policies.load()
        if rules is not self._taken:
            with self._lock:
                problems = {} if rules is self._taken else self._book.take(rules.snapshot)
                self._taken = rules
            for tenant, problem in problems.items():
                self._damaged(tenant, f"policies:{tenant}", Corrupt("policies-corrupt", problem))
        return self._book

    def fence(self) -> Fence:
        """The restrictions, as they stand now."""
        standing, held = self.restrictions.load(), self._fence
        if held is None or held[0] is not standing:
            self._fence = held = (standing, Fence(standing))
        return held[1]

    def verifier(self) -> Verifier:
        """Who judges access tokens, by what stands now."""
        keys, held = self.tokens.load(), self._verifier
        if held is None:
            held = (keys, Verifier(keys, system_entropy(32)))
        elif held[0] is not keys:
            held[1].use(keys)
        self._verifier = (keys, held[1])
        return held[1]

    def doubt(self, tenants: frozenset[str]) -> None:
        """Refuse these tenants everything from now on, for somebody else changed their rows; and no others."""
        fresh, self._doubted = tenants != self._doubted, tenants
        if fresh or not (self._keys.doubted | self._tokens.doubted | self._possession.doubted) <= tenants:
            for part in (self.restrictions, self.keys, self.tokens, self.possession):
                part.stir()

    def _load_restrictions(self, reading: Reading) -> Restrictions:
        found = self._restrictions.load(reading)
        return Restrictions(found.standing, found.doubted | self._doubted)

    def _load_keys(self, reading: Reading) -> Credentials:
        return self._told(self._keys.load(reading))

    def _load_possession(self, reading: Reading) -> PossessionKeys:
        return self._told(self._possession.load(reading))

    def _told(self, found: T) -> T:
        refused, self._refused[:] = list(self._refused), []
        for error in refused:
            self._damaged(DEFAULT_TENANT, "system:access", error)
        return found

    def _load_rules(self, reading: Reading) -> Rules:
        return Rules(self._policies.load(reading), self._seals)
