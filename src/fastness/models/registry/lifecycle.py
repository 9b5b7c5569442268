"""Versions: immutable, numbered, signed; only their state moves, and only forward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fastness.core.clock import Instant, rfc3339
from fastness.core.digests import Digest, parse_name
from fastness.core.errors import Conflict, Corrupt, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.signature import ModelSignature
from fastness.foundation.crypto import Statement, verify_statement
from fastness.foundation.storage import Reading, Transaction
from fastness.models.registry import records
from fastness.models.registry.evidence import recorded
from fastness.models.registry.manifest import (
    Manifest,
    ManifestFile,
    Predicate,
    canonical,
    digest_bytes,
    parse_manifest,
)


class VersionState(StrEnum):
    """What may be done with a version."""

    REGISTERED = "registered"
    QUARANTINED = "quarantined"
    RETIRED = "retired"


_FORWARD = {
    VersionState.REGISTERED: (VersionState.QUARANTINED, VersionState.RETIRED),
    VersionState.QUARANTINED: (VersionState.RETIRED,),
    VersionState.RETIRED: (),
}
_STATE_EVENTS = {VersionState.QUARANTINED: EventKind.MODEL_QUARANTINED, VersionState.RETIRED: EventKind.MODEL_RETIRED}


@dataclass(frozen=True, slots=True)
class RegisterRequest:
    """What the registry is asked to keep; see `Manifest` for the fields."""

    model: str
    files: tuple[ManifestFile, ...]
    formats: tuple[str, ...]
    loader: str
    signature: ModelSignature | None
    labels: tuple[str, ...]
    scan: Digest
    behaviour: str

    def manifest(self, tx: Transaction) -> tuple[bytes, Digest]:
        """The manifest of the next version of the model, as bytes and their digest, for signing.

        Raises:
            Invalid: the model's name is malformed.
        """
        manifest = Manifest(
            tenant=tx.scope.tenant,
            model=parse_name(self.model),
            number=records.next_number(tx, self.model),
            files=self.files,
            formats=self.formats,
            loader=self.loader,
            signature=self.signature,
            labels=self.labels,
            author=tx.scope.principal,
            created_at=rfc3339(tx.now),
            scan=self.scan,
            behaviour=self.behaviour,
        )
        data = canonical(manifest)
        return data, digest_bytes(data)


@dataclass(frozen=True, slots=True)
class Version:
    """A version as read: its manifest fits its digest and its row; signatures are checked by `verified`.

    Attributes:
        reason: why it is not registered any more.
        envelopes: signed statements about it with the time each was stored.
    """

    manifest: Manifest
    digest: Digest
    state: VersionState
    reason: str
    created_at: Instant
    envelopes: tuple[tuple[bytes, Instant], ...]

    @property
    def resource(self) -> str:
        """How events name it."""
        return resource_of(self.manifest.model, self.manifest.number)

    def statements(self, trusted: Mapping[str, bytes]) -> list[Statement]:
        """All statements about this version, verified, oldest first.

        Raises:
            Corrupt: one of them does not verify, or is about something else.
        """
        statements = [verify_statement(envelope, trusted) for envelope, _ in self.envelopes]
        if any(set(s.subjects.values()) != {self.digest} for s in statements):
            raise Corrupt("attestation-subject", f"a statement kept with {self.resource} is about something else")
        return statements

    def evidence(self, reading: Reading, trusted: Mapping[str, bytes]) -> dict[str, Statement]:
        """The newest statement of each kind about this version, if it is signed and its state is no older than known.

        Args:
            reading: what the version was read from.
            trusted: key id to PEM of the keys that may sign statements about versions.

        Raises:
            Corrupt: signatures or state do not hold, or the manifest is not signed.
        """
        found = {statement.predicate_type: statement for statement in self.statements(trusted)}
        if Predicate.MANIFEST not in found:
            raise Corrupt("attestation-missing", f"the manifest of {self.resource} is not signed")
        for ahead in _FORWARD[self.state]:
            if recorded(reading, _STATE_EVENTS[ahead], self.resource):
                raise Corrupt(
                    "state-rolled-back",
                    f"{self.resource} is stored as {self.state}, but the ledger holds that it was {ahead}",
                    "Somebody changed the records: run `fastness audit verify`, and restore a backup.",
                )
        return found

    def verified(self, reading: Reading, trusted: Mapping[str, bytes]) -> Version:
        """This version, if `evidence` holds.

        Raises:
            Corrupt: it does not.
        """
        self.evidence(reading, trusted)
        return self


def resource_of(model: str, number: int) -> str:
    """How events name a version."""
    return f"model:{model}/{number}"


def register(tx: Transaction, manifest: bytes, envelopes: Sequence[bytes], trusted: Mapping[str, bytes]) -> Version:
    """Keep a new version for good.

    Args:
        tx: the transaction in which the manifest was made.
        manifest: from `RegisterRequest.manifest`.
        envelopes: signed statements about its digest, the manifest's own among them.
        trusted: key id to PEM of the keys that may sign them.

    Raises:
        Conflict: the number was taken meanwhile.
        Corrupt: a statement is missing, not verified, or about something else.
    """
    parsed = parse_manifest(manifest)
    row = records.VersionRow(
        tx.scope.tenant,
        parsed.model,
        parsed.number,
        digest_bytes(manifest),
        manifest,
        VersionState.REGISTERED,
        "",
        tx.now,
    )
    records.add_version(tx, row)
    records.add_envelopes(tx, parsed.model, parsed.number, envelopes)
    new = version(tx, parsed.model, parsed.number)
    new.evidence(tx, trusted)
    details: dict[str, Detail] = {"digest": new.digest, "files": len(parsed.files)}
    tx.emit(tx.events.make(EventKind.MODEL_REGISTERED, new.resource, details=details))
    return new


def version(reading: Reading, model: str, number: int) -> Version:
    """One version.

    Raises:
        NotFound: the tenant has no such version.
        Corrupt: its manifest does not fit its digest or its place.
    """
    return _opened(reading, _stored(reading, model, number))


def models(reading: Reading) -> dict[str, tuple[int, ...]]:
    """The models of the tenant by name, each with the numbers of its versions, ascending; none of them is opened."""
    found: dict[str, list[int]] = {}
    for model, number in records.version_numbers(reading):
        found.setdefault(model, []).append(number)
    return {model: tuple(numbers) for model, numbers in found.items()}


def set_state(tx: Transaction, model: str, number: int, state: VersionState, reason: str) -> Version:
    """Move a version's state forward.

    Raises:
        NotFound: no such version.
        Conflict: the state cannot follow on the present one.
    """
    row = _stored(tx, model, number)
    before = _opened(tx, row)
    if state not in _FORWARD[before.state] or not records.change_state(tx, row, state, reason):
        raise Conflict(
            "state-not-forward",
            f"{before.resource} is {before.state} and cannot become {state}",
            "Push the model again: it is judged anew, as a new version.",
        )
    details: dict[str, Detail] = {"reason": reason, "digest": before.digest}
    tx.emit(tx.events.make(_STATE_EVENTS[state], before.resource, reason=f"version-{state}", details=details))
    return version(tx, model, number)


def _stored(reading: Reading, model: str, number: int) -> records.VersionRow:
    row = records.find_version(reading, model, number)
    if row is None:
        raise NotFound("version-unknown", f"there is no version {number} of {model!r}", "See `fastness models list`.")
    return row


def _opened(reading: Reading, row: records.VersionRow) -> Version:
    manifest = parse_manifest(row.manifest)
    placed = (manifest.tenant, manifest.model, manifest.number) == (row.tenant, row.model, row.number)
    if digest_bytes(row.manifest) != row.digest or not placed or row.state not in set(VersionState):
        raise Corrupt(
            "manifest-corrupt",
            f"the stored manifest of {resource_of(row.model, row.number)} was changed",
            "Restore the records, or push the model again.",
        )
    kept = records.envelopes(reading, row.model, row.number)
    return Version(
        manifest,
        row.digest,
        VersionState(row.state),
        row.reason,
        Instant(row.created_at),
        tuple((envelope, Instant(at)) for envelope, at in kept),
    )
