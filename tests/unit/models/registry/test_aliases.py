"""Aliases move in sequence, signed, and stand against the ledger whether or not it has numbered their events."""

from __future__ import annotations

import pytest

from fastness.core.errors import Invalid, NotFound
from fastness.core.events import EventKind
from fastness.foundation.crypto import Purpose
from fastness.models import registry
from tests.unit.models.registry.house import ALICE, OTHER, House, revision_of


def test_an_alias_points_at_what_it_was_moved_to(house: House) -> None:
    first, second = house.register(), house.register()
    assert house.deploy(first).sequence == 1
    assert house.deploy(second).sequence == 2
    pointed = house.pointed()
    assert (pointed.version, pointed.sequence, pointed.by) == (2, 2, "user:alice")
    assert pointed.revision == revision_of(second).id


@pytest.mark.parametrize("numbered", [0, 1, 2, 3])
def test_it_does_not_matter_how_many_events_the_sequencer_has_numbered(house: House, numbered: int) -> None:
    versions = [house.register() for _ in range(3)]
    for count, version in enumerate(versions, 1):
        house.deploy(version)
        if count <= numbered:
            house.sequencer.run_once()
    assert house.pointed().version == 3


def test_aliases_of_one_model_move_apart(house: House) -> None:
    first, second = house.register(), house.register()
    house.deploy(first, "production")
    house.deploy(second, "development")
    assert (house.pointed("production").version, house.pointed("development").version) == (1, 2)
    assert house.pointed("development").sequence == 1


def test_a_move_leaves_its_event(house: House) -> None:
    house.deploy(house.register())
    (event,) = house.events(EventKind.ALIAS_MOVED)
    assert event.resource == "alias:digits/production"
    assert (event.details["sequence"], event.details["version"]) == (1, 1)
    assert str(event.details["digest"]).startswith("sha256:")


def test_the_history_tells_every_move(house: House) -> None:
    first, second = house.register(), house.register()
    house.deploy(first)
    house.deploy(second)
    house.deploy(first, restores=1)
    assert [(m.sequence, m.version, m.restores) for m in house.moves()] == [(1, 1, 0), (2, 2, 0), (3, 1, 1)]


def test_a_move_touches_the_routes(house: House) -> None:
    before = house.records.epoch("routes")
    house.deploy(house.register())
    assert house.records.epoch("routes") == before + 1


def test_an_alias_that_was_never_moved_is_not_found(house: House) -> None:
    house.register()
    with pytest.raises(NotFound, match="alias-unknown"):
        house.pointed()
    assert house.moves() == []


def test_another_tenant_does_not_see_it(house: House) -> None:
    house.deploy(house.register())
    with pytest.raises(NotFound, match="alias-unknown"):
        house.pointed(scope=OTHER)


def test_a_bad_alias_name_is_refused(house: House) -> None:
    version = house.register()
    with pytest.raises(Invalid, match="name-malformed"):
        house.deploy(version, "../production")


def test_a_revision_is_kept_before_it_is_pointed_at(house: House) -> None:
    version = house.register()
    signer = house.keyring.signer(Purpose.ALIAS)
    with pytest.raises(NotFound, match="revision-unknown"), house.begin() as tx:
        registry.move_alias(tx, signer, "production", revision_of(version))


def test_a_revision_is_named_by_its_content(house: House) -> None:
    version = house.register()
    one, other = revision_of(version), revision_of(version, "development")
    assert one.id != other.id
    assert len(one.id) == 32
    with house.begin() as tx:
        registry.create_revision(tx, one)
        registry.create_revision(tx, one)
        tx.emit(tx.events.make(EventKind.MODEL_DEPLOYED))
    with house.records.read(ALICE) as reading:
        assert registry.revision(reading, one.id) == one
        with pytest.raises(NotFound, match="revision-unknown"):
            registry.revision(reading, other.id)
