"""The gateway is given what may be served, and of the rest why it is not."""

from __future__ import annotations

import msgspec
import pytest
from sqlalchemy import update

from fastness.core.errors import Conflict
from fastness.core.events import EventKind
from fastness.foundation.storage import METADATA
from fastness.models import release
from fastness.models.release import PushRequest, Routes, RoutesProjection
from tests.unit.models.release.world import ALICE, DAVE, ERIN, World, digits_onnx, safetensors


def problems(world: World) -> dict[str, str]:
    return {key: route.problem for key, route in world.routes().by_key.items()}


def test_before_a_deployment_nothing_is_served(world: World) -> None:
    assert problems(world) == {"digits/1": "version-not-deployed", "digits/2": "version-not-deployed"}


def test_a_deployed_version_is_served_by_both_names(world: World) -> None:
    revision = world.deploy(1)
    routes = world.routes().by_key
    assert routes["digits"] == routes["digits/1"]
    route = routes["digits"]
    assert (route.tenant, route.model, route.version, route.revision) == ("default", "digits", 1, revision)
    assert route.socket == str(world.parts.sockets / f"{revision}.sock")
    assert route.signature.inputs[0].high == 16.0


def test_the_version_before_is_kept_warm(world: World) -> None:
    world.deploy(1)
    world.deploy(2)
    routes = world.routes().by_key
    assert routes["digits"].version == 2
    assert (routes["digits/1"].problem, routes["digits/2"].problem) == ("", "")
    release.rollback(world.parts, DAVE, "digits", "development", "worse")
    assert world.routes().by_key["digits"].version == 1


def test_what_is_not_approved_says_so(world: World) -> None:
    world.push(digits_onnx())
    assert problems(world)["digits/3"] == "approvals-missing"


def test_what_nothing_can_run_says_so(world: World) -> None:
    world.push(safetensors(), "model.safetensors", PushRequest("weights"))
    assert problems(world)["weights/1"] == "not-servable"


def test_a_quarantined_version_is_not_served(world: World) -> None:
    world.deploy(1)
    world.deploy(2)
    release.quarantine(world.parts, ERIN, "digits", 2, "poisoned")
    found = problems(world)
    assert (found["digits"], found["digits/2"], found["digits/1"]) == ("version-quarantined", "version-quarantined", "")


@pytest.mark.parametrize(
    "act",
    [
        lambda world: world.deploy(2),
        lambda world: release.rollback(world.parts, DAVE, "digits", "development", "worse"),
        lambda world: release.quarantine(world.parts, ERIN, "digits", 1, "poisoned"),
        lambda world: world.push(digits_onnx()),
        lambda world: world.allow("production"),
    ],
    ids=["deploy", "rollback", "quarantine", "push", "allowance"],
)
def test_what_changes_the_routes_moves_their_epoch(world: World, act: object) -> None:
    world.deploy(1)
    world.deploy(2)
    before = world.records.epoch(RoutesProjection.topic)
    act(world)  # type: ignore[operator]  # one of the lambdas above
    assert world.records.epoch(RoutesProjection.topic) > before


def test_routes_can_be_pushed_to_another_process(world: World) -> None:
    world.deploy(1)
    routes = world.routes()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(routes), type=Routes) == routes


def test_one_broken_model_does_not_hide_the_others(world: World) -> None:
    world.push(digits_onnx(), request=PushRequest("other", {"X": (0, 16)}))
    world.deploy(1)
    table = METADATA.tables["model_version"]
    world.tamper(update(table).where(table.c.model == "other").values(manifest=b"{}"))
    found = problems(world)
    assert (found["digits"], found["other/1"]) == ("", "manifest-corrupt")


def test_what_was_changed_is_recorded_once(world: World) -> None:
    world.deploy(1)
    world.tamper(update(METADATA.tables["model_revision"]).values(document=b"{}"))
    projection = RoutesProjection(world.parts)
    for _ in range(3):
        with world.records.read(ALICE) as reading:
            assert projection.load(reading).by_key["digits"].problem == "revision-corrupt"
    reasons = [event.reason for event in world.events(EventKind.ADMISSION_DENIED)]
    assert len(reasons) == len(set(reasons)) > 0


def test_a_version_that_was_not_deployed_is_not_loaded_unless_it_could_be(world: World) -> None:
    world.push(digits_onnx())
    with pytest.raises(Conflict, match="approvals-missing"):
        world.verify(3)
    assert world.verify(1).revision.environment == "development"
