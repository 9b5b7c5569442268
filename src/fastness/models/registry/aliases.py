"""Aliases: signed pointers to revisions, moved in sequence, held against the ledger.

The row of an alias is only a cache of the newest signed move. Whoever can write the records can put back an older row
with its valid signature; the ledger's newest `alias.moved` event says which move was the last, so the older one does
not pass.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fastness.core.clock import rfc3339
from fastness.core.digests import Digest, parse_name
from fastness.core.errors import Corrupt, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.identity import PrincipalId, TenantId
from fastness.foundation.crypto import Signer, sign_statement, verify_statement
from fastness.foundation.ledger import Ledger
from fastness.foundation.storage import Reading, Transaction
from fastness.models.registry import records
from fastness.models.registry.evidence import check_recorded, recorded
from fastness.models.registry.manifest import Predicate, digest_bytes
from fastness.models.registry.revisions import Revision, revision

_HINT = "Somebody changed the records. Deploy again to set it right; `fastness audit verify` checks the ledger."


class Alias(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signed move of an alias; the newest says where it points.

    Attributes:
        sequence: 1 for the first move, without gaps.
        revision: id of what it points at.
        restores: the earlier move that a rollback went back to; 0 for a deployment.
        at: RFC 3339, UTC.
    """

    tenant: TenantId
    model: str
    name: str
    sequence: int
    revision: str
    version: int
    restores: int
    by: PrincipalId
    at: str


def move_alias(tx: Transaction, signer: Signer, name: str, target: Revision, restores: int = 0) -> Alias:
    """Point the alias `name` of the revision's model at it.

    The number of the move is above every one that the records or the ledger know, so that a move after a tampering
    never repeats a number.

    Raises:
        Invalid: the name is malformed.
        Conflict: another move took the same number meanwhile.
        NotFound: the revision is not kept.
    """
    kept = revision(tx, target.id)
    row = records.alias_row(tx, kept.model, parse_name(name))
    known = [0, row[0] if row else 0, *_sequences(tx, kept.model, name)]
    known += [sequence for sequence, _ in records.alias_moves(tx, kept.model, name)]
    by, at = tx.scope.principal, rfc3339(tx.now)
    move = Alias(tx.scope.tenant, kept.model, name, max(known) + 1, kept.id, kept.version, restores, by, at)
    envelope = sign_statement(signer, {"revision": kept.digest}, Predicate.ALIAS, msgspec.to_builtins(move))
    records.put_alias(tx, kept.model, name, move.sequence, envelope)
    details: dict[str, Detail] = {
        "sequence": move.sequence,
        "revision": kept.id,
        "version": kept.version,
        "digest": digest_bytes(envelope),
    }
    tx.emit(tx.events.make(EventKind.ALIAS_MOVED, _resource(kept.model, name), details=details))
    tx.touch("routes")
    return move


def alias(reading: Reading, trusted: Mapping[str, bytes], ledger: Ledger, model: str, name: str) -> Alias:
    """Where an alias points, if it is the newest move that the ledger knows.

    Args:
        reading: an open reading of the tenant.
        trusted: key id to PEM of the keys that may move aliases.
        ledger: the log the moves were recorded in.
        model: the model.
        name: the alias.

    Raises:
        NotFound: neither the records nor the ledger know the alias.
        Corrupt: `alias-corrupt`: the signature does not hold; `alias-rolled-back`: it is not the newest move.
    """
    row = records.alias_row(reading, model, name)
    moves = _sequences(reading, model, name)
    if row is None and not moves:
        raise NotFound("alias-unknown", f"model {model!r} has no alias {name!r}", "Deploy a version first.")
    # The highest number counts, not the latest event: an old event can be emitted again, a number not be unsaid.
    newest = max(moves, default=0)
    if row is None or row[0] != newest or moves[newest] != {digest_bytes(row[1])}:
        stands = f"stands at move {row[0]}" if row else "is missing"
        message = f"alias {name!r} of {model!r} {stands}, but the ledger's newest is move {newest}"
        raise Corrupt("alias-rolled-back", message, _HINT)
    try:
        check_recorded(ledger, EventKind.ALIAS_MOVED, _resource(model, name))
    except Corrupt as error:
        raise Corrupt("alias-rolled-back", f"alias {name!r} of {model!r}: {error.message}", _HINT) from error
    return _opened(reading, trusted, row, (model, name))


def history(reading: Reading, trusted: Mapping[str, bytes], model: str, name: str) -> list[Alias]:
    """Every move of an alias, each verified, oldest first.

    Raises:
        Corrupt: a move was changed or removed.
    """
    moves = records.alias_moves(reading, model, name)
    if [sequence for sequence, _ in moves] != list(range(1, len(moves) + 1)):
        raise Corrupt("alias-history-gap", f"the history of alias {name!r} of {model!r} has gaps", _HINT)
    return [_opened(reading, trusted, row, (model, name)) for row in moves]


def _opened(reading: Reading, trusted: Mapping[str, bytes], row: tuple[int, bytes], place: tuple[str, str]) -> Alias:
    try:
        statement = verify_statement(row[1], trusted)
        move = msgspec.convert(dict(statement.predicate), Alias)
    except (Corrupt, msgspec.ValidationError) as error:
        raise Corrupt(
            "alias-corrupt", f"alias {place[1]!r} of {place[0]!r} is not signed by this house", _HINT
        ) from error
    expected = (Predicate.ALIAS, reading.scope.tenant, *place, row[0])
    if (statement.predicate_type, move.tenant, move.model, move.name, move.sequence) != expected:
        raise Corrupt("alias-corrupt", f"alias {place[1]!r} of {place[0]!r} carries the signature of another", _HINT)
    target: Digest = revision(reading, move.revision).digest
    if set(statement.subjects.values()) != {target}:
        raise Corrupt("alias-corrupt", f"the revision behind alias {place[1]!r} of {place[0]!r} was changed", _HINT)
    return move


def _sequences(reading: Reading, model: str, name: str) -> dict[int, set[str]]:
    """The moves that the ledger knows: number to the digests recorded for it, of which there is one."""
    moves: dict[int, set[str]] = {}
    for event in recorded(reading, EventKind.ALIAS_MOVED, _resource(model, name)):
        sequence, digest = event.details.get("sequence"), event.details.get("digest")
        if isinstance(sequence, int) and isinstance(digest, str):
            moves.setdefault(sequence, set()).add(digest)
    return moves


def _resource(model: str, name: str) -> str:
    return f"alias:{model}/{name}"
