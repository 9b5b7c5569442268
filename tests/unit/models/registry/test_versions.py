"""Versions are numbered, immutable and signed; their state moves forward only."""

from __future__ import annotations

import msgspec
import pytest
import rfc8785

from fastness.core.clock import system_entropy
from fastness.core.errors import Conflict, Corrupt, Invalid, NotFound
from fastness.core.events import EventKind
from fastness.foundation.crypto import Purpose, SoftwareSigner, sign_statement
from fastness.models import registry
from fastness.models.registry import Predicate, VersionState
from tests.unit.models.registry.house import ALICE, NO_DIGEST, OTHER, House, request


def test_versions_are_numbered_by_model(house: House) -> None:
    numbers = [house.register(model).manifest.number for model in ("digits", "digits", "faces", "digits")]
    assert numbers == [1, 2, 1, 3]
    with house.records.read(ALICE) as reading:
        assert registry.models(reading) == {"digits": (1, 2, 3), "faces": (1,)}


def test_each_tenant_has_versions_of_its_own(house: House) -> None:
    house.register()
    assert house.register(scope=OTHER).manifest.number == 1
    with house.records.read(OTHER) as reading:
        assert registry.models(reading) == {"digits": (1,)}
        assert registry.version(reading, "digits", 1).manifest.tenant == "other"
        with pytest.raises(NotFound, match="version-unknown"):
            registry.version(reading, "digits", 2)


def test_the_same_files_give_another_manifest_each_time(house: House) -> None:
    assert house.register().digest != house.register().digest


def test_the_manifest_is_canonical_and_names_its_place(house: House) -> None:
    with house.begin() as tx:
        data, digest = request().manifest(tx)
        tx.emit(tx.events.make(EventKind.MODEL_PUSHED))
    value = msgspec.json.decode(data)
    assert rfc8785.dumps(value) == data
    assert (value["tenant"], value["model"], value["number"]) == ("default", "digits", 1)
    assert value["author"] == "user:alice"
    assert value["created_at"].endswith("Z")
    assert digest.startswith("sha256:")


def test_registering_leaves_its_event(house: House) -> None:
    version = house.register()
    (event,) = house.events(EventKind.MODEL_REGISTERED)
    assert (event.resource, event.details["digest"]) == ("model:digits/1", version.digest)


def test_what_is_read_is_what_was_registered(house: House) -> None:
    version = house.register()
    with house.records.read(ALICE) as reading:
        again = registry.version(reading, "digits", 1).verified(reading, house.attesting)
    assert again == version
    assert again.state is VersionState.REGISTERED
    (said,) = again.statements(house.attesting)
    assert (said.predicate_type, said.predicate) == (Predicate.MANIFEST, {"model": "digits"})


def test_a_manifest_that_nobody_signed_is_not_kept(house: House) -> None:
    with pytest.raises(Corrupt, match="attestation-missing"), house.begin() as tx:
        registry.register(tx, request().manifest(tx)[0], [], house.attesting)
    with house.records.read(ALICE) as reading:
        assert registry.models(reading) == {}


def test_a_statement_by_a_stranger_is_not_kept(house: House) -> None:
    stranger = SoftwareSigner.create(system_entropy)
    with pytest.raises(Corrupt, match="signature-untrusted"), house.begin() as tx:
        manifest, digest = request().manifest(tx)
        envelope = sign_statement(stranger, {"manifest": digest}, Predicate.MANIFEST, {})
        registry.register(tx, manifest, [envelope], house.attesting)


def test_a_statement_about_something_else_is_not_kept(house: House) -> None:
    with pytest.raises(Corrupt, match="attestation-subject"), house.begin() as tx:
        manifest, _ = request().manifest(tx)
        signer = house.keyring.signer(Purpose.ATTEST)
        envelope = sign_statement(signer, {"manifest": NO_DIGEST}, Predicate.MANIFEST, {})
        registry.register(tx, manifest, [envelope], house.attesting)


@pytest.mark.parametrize("name", ["", "..", "Digits", "a/b", "x" * 65])
def test_a_bad_name_is_refused(house: House, name: str) -> None:
    with pytest.raises(Invalid, match="name-malformed"), house.begin() as tx:
        request(name).manifest(tx)


def test_a_number_is_given_once(house: House) -> None:
    with pytest.raises(Conflict, match="record-exists"), house.begin() as tx:
        manifest, digest = request().manifest(tx)
        signer = house.keyring.signer(Purpose.ATTEST)
        envelope = sign_statement(signer, {"manifest": digest}, Predicate.MANIFEST, {})
        registry.register(tx, manifest, [envelope], house.attesting)
        registry.register(tx, manifest, [envelope], house.attesting)


def set_state(house: House, state: VersionState) -> registry.Version:
    with house.begin() as tx:
        return registry.set_state(tx, "digits", 1, state, "a reason")


@pytest.mark.parametrize(
    ("states", "allowed"),
    [
        (["quarantined"], True),
        (["retired"], True),
        (["quarantined", "retired"], True),
        (["registered"], False),
        (["quarantined", "quarantined"], False),
        (["quarantined", "registered"], False),
        (["retired", "quarantined"], False),
        (["retired", "registered"], False),
    ],
)
def test_states_move_forward_only(house: House, states: list[str], allowed: bool) -> None:
    house.register()
    *first, last = (VersionState(state) for state in states)
    for state in first:
        set_state(house, state)
    if allowed:
        after = set_state(house, last)
        assert (after.state, after.reason) == (last, "a reason")
        return
    with pytest.raises(Conflict, match="state-not-forward"):
        set_state(house, last)


def test_a_state_leaves_its_event(house: House) -> None:
    version = house.register()
    set_state(house, VersionState.QUARANTINED)
    (event,) = house.events(EventKind.MODEL_QUARANTINED)
    assert event.resource == version.resource
    assert event.details["reason"] == "a reason"
