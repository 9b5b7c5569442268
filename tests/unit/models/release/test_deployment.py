"""From approval to deployment and back; every refusal is told whole and leaves its event."""

from __future__ import annotations

import pytest

from fastness.access import standing
from fastness.core.errors import Conflict, Forbidden, Invalid, NotFound
from fastness.core.events import EventKind
from fastness.core.findings import Decision
from fastness.core.identity import Role
from fastness.models import registry, release
from fastness.models.release import PushRequest, ReleaseSettings
from fastness.models.release.parts import EnvironmentPolicy
from tests.unit.models.release.world import (
    ALICE,
    DAVE,
    DAY_S,
    ERIN,
    FRANK,
    World,
    copied,
    digits_onnx,
    safetensors,
    scope,
)


def rollback(world: World) -> int:
    world.tick()
    return release.rollback(world.parts, DAVE, "digits", "development", "worse than before").version


def denied(world: World) -> list[str]:
    return [event.reason for event in world.events(EventKind.ADMISSION_DENIED)]


def test_an_approved_version_is_deployed(world: World) -> None:
    revision = world.deploy(1)
    (event,) = world.events(EventKind.MODEL_DEPLOYED)
    assert (event.resource, event.decision, event.principal) == ("model:digits/1", Decision.ALLOW, "user:dave")
    assert event.details["revision"] == revision
    assert event.details["allowances"]
    assert world.view(1).aliases == ("development",)


def test_a_revision_holds_what_the_version_runs_under(world: World) -> None:
    world.deploy(1)
    runs = world.verify(1)
    assert runs.revision.environment == "development"
    assert runs.revision.policy == {
        "security": 0.8,
        "privacy": 0.85,
        "performance": 0.75,
        "approvals": 2,
        "allowances": True,
    }
    assert runs.guard == world.parts.settings.guard
    assert (runs.loader, runs.signature.probabilities) == ("onnx", "probabilities")
    assert runs.ticket.size == len(digits_onnx())


def test_a_version_without_approvals_is_refused(world: World) -> None:
    world.push(digits_onnx())
    with pytest.raises(Conflict, match="0 of 2 approvals") as refused:
        world.deploy(3)
    assert refused.value.code == "approvals-missing"
    assert denied(world) == ["approvals-missing"]
    assert world.view(3).aliases == ()


def test_one_approval_is_not_enough(world: World) -> None:
    world.push(digits_onnx())
    world.approve("bob", 3)
    with pytest.raises(Conflict, match="1 of 2 approvals"):
        world.deploy(3)
    world.approve("carol", 3)
    world.deploy(3)


def test_approvals_are_for_one_environment(world: World) -> None:
    world.push(digits_onnx())
    world.approve("bob", 3, "production")
    world.approve("carol", 3, "production")
    with pytest.raises(Conflict, match="approvals-missing"):
        world.deploy(3, "development")


def test_a_rejection_outweighs_approvals(world: World) -> None:
    world.push(digits_onnx())
    world.approve("bob", 3)
    world.approve("carol", 3)
    world.approve("frank", 3, choice="reject")
    with pytest.raises(Conflict, match="approval-rejected"):
        world.deploy(3)


def test_all_reasons_are_told_at_once(world: World) -> None:
    world.push(digits_onnx())
    with pytest.raises(Conflict) as refused:
        world.deploy(3, "production")
    assert refused.value.code == "policy-denied"
    for part in ("security is", "privacy is", "0 of 2 approvals", "dependencies not-run"):
        assert part in refused.value.message
    assert "allowance" in refused.value.hint


def test_production_honours_only_its_own_allowances(world: World) -> None:
    with pytest.raises(Conflict, match="policy-denied"):
        world.deploy(1, "production")
    world.allow("production")
    world.deploy(1, "production")


def test_an_allowance_that_expired_is_none(world: World) -> None:
    world.tick(30 * DAY_S)
    with pytest.raises(Conflict, match="allowance-expired"):
        world.deploy(1)
    assert not [m for m in world.view(1).measures if m.allowance]


def test_the_author_does_not_deploy(world: World) -> None:
    with pytest.raises(Forbidden, match="deploy-by-author"):
        world.deploy(1, who=ALICE)
    assert denied(world) == ["deploy-by-author"]


def test_an_approver_who_left_does_not_count(world: World) -> None:
    with world.records.begin(scope("root"), world.tick()) as tx:
        standing.set_roles(tx, scope("bob").principal, frozenset({Role.VIEWER}))
    with pytest.raises(Conflict, match="1 of 2 approvals"):
        world.deploy(1)


def test_weights_cannot_be_deployed(world: World) -> None:
    world.push(safetensors(), "model.safetensors", PushRequest("weights"))
    world.tick()
    with pytest.raises(Conflict, match="not-servable"):
        release.deploy(world.parts, DAVE, "weights", 1, "development")


@pytest.mark.parametrize(
    ("model", "number", "environment", "code"),
    [
        ("digits", 9, "development", "version-unknown"),
        ("other", 1, "development", "version-unknown"),
        ("digits", 1, "staging", "environment-unknown"),
    ],
)
def test_what_is_not_there_is_not_deployed(world: World, model: str, number: int, environment: str, code: str) -> None:
    with pytest.raises(NotFound, match=code):
        release.deploy(world.parts, DAVE, model, number, environment)
    assert denied(world) == [code]


def test_rollback_goes_one_back_each_time(world: World) -> None:
    world.push(digits_onnx(10.0))
    for who in ("bob", "carol"):
        world.approve(who, 3)
    for number in (1, 2, 3):
        world.deploy(number)
    assert [rollback(world), rollback(world)] == [2, 1]
    with pytest.raises(Conflict, match="rollback-none"):
        rollback(world)
    assert world.routes().by_key["digits"].version == 1
    moves = world.rows("model_alias_history")
    assert [row["sequence"] for row in moves] == [1, 2, 3, 4, 5]


def test_after_a_rollback_a_deployment_goes_on(world: World) -> None:
    world.deploy(1)
    world.deploy(2)
    rollback(world)
    world.deploy(2)
    assert rollback(world) == 1


def test_rollback_passes_over_what_was_quarantined(world: World) -> None:
    world.push(digits_onnx(10.0))
    for who in ("bob", "carol"):
        world.approve(who, 3)
    for number in (1, 2, 3):
        world.deploy(number)
    release.quarantine(world.parts, ERIN, "digits", 2, "poisoned")
    assert rollback(world) == 1
    (event,) = world.events(EventKind.MODEL_ROLLED_BACK)
    assert event.details["reason"] == "worse than before"


def test_there_is_nothing_to_roll_back_at_first(world: World) -> None:
    with pytest.raises(NotFound, match="alias-unknown"):
        rollback(world)
    world.deploy(1)
    with pytest.raises(Conflict, match="rollback-none"):
        rollback(world)


def test_a_quarantined_version_is_not_deployed(world: World) -> None:
    release.quarantine(world.parts, ERIN, "digits", 1, "poisoned")
    with pytest.raises(Conflict, match="poisoned") as refused:
        world.deploy(1)
    assert refused.value.code == "version-quarantined"
    with pytest.raises(Conflict, match="version-quarantined"):
        world.approve("frank", 1)
    with pytest.raises(Conflict, match="state-not-forward"):
        release.quarantine(world.parts, ERIN, "digits", 1, "again")


def test_a_deployed_version_is_held_to_the_stricter_of_both_policies(world: World, tmp_path: object) -> None:
    world.deploy(1)
    strict = ReleaseSettings(serving="development", development=EnvironmentPolicy(approvals=3))
    object.__setattr__(world.parts, "settings", strict)
    with pytest.raises(Conflict, match="2 of 3 approvals"):
        world.verify(1)


def test_a_laxer_setting_does_not_loosen_a_revision(world: World) -> None:
    world.deploy(1)
    with world.records.begin(scope("root"), world.tick()) as tx:
        standing.set_roles(tx, scope("bob").principal, frozenset({Role.VIEWER}))
    lax = ReleaseSettings(serving="development", development=EnvironmentPolicy(approvals=1))
    object.__setattr__(world.parts, "settings", lax)
    with pytest.raises(Conflict, match="1 of 2 approvals"):
        world.verify(1)


def test_an_allowance_is_refused_where_none_is_honoured(world: World, tmp_path: object) -> None:
    strict = ReleaseSettings(production=EnvironmentPolicy(allowances=False))
    object.__setattr__(world.parts, "settings", strict)
    with pytest.raises(Invalid, match="allowance-not-honoured"):
        world.allow("production")


@pytest.mark.parametrize(
    ("measures", "duration_s", "reason", "code"),
    [
        ((), DAY_S, "why", "allowance-empty"),
        (("  ",), DAY_S, "why", "allowance-empty"),
        (("leaks",), DAY_S, "  ", "allowance-empty"),
        (("leaks",), DAY_S, "x" * 501, "allowance-empty"),
        (("leaks",), 0.0, "why", "allowance-time"),
        (("leaks",), -1.0, "why", "allowance-time"),
        (("leaks",), 367 * DAY_S, "why", "allowance-time"),
        (("leaks",), float("nan"), "why", "allowance-time"),
        (("leaks",), float("inf"), "why", "allowance-time"),
    ],
)
def test_an_allowance_has_measures_a_reason_and_an_end(
    world: World, measures: tuple[str, ...], duration_s: float, reason: str, code: str
) -> None:
    with pytest.raises(Invalid, match=code):
        release.grant_allowance(world.parts, ERIN, "development", measures, duration_s, reason)


def test_an_allowance_leaves_its_event_and_is_listed(world: World) -> None:
    (event,) = world.events(EventKind.ALLOWANCE_GRANTED)
    assert (event.principal, event.resource) == ("user:erin", "environment:development")
    with world.records.read(ALICE) as reading:
        (allowance,) = release.allowances(reading, world.parts, "development")
        assert release.allowances(reading, world.parts, "production") == []
    assert (allowance.granted_by, allowance.reason) == ("user:erin", "not built yet")
    world.tick(31 * DAY_S)
    with world.records.read(ALICE) as reading:
        assert release.allowances(reading, world.parts, "development") == []


def test_another_tenant_sees_and_moves_nothing(world: World) -> None:
    other = type(DAVE)("elsewhere", DAVE.principal)  # type: ignore[arg-type]  # a tenant's id is a text
    with pytest.raises(NotFound, match="version-unknown"):
        release.deploy(world.parts, other, "digits", 1, "development")
    with world.records.read(other) as reading:
        assert registry.models(reading) == {}
        assert release.views.model_views(reading, world.parts) == []


def test_an_approver_may_push_and_others_approve(world: World) -> None:
    world.push(digits_onnx(), who=FRANK)
    for who in ("bob", "carol"):
        world.approve(who, 3)
    world.deploy(3)


def test_deploying_what_is_deployed_makes_the_same_revision(world: World) -> None:
    assert world.deploy(1) == world.deploy(1)
    assert len(world.rows("model_revision")) == 1


def test_the_home_survives_a_restart(world: World, tmp_path: object) -> None:
    revision = world.deploy(1)
    world.settle()
    assert world.verify(1).revision.id == revision


def test_with_default_settings_production_is_served(tmp_path_factory: pytest.TempPathFactory) -> None:
    with copied(tmp_path_factory.mktemp("home") / "home", ReleaseSettings()) as world:
        world.deploy(1, "development")
        assert "digits" not in world.routes().by_key
        world.allow("production")
        world.deploy(1, "production")
        assert world.routes().by_key["digits"].problem == ""
