"""Attack: who can write the database enrols approvers of their own, or removes a rejection. Success rate: 0.

What was signed is genuine, so that signatures do not help: the log says what really happened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, insert

from fastness import access
from fastness.core.clock import system_entropy
from fastness.core.errors import Conflict, Corrupt
from fastness.core.identity import PrincipalId
from fastness.foundation.crypto import SoftwareSigner, sign_statement
from fastness.foundation.storage import METADATA
from fastness.models.release import views
from tests.unit.models.release.world import ALICE, World, copied, digits_onnx


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with copied(tmp_path / "home") as world:
        yield world


def refused(world: World, number: int) -> None:
    with pytest.raises(Corrupt, match="approvals-changed"):
        world.deploy(number)
    with pytest.raises(Corrupt, match="approvals-changed"):
        world.verify(number)


@pytest.mark.parametrize("settled", [False, True])
def test_a_rejection_is_removed_in_sql(world: World, settled: bool) -> None:
    world.approve("frank", 1, choice="reject")
    with pytest.raises(Conflict, match="said no"):
        world.deploy(1)
    if settled:
        world.settle()
    table = METADATA.tables["approval"]
    assert world.tamper(delete(table).where(table.c.principal == "user:frank")) == 1
    refused(world, 1)


def test_approvers_who_never_enrolled_are_written_into_the_tables(world: World) -> None:
    world.push(digits_onnx(0.5))
    now = world.clock.now()
    with world.records.read(ALICE) as reading:
        subject = views.approval_subject(reading, world.parts, "digits", 3, "development")
    for name in ("user:puppet-one", "user:puppet-two"):
        signer = SoftwareSigner.create(system_entropy)
        pem = signer.public_pem
        keyid = hashlib.sha256(pem).hexdigest()
        envelope = sign_statement(
            signer, {"manifest": subject.digest}, subject.predicate_type, {**subject.predicate, "decision": "approve"}
        )
        rows: dict[str, dict[str, object]] = {
            "principal": {"id": name, "kind": "user", "active": True, "created_at": now, "enrolled_at": now},
            "principal_role": {"principal": name, "role": "approver"},
            "public_key": {"keyid": keyid, "principal": name, "pem": pem, "enrolled_at": now, "revoked_at": None},
            "approval": {
                "id": name, "subject": subject.digest, "purpose": "deploy:development", "principal": name,
                "envelope": envelope, "envelope_digest": hashlib.sha256(envelope).hexdigest(), "recorded_at": now,
            },
        }  # fmt: skip
        for table, values in rows.items():
            world.tamper(insert(METADATA.tables[table]).values(tenant="default", **values))
    refused(world, 3)


def test_who_is_set_aside_by_the_rules_does_not_count_as_hidden(world: World) -> None:
    """A rejection that no longer counts stands in the records and in the log."""
    world.approve("frank", 1, choice="reject")
    with world.records.begin(ALICE, world.tick()) as tx:
        access.standing.deactivate(tx, PrincipalId("user:frank"))
    world.settle()
    assert world.deploy(1)
    assert world.verify(1).revision.version == 1
