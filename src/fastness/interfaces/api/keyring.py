"""Routes of the keys that the house itself holds."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import PathParameter

from fastness.access.tokens import TokenKeysProjection, rotate_keys
from fastness.app import House
from fastness.core.errors import Invalid
from fastness.core.events import EventKind
from fastness.core.identity import Action, Resource
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.routes import WRITE, guarded
from fastness.wire import rules

KEYS: Final = ("data", "tokens")


class KeyRingRoutes(Controller):
    """Keys that protect what is stored, and that sign tokens."""

    path = "/keyring"
    tags = ("access",)

    @post("/{key:str}/rotation", status_code=200, sync_to_thread=True, opt=guarded(Action.KEYRING_ROTATE, WRITE))
    def rotate(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        key: Annotated[str, PathParameter(schema_extra={"enum": list(KEYS)})],
    ) -> rules.KeyRotationView:
        """Another version of a key: what is stored from now on is under it, tokens are signed by it. Older versions still open.

        `data` protects the models of the tenant; `tokens` signs those of the whole house.
        """
        if key not in KEYS:
            raise Invalid("keyring-key", f"{key[:40]!r} is no key of the ring", f"Use one of {', '.join(KEYS)}.")
        doors.allow(caller, Action.KEYRING_ROTATE, Resource("keyring", key))
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            if key == "tokens":
                version = rotate_keys(tx, house.signers)
            else:
                version = str(house.keyring.rotate(house.keyring.key_id(caller.scope.tenant)))
            tx.emit(tx.events.make(EventKind.KEYRING_ROTATED, f"keyring:{key}", details={"version": version}))
        if key == "tokens":
            house.published(TokenKeysProjection.topic)
        return rules.KeyRotationView(key, version)
