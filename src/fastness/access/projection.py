"""The snapshot of all API keys, rebuilt when topic `keys` moves, for the processes that have no SQL."""

from __future__ import annotations

from typing import ClassVar

from fastness.access import records
from fastness.access.credentials import Credentials, KeyRecord
from fastness.access.members import TOPIC, Pepper
from fastness.core.errors import Corrupt
from fastness.foundation.storage import Reading


class KeysProjection:
    """Loads `Credentials` of every tenant. Revoked and expired keys stay in it, so that the record can say so.

    Args:
        pepper: must allow its export.

    Raises:
        Forbidden: the pepper may not be exported.
    """

    topic: ClassVar[str] = TOPIC

    def __init__(self, pepper: Pepper) -> None:
        self._pepper = pepper.export()

    def load(self, reading: Reading) -> Credentials:
        """The keys as they stand, with their owners' roles; those of owners no longer active count as revoked.

        Raises:
            Corrupt: the pepper is empty, so that every digest could be made by anybody.
        """
        pepper = bytes(self._pepper.reveal())
        if len(pepper) < 16:
            raise Corrupt("pepper-short", "the pepper of the API keys is missing or too short", "Check the key ring.")
        return Credentials(
            pepper,
            {
                key.digest: KeyRecord(
                    key.key_id,
                    key.principal,
                    owner.kind,
                    key.tenant,
                    owner.roles,
                    key.limit,
                    key.expires_at,
                    revoked=key.revoked or not owner.active,
                    actions=key.actions,
                )
                for key, owner in records.all_keys(reading)
            },
        )
