"""Attack: between a decision and its use something changes, by another thread or by who can write the database.

Success rate of each: 0.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Executable, delete, update

from fastness import access
from fastness.core.errors import Corrupt, FastnessError, Forbidden
from fastness.core.events import EventKind
from fastness.core.identity import Role
from fastness.foundation.storage import METADATA
from fastness.models import registry, release
from fastness.models.release import RoutesProjection
from tests.unit.models.release.world import ALICE, DAVE, ERIN, World, copied, scope


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with copied(tmp_path / "home") as world:
        yield world


def at_once(*works: Callable[[], object]) -> list[FastnessError | None]:
    """Run all of them at the same time; what each was refused with."""
    gate = threading.Barrier(len(works))
    refused: list[FastnessError | None] = [None] * len(works)
    faults: list[BaseException] = []

    def run(number: int, work: Callable[[], object]) -> None:
        gate.wait()
        try:
            work()
        except FastnessError as error:
            refused[number] = error
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=run, args=item) for item in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    return refused


def deploy(world: World, number: int) -> Callable[[], object]:
    return lambda: release.deploy(world.parts, DAVE, "digits", number, "development")


def quarantine(world: World, number: int) -> Callable[[], object]:
    return lambda: release.quarantine(world.parts, ERIN, "digits", number, "poisoned")


def rollback(world: World) -> Callable[[], object]:
    return lambda: release.rollback(world.parts, DAVE, "digits", "development", "worse")


def moves(world: World) -> list[int]:
    with world.records.read(ALICE) as reading:
        return [m.version for m in registry.history(reading, world.parts.pointing, "digits", "development")]


def test_an_approver_deploys_with_the_approval_that_came_after_the_door(world: World) -> None:
    """The door asks whether the caller has approved; then they approve; then they deploy what they approved."""
    with world.records.begin(scope("root"), world.tick()) as tx:
        access.standing.set_roles(tx, scope("bob").principal, frozenset({Role.APPROVER, Role.OPERATOR}))
    with pytest.raises(Forbidden, match="deploy-by-approver"):
        world.deploy(1, who=scope("bob"))
    assert world.events(EventKind.ADMISSION_DENIED)[-1].reason == "deploy-by-approver"


def test_many_deploy_quarantine_and_roll_back_at_once(world: World) -> None:
    """Whoever wins, the history has no gap, alias and ledger agree, and what is out of service is not served."""
    world.deploy(1)
    works = [deploy(world, 1), deploy(world, 2), deploy(world, 1), rollback(world), rollback(world), deploy(world, 2)]
    refused = at_once(*works, quarantine(world, 2))
    assert {error.code for error in refused if error} <= {
        "alias-moved", "rollback-none", "version-quarantined", "alias-rolled-back", "record-exists",
    }  # fmt: skip
    assert refused[-1] is None
    assert len(moves(world)) == 1 + sum(error is None for error in refused[:-1])
    world.settle()
    for name, route in world.routes().by_key.items():
        assert route.version == 1 or route.problem, (name, route)


def test_one_move_of_two_rollbacks_at_once_is_taken(world: World) -> None:
    for number in (1, 2, 1, 2):
        world.deploy(number)
    refused = at_once(*[rollback(world)] * 4)
    assert sum(error is None for error in refused) >= 1
    assert {error.code for error in refused if error} <= {"alias-moved", "rollback-none"}
    assert len(moves(world)) == 4 + sum(error is None for error in refused)


def free_in_sql(world: World, hide: Callable[[], int]) -> None:
    """Make a quarantined version look registered, its event hidden by `hide`."""
    assert hide() > 0
    table = METADATA.tables["model_version"]
    assert world.tamper(update(table).where(table.c.number == 1).values(state="registered", reason="")) == 1


EVENTS = METADATA.tables["events"]
QUARANTINED = EVENTS.c.kind == EventKind.MODEL_QUARANTINED.value
HIDINGS = {
    "deleted": delete(EVENTS).where(QUARANTINED),
    "another kind": update(EVENTS).where(QUARANTINED).values(kind=EventKind.MODEL_SCANNED.value),
    "another model": update(EVENTS).where(QUARANTINED).values(resource="model:other/1"),
    "another tenant": update(EVENTS).where(QUARANTINED).values(tenant="other"),
    "without a number": update(EVENTS).where(QUARANTINED).values(idx=None, kind=EventKind.MODEL_SCANNED.value),
}


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("how", HIDINGS.values(), ids=HIDINGS.keys())
def test_the_event_of_a_quarantine_is_hidden(world: World, how: Executable, restarted: bool) -> None:
    """In a house that runs, the row was looked at before; what was seen once may not disappear."""
    world.deploy(1)
    release.quarantine(world.parts, ERIN, "digits", 1, "poisoned")
    world.settle()
    assert world.routes().by_key["digits"].problem == "version-quarantined"
    free_in_sql(world, lambda: world.tamper(how))
    if restarted:
        object.__setattr__(world.parts, "ledger", type(world.ledger)(
            world.folder / "ledger", world.records, world.sequencer.vkey))  # fmt: skip
    assert world.routes().by_key["digits"].problem
    with world.records.read(ALICE) as reading:
        assert RoutesProjection(world.parts).load(reading).by_key["digits/1"].problem
    with pytest.raises(Corrupt):
        world.verify(1)
    with pytest.raises(Corrupt):
        world.deploy(1)


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_an_alias_is_rolled_back_and_its_newest_move_given_to_another_tenant(world: World, restarted: bool) -> None:
    world.deploy(1)
    (old,) = world.rows("model_alias")
    world.deploy(2)
    world.settle()
    assert world.routes().by_key["digits"].version == 2
    newest = (EVENTS.c.kind == EventKind.ALIAS_MOVED.value, EVENTS.c.resource == "alias:digits/development")
    last = max(int(str(row["seq"])) for row in world.rows("events") if row["kind"] == EventKind.ALIAS_MOVED.value)
    assert world.tamper(update(EVENTS).where(*newest, EVENTS.c.seq == last).values(tenant="other")) == 1
    table = METADATA.tables["model_alias"]
    world.tamper(update(table).values(sequence=old["sequence"], envelope=old["envelope"]))
    if restarted:
        fresh = type(world.ledger)(world.folder / "ledger", world.records, world.sequencer.vkey)
        object.__setattr__(world.parts, "ledger", fresh)
    route = world.routes().by_key["digits"]
    assert (route.problem, route.socket) == ("alias-rolled-back", "")
