"""Attack: whoever can write the database, but has none of the house's keys, changes the registry.

Success rate of each: 0. What is not covered here: the operator who has both the keys and the database (see SECURITY.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import delete, insert, select, update

from fastness.core.clock import system_entropy
from fastness.core.errors import Corrupt
from fastness.core.events import EventKind, decode_event, encode_event
from fastness.foundation.crypto import SoftwareSigner, sign_statement
from fastness.foundation.storage import METADATA
from fastness.models import registry
from fastness.models.registry import Predicate, VersionState
from fastness.models.registry.manifest import canonical, digest_bytes
from tests.unit.models.registry.house import ALICE, House, revision_of

Row = Mapping[str, object]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


def rows(house: House, table: str) -> list[Row]:
    with house.records.read(ALICE) as reading:
        return [dict(row._mapping) for row in reading.execute(select(METADATA.tables[table]))]


def put(house: House, table: str, **values: object) -> None:
    assert house.tamper(update(METADATA.tables[table]).values(**values)) > 0


def verified(house: House, number: int = 1) -> registry.Version:
    with house.records.read(ALICE) as reading:
        return registry.version(reading, "digits", number).verified(reading, house.attesting)


# --- manifests and attestations ------------------------------------------------------------------------------------


def test_a_changed_manifest_is_seen(house: House) -> None:
    house.register()
    (row,) = rows(house, "model_version")
    changed = bytes(row["manifest"]).replace(b"user:alice", b"user:malory")  # type: ignore[call-overload]  # bytes
    put(house, "model_version", manifest=changed)
    with pytest.raises(Corrupt, match="manifest-corrupt"):
        verified(house)


def test_a_changed_manifest_with_its_digest_made_to_fit_is_seen(house: House) -> None:
    version = house.register()
    changed = msgspec.structs.replace(version.manifest, author="user:mallory")
    data = canonical(changed)
    put(house, "model_version", manifest=data, digest=digest_bytes(data))
    with pytest.raises(Corrupt, match="attestation-subject"):
        verified(house)


def test_the_manifest_and_statements_of_one_version_do_not_pass_for_another(house: House) -> None:
    house.register()
    house.register()
    table, statements = METADATA.tables["model_version"], METADATA.tables["model_attestation"]
    first = next(row for row in rows(house, "model_version") if row["number"] == 1)
    envelope = next(row for row in rows(house, "model_attestation") if row["number"] == 1)["envelope"]
    house.tamper(delete(statements).where(statements.c.number == 1))
    house.tamper(delete(table).where(table.c.number == 1))
    house.tamper(update(table).where(table.c.number == 2).values(manifest=first["manifest"], digest=first["digest"]))
    house.tamper(update(statements).values(envelope=envelope))
    with pytest.raises(Corrupt, match="manifest-corrupt"):
        verified(house, 2)


def test_a_statement_signed_with_another_key_is_seen(house: House) -> None:
    version = house.register()
    mallory = SoftwareSigner.create(system_entropy)
    forged = sign_statement(mallory, {"manifest": version.digest}, Predicate.MANIFEST, {"model": "digits"})
    put(house, "model_attestation", envelope=forged)
    with pytest.raises(Corrupt, match="signature-untrusted"):
        verified(house)


def test_a_statement_that_was_taken_away_is_missed(house: House) -> None:
    house.register()
    house.tamper(delete(METADATA.tables["model_attestation"]))
    with pytest.raises(Corrupt, match="attestation-missing"):
        verified(house)


def test_each_flipped_bit_of_a_statement_is_seen(house: House) -> None:
    house.register()
    (row,) = rows(house, "model_attestation")
    envelope = row["envelope"]
    assert isinstance(envelope, bytes)
    payload, signature = envelope.index(b'"payload":"') + 11, envelope.index(b'"sig":"') + 7
    for at in (payload, payload + 200, signature, signature + 40):
        flipped = bytearray(envelope)
        flipped[at] = ord("A") if flipped[at] != ord("A") else ord("B")
        put(house, "model_attestation", envelope=bytes(flipped))
        with pytest.raises(Corrupt):
            verified(house)


@pytest.mark.parametrize("numbered", [False, True])
def test_a_quarantine_is_not_undone_in_sql(house: House, numbered: bool) -> None:
    house.register()
    with house.begin() as tx:
        registry.set_state(tx, "digits", 1, VersionState.QUARANTINED, "poisoned")
    if numbered:
        house.sequencer.run_once()
    assert verified(house).state is VersionState.QUARANTINED
    put(house, "model_version", state="registered", reason="")
    with pytest.raises(Corrupt, match="state-rolled-back"):
        verified(house)


def test_an_unknown_state_is_seen(house: House) -> None:
    house.register()
    put(house, "model_version", state="blessed")
    with pytest.raises(Corrupt, match="manifest-corrupt"):
        verified(house)


def test_a_changed_revision_is_seen(house: House) -> None:
    house.deploy(house.register())
    (row,) = rows(house, "model_revision")
    put(house, "model_revision", document=bytes(row["document"]).replace(b"10", b"99"))  # type: ignore[call-overload]  # bytes
    with pytest.raises(Corrupt, match="revision-corrupt"):
        house.pointed()


# --- aliases -------------------------------------------------------------------------------------------------------


def two_moves(house: House, *, numbered: bool) -> Row:
    """Deploy two versions; the alias row as it was after the first."""
    first, second = house.register(), house.register()
    house.deploy(first)
    (old,) = rows(house, "model_alias")
    house.deploy(second)
    if numbered:
        house.sequencer.run_once()
    assert house.pointed().version == 2
    return old


@pytest.fixture(params=[False, True], ids=["waiting", "numbered"])
def numbered(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def rolled_back(house: House) -> None:
    with pytest.raises(Corrupt, match="alias-rolled-back"):
        house.pointed()


def test_the_older_signed_row_is_put_back(house: House, numbered: bool) -> None:
    old = two_moves(house, numbered=numbered)
    put(house, "model_alias", sequence=old["sequence"], envelope=old["envelope"])
    rolled_back(house)


def test_the_older_row_is_put_back_under_the_new_number(house: House, numbered: bool) -> None:
    old = two_moves(house, numbered=numbered)
    put(house, "model_alias", envelope=old["envelope"])
    rolled_back(house)


def test_the_row_is_deleted(house: House, numbered: bool) -> None:
    two_moves(house, numbered=numbered)
    house.tamper(delete(METADATA.tables["model_alias"]))
    rolled_back(house)


def test_the_older_row_is_put_back_and_its_event_emitted_again(house: House, numbered: bool) -> None:
    old = two_moves(house, numbered=numbered)
    first = house.events(EventKind.ALIAS_MOVED)[0]
    with house.begin() as tx:
        tx.emit(msgspec.structs.replace(first, id="01900000-0000-7000-8000-000000000000"))
    put(house, "model_alias", sequence=old["sequence"], envelope=old["envelope"])
    rolled_back(house)


def test_the_event_of_the_newest_move_is_deleted(house: House, numbered: bool) -> None:
    two_moves(house, numbered=numbered)
    events = METADATA.tables["events"]
    newest = house.events(EventKind.ALIAS_MOVED)[-1]
    house.tamper(delete(events).where(events.c.id == newest.id))
    rolled_back(house)


def test_the_older_row_is_put_back_and_the_newest_event_deleted(house: House) -> None:
    old = two_moves(house, numbered=True)
    house.register()
    house.sequencer.run_once()
    events = METADATA.tables["events"]
    newest = house.events(EventKind.ALIAS_MOVED)[-1]
    house.tamper(delete(events).where(events.c.id == newest.id))
    put(house, "model_alias", sequence=old["sequence"], envelope=old["envelope"])
    rolled_back(house)


def test_the_older_row_is_put_back_and_all_newer_events_deleted(house: House) -> None:
    old = two_moves(house, numbered=True)
    events = METADATA.tables["events"]
    keep = next(row["idx"] for row in rows(house, "events") if row["kind"] == EventKind.ALIAS_MOVED)
    house.tamper(delete(events).where(events.c.idx > keep))
    put(house, "model_alias", sequence=old["sequence"], envelope=old["envelope"])
    rolled_back(house)


def test_the_newest_event_is_made_to_look_like_something_else(house: House) -> None:
    two_moves(house, numbered=True)
    events = METADATA.tables["events"]
    newest = house.events(EventKind.ALIAS_MOVED)[-1]
    house.tamper(update(events).where(events.c.id == newest.id).values(resource="alias:digits/elsewhere"))
    rolled_back(house)


def test_the_older_row_is_put_back_and_the_newest_event_overwritten_with_another(house: House) -> None:
    old = two_moves(house, numbered=True)
    newest = house.events(EventKind.ALIAS_MOVED)[-1]
    cover = msgspec.structs.replace(newest, kind=EventKind.ACCESS_DENIED, resource="", details={})
    events = METADATA.tables["events"]
    house.tamper(
        update(events)
        .where(events.c.id == newest.id)
        .values(kind=cover.kind.value, resource="", data=encode_event(cover))
    )
    put(house, "model_alias", sequence=old["sequence"], envelope=old["envelope"])
    rolled_back(house)


def test_the_event_is_changed_to_fit_the_older_row(house: House) -> None:
    old = two_moves(house, numbered=False)
    events = METADATA.tables["events"]
    first, newest = house.events(EventKind.ALIAS_MOVED)
    forged = encode_event(msgspec.structs.replace(newest, details=first.details))
    house.tamper(update(events).where(events.c.id == newest.id).values(data=forged))
    assert decode_event(forged).details == first.details
    put(house, "model_alias", sequence=old["sequence"] + 1, envelope=old["envelope"])  # type: ignore[operator]  # int
    rolled_back(house)


def test_a_move_signed_by_a_stranger_is_seen(house: House) -> None:
    old = two_moves(house, numbered=False)
    mallory = SoftwareSigner.create(system_entropy)
    with house.begin() as tx:
        kept = registry.revision(tx, revision_of(registry.version(tx, "digits", 1)).id)
        registry.move_alias(tx, mallory, "production", kept)
    assert old["sequence"] == 1
    with pytest.raises(Corrupt, match="alias-corrupt"):
        house.pointed()


def test_the_row_of_another_alias_does_not_pass(house: House) -> None:
    first, second = house.register(), house.register()
    house.deploy(first, "development")
    house.deploy(second, "production")
    table = METADATA.tables["model_alias"]
    (development,) = [row for row in rows(house, "model_alias") if row["name"] == "development"]
    house.tamper(update(table).where(table.c.name == "production").values(envelope=development["envelope"]))
    rolled_back(house)


def test_a_history_with_a_gap_is_seen(house: House) -> None:
    two_moves(house, numbered=False)
    table = METADATA.tables["model_alias_history"]
    house.tamper(delete(table).where(table.c.sequence == 1))
    with pytest.raises(Corrupt, match="alias-history-gap"):
        house.moves()


def test_a_move_after_a_tampering_never_repeats_a_number(house: House, numbered: bool) -> None:
    old = two_moves(house, numbered=numbered)
    history = METADATA.tables["model_alias_history"]
    house.tamper(delete(history).where(history.c.sequence == 2))
    put(house, "model_alias", sequence=old["sequence"], envelope=old["envelope"])
    with house.records.read(ALICE) as reading:
        third = registry.version(reading, "digits", 2)
    assert house.deploy(third).sequence == 3
    assert house.pointed().version == 2


def test_a_foreign_row_is_not_taken_for_ones_own(house: House) -> None:
    house.deploy(house.register())
    (row,) = rows(house, "model_alias")
    house.tamper(insert(METADATA.tables["model_alias"]).values(**{**row, "name": "staging"}))
    with pytest.raises(Corrupt, match="alias-rolled-back"):
        house.pointed("staging")
