"""The snapshot of all API keys, rebuilt when topic `keys` moves, for the processes that have no SQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from fastness.access import records
from fastness.access.addresses import spans
from fastness.access.credentials import Credentials, KeyRecord
from fastness.access.members import TOPIC, Pepper
from fastness.access.sealing.records import EVERYBODY, Seen
from fastness.core.errors import Corrupt
from fastness.foundation.storage import Reading


class KeysProjection:
    """Loads `Credentials` of every tenant. Revoked and expired keys stay in it, so that the record can say so.

    Args:
        pepper: must allow its export.
        damaged: is told of each row that was refused because somebody else wrote it; it is then left out. Where rows were put
            back or removed, all keys of the tenant count as revoked.

    Attributes:
        doubted: the tenants of whom rows had been put back or removed at the last load.

    Raises:
        Forbidden: the pepper may not be exported.
    """

    topic: ClassVar[str] = TOPIC

    def __init__(self, pepper: Pepper, damaged: Callable[[Corrupt], None] | None = None) -> None:
        self._pepper = pepper.export()
        self._damaged = damaged
        self.doubted: frozenset[str] = frozenset()

    def load(self, reading: Reading) -> Credentials:
        """The keys as they stand, with their owners' roles; those of owners no longer active count as revoked.

        Raises:
            Corrupt: the pepper is empty, so that every digest could be made by anybody.
        """
        pepper = bytes(self._pepper.reveal())
        if len(pepper) < 16:
            raise Corrupt("pepper-short", "the pepper of the API keys is missing or too short", "Check the key ring.")
        seen = Seen()
        found = records.all_keys(reading, seen)
        doubted = self.doubted = seen.doubted(reading)
        keys = {
            key.digest: KeyRecord(
                key.key_id,
                key.principal,
                owner.kind,
                key.tenant,
                owner.roles,
                key.limit,
                key.expires_at,
                revoked=key.revoked or not owner.active or not doubted.isdisjoint((key.tenant, EVERYBODY)),
                actions=key.actions,
                models=key.models,
                grants=owner.grants,
                networks=spans(key.networks),
            )
            for key, owner in found
        }
        if self._damaged is not None:
            for _, error in seen.refused:
                self._damaged(error)
        return Credentials(pepper, keys)
