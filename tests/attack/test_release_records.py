"""Attack: whoever can write the database or the blobs, but has none of the house's keys, gets something into service.

Success rate of each: 0. Not covered: who also holds the key ring (see SECURITY.md).
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import rfc8785
from sqlalchemy import delete, insert, update

from fastness.core.clock import system_entropy
from fastness.core.errors import Conflict, Corrupt, FastnessError, Forbidden, Invalid, NotFound
from fastness.core.events import EventKind
from fastness.foundation.crypto import Purpose, SoftwareSigner, sign_statement
from fastness.foundation.storage import METADATA
from fastness.models import registry, release
from fastness.models.registry import Predicate
from fastness.models.registry.manifest import digest_bytes
from tests.unit.models.release.world import ALICE, DAVE, DAY_S, ERIN, FRANK, World, copied, digits_onnx


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with copied(tmp_path / "home") as world:
        yield world


def put(world: World, table: str, number: int = 1, **values: object) -> None:
    here = METADATA.tables[table]
    assert world.tamper(update(here).where(here.c.number == number).values(**values)) > 0


def cell(world: World, table: str, column: str, number: int = 1) -> list[bytes]:
    found = [row[column] for row in world.rows(table) if row["number"] == number]
    return [value for value in found if isinstance(value, bytes)]


def nowhere(world: World, error: type[FastnessError], code: str) -> None:
    """Version 1 is neither deployed, nor loaded; and the refusals are recorded."""
    with pytest.raises(error) as refused:
        world.deploy(1)
    assert refused.value.code == code
    assert world.events(EventKind.ADMISSION_DENIED)[-1].reason == code
    with pytest.raises(error) as refused:
        world.verify(1)
    assert refused.value.code == code


# --- approvals -----------------------------------------------------------------------------------------------------


def test_the_author_approves_their_own(world: World) -> None:
    world.push(digits_onnx(), who=FRANK)
    with pytest.raises(Forbidden, match="approval-by-author"):
        world.approve("frank", 3)
    assert world.events(EventKind.ADMISSION_DENIED)[-1].reason == "approval-by-author"
    world.approve("bob", 3)
    with pytest.raises(Conflict, match="1 of 2 approvals"):
        world.deploy(3)


def test_the_author_approves_by_a_row_of_their_own(world: World) -> None:
    """Past the door: the row is written straight into the table, with the author's valid signature."""
    world.push(digits_onnx(), who=FRANK)
    world.approve("bob", 3)
    table = METADATA.tables["approval"]
    row = next(r for r in world.rows("approval") if r["subject"] == world.view(3).digest)
    envelope = world.statement("frank", 3)
    forged = {**row, "id": "x" * 36, "principal": "user:frank", "envelope": envelope, "envelope_digest": "0" * 64}
    world.tamper(insert(table).values(**forged))
    with pytest.raises(Conflict, match="1 of 2 approvals"):
        world.deploy(3)


def test_one_person_approves_twice(world: World) -> None:
    world.push(digits_onnx())
    envelope = world.statement("bob", 3)
    world.hand_in("bob", 3, "development", envelope)
    with pytest.raises(Conflict, match="approval-exists"):
        world.hand_in("bob", 3, "development", envelope)
    reordered = b" " + envelope
    world.hand_in("bob", 3, "development", reordered)
    with pytest.raises(Conflict, match="1 of 2 approvals"):
        world.deploy(3)


@pytest.mark.parametrize(
    ("number", "environment"), [(2, "development"), (1, "production")], ids=["version", "environment"]
)
def test_an_approval_given_for_something_else_is_replayed(world: World, number: int, environment: str) -> None:
    world.push(digits_onnx())
    envelope = world.statement("bob", number, environment)
    with pytest.raises(Invalid, match="approval-refused"):
        world.hand_in("bob", 3, "development", envelope)
    with pytest.raises(Conflict, match="0 of 2 approvals"):
        world.deploy(3)


def test_approvals_of_another_version_are_copied_in_sql(world: World) -> None:
    world.push(digits_onnx())
    table = METADATA.tables["approval"]
    digest = world.view(3).digest
    world.tamper(update(table).where(table.c.subject == world.view(1).digest).values(subject=digest))
    with pytest.raises(Conflict, match="0 of 2 approvals"):
        world.deploy(3)


def test_a_stranger_approves(world: World) -> None:
    world.push(digits_onnx())
    with world.records.read(ALICE) as reading:
        subject = release.views.approval_subject(reading, world.parts, "digits", 3, "development")
    stranger = SoftwareSigner.create(system_entropy)
    predicate = {**subject.predicate, "decision": "approve"}
    envelope = sign_statement(stranger, {"manifest": subject.digest}, subject.predicate_type, predicate)
    with pytest.raises(Invalid, match="approval-refused"):
        world.hand_in("bob", 3, "development", envelope)


def test_someone_without_the_role_approves(world: World) -> None:
    world.push(digits_onnx())
    with pytest.raises(Forbidden, match="approver-unfit"):
        world.approve("dave", 3)


# --- manifest, attestations, scores --------------------------------------------------------------------------------


def test_a_manifest_is_edited(world: World) -> None:
    (manifest,) = cell(world, "model_version", "manifest")
    put(world, "model_version", manifest=manifest.replace(b'"high":16', b'"high":99'))
    nowhere(world, Corrupt, "manifest-corrupt")


def test_a_manifest_is_edited_with_its_digest(world: World) -> None:
    (manifest,) = cell(world, "model_version", "manifest")
    edited = manifest.replace(b"user:alice", b"user:karen")
    put(world, "model_version", manifest=edited, digest=digest_bytes(edited))
    nowhere(world, Corrupt, "attestation-subject")


def edited_envelope(envelope: bytes, edit: Callable[[bytes], bytes]) -> bytes:
    whole = msgspec.json.decode(envelope)
    payload = edit(base64.b64decode(whole["payload"]))
    whole["payload"] = base64.b64encode(payload).decode()
    return msgspec.json.encode(whole)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"state":"not-run"', b'"state":"passed" '),
        (b'"score":0', b'"score":1'),
        (b'"decision":"allow"', b'"decision":"allow","x":1'),
    ],
    ids=["state", "score", "scan"],
)
def test_a_signed_report_is_edited(world: World, old: bytes, new: bytes) -> None:
    changed = 0
    for row in world.rows("model_attestation"):
        envelope = row["envelope"]
        assert isinstance(envelope, bytes)
        forged = edited_envelope(envelope, lambda payload: payload.replace(old, new))
        if forged != edited_envelope(envelope, lambda payload: payload):
            table = METADATA.tables["model_attestation"]
            here = (table.c.number == row["number"], table.c.position == row["position"])
            changed += world.tamper(update(table).where(*here).values(envelope=forged))
    assert changed
    nowhere(world, Corrupt, "signature-untrusted")


def test_a_better_report_of_another_version_is_put_in_its_place(world: World) -> None:
    other = cell(world, "model_attestation", "envelope", 2)
    for position, envelope in enumerate(other):
        table = METADATA.tables["model_attestation"]
        here = (table.c.number == 1, table.c.position == position)
        world.tamper(update(table).where(*here).values(envelope=envelope))
    nowhere(world, Corrupt, "attestation-subject")


def test_a_second_report_signed_by_the_house_is_not_the_one_in_the_manifest(world: World) -> None:
    """A statement about the same digest, signed with the right key, such as one saved from an aborted attempt."""
    signer = world.keyring.signer(Purpose.ATTEST)
    version = world.view(1)
    forged = sign_statement(
        signer, {"manifest": version.digest}, Predicate.BEHAVIOUR, {"loader": "onnx", "measures": []}
    )
    put_row = {**next(r for r in world.rows("model_attestation") if r["number"] == 1), "position": 9}
    world.tamper(insert(METADATA.tables["model_attestation"]).values(**{**put_row, "envelope": forged}))
    nowhere(world, Corrupt, "attestation-exchanged")


def test_the_reports_are_deleted(world: World) -> None:
    world.tamper(delete(METADATA.tables["model_attestation"]))
    nowhere(world, Corrupt, "attestation-missing")


# --- blobs ---------------------------------------------------------------------------------------------------------


def blob_file(world: World, number: int) -> Path:
    with world.records.read(ALICE) as reading:
        blob = registry.version(reading, "digits", number).manifest.files[0].blob
    (found,) = [path for path in (world.folder / "blobs").rglob("*") if path.name == blob]
    return found


@pytest.mark.parametrize("at", [0, 40, 200, -1], ids=["header", "tag", "middle", "end"])
def test_a_byte_of_a_blob_is_flipped(world: World, at: int) -> None:
    path = blob_file(world, 1)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    with pytest.raises(Corrupt, match="blob-corrupt"):
        world.deploy(1)
    with pytest.raises(Corrupt, match="blob-corrupt"):
        world.verify(1).verify_bytes(world.vault)
    assert world.events(EventKind.ADMISSION_DENIED)[-1].reason == "blob-corrupt"


def test_the_blob_of_another_version_is_put_in_its_place(world: World) -> None:
    one, two = blob_file(world, 1), blob_file(world, 2)
    one.chmod(0o600)
    shutil.copyfile(two, one)
    with pytest.raises(Corrupt, match="blob-corrupt"):
        world.deploy(1)


def test_a_blob_is_cut_or_gone(world: World) -> None:
    path = blob_file(world, 1)
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(data[:-1])
    with pytest.raises(Corrupt, match="blob-corrupt"):
        world.deploy(1)
    path.unlink()
    with pytest.raises(NotFound, match="blob-missing"):
        world.deploy(1)


def test_the_rows_of_two_blobs_are_exchanged(world: World) -> None:
    """Digest and size of another blob are written beside this one's id."""
    with world.records.read(ALICE) as reading:
        one, two = (registry.version(reading, "digits", number).manifest.files[0] for number in (1, 2))
    table = next(t for name, t in METADATA.tables.items() if "digest" in t.c and "refcount" in t.c)
    world.tamper(update(table).where(table.c.id == one.blob).values(digest=two.sha256, size=two.size))
    nowhere(world, Corrupt, "blob-exchanged")


# --- aliases and states --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbered", [False, True], ids=["waiting", "numbered"])
def test_an_alias_is_rolled_back_in_sql(world: World, numbered: bool) -> None:
    world.deploy(1)
    (old,) = world.rows("model_alias")
    world.deploy(2)
    if numbered:
        world.settle()
    table = METADATA.tables["model_alias"]
    world.tamper(update(table).values(sequence=old["sequence"], envelope=old["envelope"]))
    route = world.routes().by_key["digits"]
    assert (route.problem, route.socket) == ("alias-rolled-back", "")
    assert "move 2" in route.detail
    assert "alias-rolled-back" in [event.reason for event in world.events(EventKind.ADMISSION_DENIED)]
    with pytest.raises(Corrupt, match="alias-rolled-back"):
        world.verify(1)
    with pytest.raises(Corrupt, match="alias-rolled-back"):
        release.rollback(world.parts, DAVE, "digits", "development", "cover up")
    world.deploy(2)
    assert world.routes().by_key["digits"].version == 2


def test_an_alias_of_another_environment_is_copied(world: World) -> None:
    world.deploy(1)
    (row,) = world.rows("model_alias")
    world.tamper(insert(METADATA.tables["model_alias"]).values(**{**row, "name": "production"}))
    object.__setattr__(world.parts, "settings", release.ReleaseSettings())
    assert world.routes().by_key["digits"].problem == "alias-rolled-back"


def test_a_quarantined_version_is_freed_in_sql(world: World) -> None:
    world.deploy(1)
    release.quarantine(world.parts, ERIN, "digits", 1, "poisoned")
    put(world, "model_version", state="registered", reason="")
    assert world.routes().by_key["digits"].problem == "state-rolled-back"
    nowhere(world, Corrupt, "state-rolled-back")


def test_a_version_is_quarantined_between_approval_and_deployment(world: World) -> None:
    world.push(digits_onnx())
    world.approve("bob", 3)
    world.approve("carol", 3)
    release.quarantine(world.parts, ERIN, "digits", 3, "poisoned")
    with pytest.raises(Conflict, match="version-quarantined"):
        world.deploy(3)


def test_a_rollback_goes_to_no_version_that_was_tampered_with(world: World) -> None:
    world.deploy(1)
    world.deploy(2)
    world.tamper(delete(METADATA.tables["model_attestation"]))
    with pytest.raises(Corrupt, match="attestation-missing"):
        release.rollback(world.parts, DAVE, "digits", "development", "worse")
    assert world.rows("model_alias")[0]["sequence"] == 2


# --- policy and allowances -----------------------------------------------------------------------------------------


def test_production_has_no_allowance(world: World) -> None:
    with pytest.raises(Conflict) as refused:
        world.deploy(1, "production")
    assert refused.value.code == "policy-denied"


def test_an_allowance_is_stretched_in_sql(world: World) -> None:
    (row,) = world.rows("model_allowance")
    envelope = row["envelope"]
    assert isinstance(envelope, bytes)
    longer = edited_envelope(envelope, lambda p: p.replace(b'"expires_at":1', b'"expires_at":9'))
    assert longer != envelope
    world.tick(31 * DAY_S)
    with pytest.raises(Conflict, match="allowance-expired"):
        world.deploy(1)
    world.tamper(update(METADATA.tables["model_allowance"]).values(envelope=longer))
    nowhere(world, Corrupt, "allowance-corrupt")


def test_an_allowance_is_moved_to_production(world: World) -> None:
    world.tamper(update(METADATA.tables["model_allowance"]).values(environment="production"))
    with pytest.raises(Corrupt, match="allowance-corrupt"):
        world.deploy(1, "production")


def test_another_statement_of_the_house_is_passed_off_as_an_allowance(world: World) -> None:
    envelope = cell(world, "model_attestation", "envelope")[0]
    world.tamper(update(METADATA.tables["model_allowance"]).values(envelope=envelope))
    nowhere(world, Corrupt, "allowance-corrupt")


def test_the_policy_of_a_revision_is_loosened(world: World) -> None:
    world.deploy(1)
    document = msgspec.json.decode(cell(world, "model_revision", "document")[0])
    document["policy"] |= {"approvals": 1, "security": 0}
    put(world, "model_revision", document=rfc8785.dumps(document))
    with pytest.raises(Corrupt, match="revision-corrupt"):
        world.verify(1)
    assert world.routes().by_key["digits"].problem == "revision-corrupt"
