"""What is shown of models: everything that speaks for or against a version."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from fastness.core.errors import NotFound
from fastness.core.events import EventKind
from fastness.foundation.storage import METADATA
from fastness.models import release
from fastness.models.release import views
from tests.unit.models.release.world import ALICE, DAVE, World, digits_onnx


def test_a_version_is_shown_whole(world: World) -> None:
    world.deploy(1)
    view = world.view(1)
    assert (view.model, view.version, view.state, view.author) == ("digits", 1, "registered", "user:alice")
    assert (view.format, view.size, view.aliases) == ("onnx", len(digits_onnx()), ("development",))
    assert set(view.scores) == {"development", "production"}
    assert view.scores["development"]["privacy"] == 1.0
    assert view.scores["production"]["privacy"] == 0.0
    assert {a.predicate_type.split(":")[-2] for a in view.attestations} == {"manifest", "scan", "behaviour"}
    assert view.signature["probabilities"] == "probabilities"


def test_an_allowance_is_shown_with_its_end_beside_what_it_excuses(world: World) -> None:
    for measure in world.view(1).measures:
        assert measure.allowance.startswith("development until 2026-") == (measure.state == "not-run"), measure
    assert any(m.name == "dependencies" for m in world.view(1).measures)


def test_approvals_are_shown_with_who_and_where(world: World) -> None:
    seen = {(a.principal, a.environment, a.decision, a.valid) for a in world.view(1).approvals}
    everywhere = ("development", "production")
    assert seen == {(f"user:{who}", where, "approve", True) for who in ("bob", "carol") for where in everywhere}


def test_a_changed_version_is_shown_with_what_is_wrong(world: World) -> None:
    world.tamper(update(METADATA.tables["model_attestation"]).values(envelope=b"{}"))
    view = world.view(1)
    assert [(f.rule, f.severity) for f in view.findings] == [("envelope-malformed", "critical")]
    assert view.scores == {}


def test_models_are_listed_with_what_they_serve(world: World) -> None:
    world.deploy(2)
    with world.records.read(ALICE) as reading:
        (model,) = views.model_views(reading, world.parts)
    assert (model.model, model.versions, model.latest_state) == ("digits", 2, "registered")
    assert model.aliases == {"development": 2}


def test_a_model_that_cannot_be_read_is_listed_with_the_reason(world: World) -> None:
    world.tamper(update(METADATA.tables["model_version"]).values(manifest=b"[]"))
    with world.records.read(ALICE) as reading:
        (model,) = views.model_views(reading, world.parts)
    assert model.latest_state == "manifest-corrupt"


def test_versions_are_listed_newest_first(world: World) -> None:
    with world.records.read(ALICE) as reading:
        assert [v.version for v in views.version_views(reading, world.parts, "digits")] == [2, 1]
        with pytest.raises(NotFound, match="model-unknown"):
            views.version_views(reading, world.parts, "other")


def test_the_history_tells_who_when_and_why(world: World) -> None:
    world.deploy(1)
    world.deploy(2)
    world.tick()
    release.rollback(world.parts, DAVE, "digits", "development", "worse")
    with world.records.read(ALICE) as reading:
        moves = views.history_view(reading, world.parts, "digits")
        with pytest.raises(NotFound, match="model-unknown"):
            views.history_view(reading, world.parts, "other")
    assert [(m.sequence, m.version, m.reason) for m in moves] == [
        (3, 1, "rolled back to move 1"),
        (2, 2, "deployed"),
        (1, 1, "deployed"),
    ]
    assert {m.principal for m in moves} == {"user:dave"}
    assert world.events(EventKind.MODEL_ROLLED_BACK)


def test_what_is_signed_names_everything(world: World) -> None:
    with world.records.read(ALICE) as reading:
        subject = views.approval_subject(reading, world.parts, "digits", 1, "production")
        with pytest.raises(NotFound, match="environment-unknown"):
            views.approval_subject(reading, world.parts, "digits", 1, "staging")
    assert subject.digest == world.view(1).digest
    assert subject.predicate == {
        "model": "digits",
        "version": 1,
        "environment": "production",
        "purpose": "deploy:production",
        "tenant": "default",
    }
