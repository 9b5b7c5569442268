"""The routes: what the gateway may serve, and why not what it may not.

Served are, of each model, the revision that the alias of the serving environment points at, and the one to which a
rollback would go, kept warm. Signatures, states and the order of the alias's moves are checked here each time; scores
and approvals are checked when a revision is deployed, and when its bytes are loaded, by `verify_version`. The newest
other versions have routes that only say why they are not served.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from fastness.core.errors import Conflict, Corrupt, FastnessError, NotFound
from fastness.core.events import EventKind
from fastness.core.findings import Decision
from fastness.core.identity import SYSTEM, Scope
from fastness.foundation.storage import Reading
from fastness.models.registry import Revision, alias, models, revision, version
from fastness.models.release.deployment import previous
from fastness.models.release.parts import ReleaseParts
from fastness.models.release.policy import NOTHING_KNOWN
from fastness.models.release.routes import Route, Routes
from fastness.models.release.verification import active, check, gather, guard_of, held_to_log

EXPLAINED = 20
"""So many of a model's newest versions have a route that says why they are not served."""


@dataclass(frozen=True)
class RoutesProjection:
    """Builds the routes of the tenant that reads."""

    parts: ReleaseParts
    topic: ClassVar[str] = "routes"
    _told: set[tuple[str, str]] = field(default_factory=set, repr=False)

    def load(self, reading: Reading) -> Routes:
        """The routes as records and ledger have them now; what was changed behind our back leaves an event, once."""
        routes: dict[str, Route] = {}
        for model, numbers in models(reading).items():
            routes |= self._served(reading, model)
            for number in numbers[-EXPLAINED:]:
                if f"{model}/{number}" not in routes:
                    routes[f"{model}/{number}"] = self._unserved(reading, model, number)
        return Routes(routes)

    def _served(self, reading: Reading, model: str) -> dict[str, Route]:
        parts, environment = self.parts, self.parts.settings.serving
        try:
            current = alias(reading, parts.pointing, parts.ledger, model, environment)
            revisions = [revision(reading, current.revision)]
        except NotFound:
            return {}
        except FastnessError as error:
            return {model: self._problem(reading, (model, 0), error)}
        try:
            revisions.append(previous(reading, parts, model, environment)[0])
        except Conflict:
            pass  # there is none: nothing to keep warm
        except FastnessError as error:
            self._tell(reading, f"model:{model}", error)
        routes = {f"{model}/{one.version}": self._route(reading, one) for one in reversed(revisions)}
        return routes | {model: routes[f"{model}/{revisions[0].version}"]}

    def _route(self, reading: Reading, runs: Revision) -> Route:
        try:
            found = gather(reading, self.parts, runs.model, runs.version).version
            active(found)
            held_to_log(self.parts, found)
            if found.digest != runs.manifest or found.manifest.signature is None:
                raise Corrupt("revision-corrupt", f"revision {runs.id} does not fit {found.resource}")
            guard = guard_of(runs)
        except FastnessError as error:
            return self._problem(reading, (runs.model, runs.version), error)
        socket = str(self.parts.sockets / f"{runs.id}.sock")
        signature = found.manifest.signature
        return Route(reading.scope.tenant, runs.model, runs.version, runs.id, signature, socket, guard=guard)

    def _unserved(self, reading: Reading, model: str, number: int) -> Route:
        try:
            check(reading, self.parts, (model, number, self.parts.settings.serving), self.parts.clock.now())
        except FastnessError as error:
            return self._problem(reading, (model, number), error)
        detail = f"{model} {number} may be deployed to {self.parts.settings.serving}, but is not"
        return self._problem(reading, (model, number), Conflict("version-not-deployed", detail))

    def _problem(self, reading: Reading, what: tuple[str, int], error: FastnessError) -> Route:
        model, number = what
        try:
            signature = version(reading, model, number).manifest.signature or NOTHING_KNOWN
        except FastnessError:
            signature = NOTHING_KNOWN
        self._tell(reading, f"model:{model}/{number}" if number else f"model:{model}", error)
        return Route(reading.scope.tenant, model, number, "", signature, "", error.code, error.message)

    def _tell(self, reading: Reading, resource: str, error: FastnessError) -> None:
        """Record what was changed, once as long as this process lives; that something is missing is no news."""
        told = (resource, error.code)
        if not isinstance(error, Corrupt) or told in self._told:
            return
        scope = Scope(reading.scope.tenant, SYSTEM)
        with self.parts.records.begin(scope, self.parts.clock.now()) as tx:
            details = {"message": error.message[:2000]}
            event = tx.events.make(
                EventKind.ADMISSION_DENIED, resource, decision=Decision.DENY, reason=error.code, details={**details}
            )
            tx.emit(event)
        self._told.add(told)
