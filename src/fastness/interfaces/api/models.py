"""Routes of models: from push to rollback."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Annotated, Any

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, PathParameter
from litestar.response import Stream

from fastness.app import House
from fastness.core.digests import parse_name
from fastness.core.errors import Invalid
from fastness.core.identity import Action, Resource
from fastness.interfaces.api import identifying, push
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.paging import Page
from fastness.interfaces.api.routes import WRITE, guarded
from fastness.models.release import (
    PushRequest,
    RoutesProjection,
    admit,
    approve,
    deploy,
    quarantine,
    rollback,
    verify_version,
    views,
)
from fastness.wire import control

LARGEST_ARTIFACT = 64 << 30
RANGE = "range."
Number = Annotated[int, PathParameter(lt=1 << 62)]


class ModelRoutes(Controller):
    """Models and their versions."""

    path = "/models"
    tags = ("models",)

    @post(
        "/{model:str}/versions",
        status_code=200,
        media_type="application/x-ndjson",
        request_max_body_size=LARGEST_ARTIFACT,
        opt=guarded(Action.MODEL_PUSH, WRITE, streams=True),
    )
    async def push(
        self,
        request: Request[Any, Any, Any],
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        model: FromPath[str],
        file: FromQuery[str],
    ) -> Stream:
        """Push an artifact, the body; the reply has a JSON line for each step and the outcome last."""
        name = parse_name(model)
        await asyncio.to_thread(doors.allow, caller, Action.MODEL_PUSH, Resource("model", name))
        declared = _declared(name, dict(request.query_params.items()))

        def work(upload: push.Upload, progress: push.Progress) -> control.AdmissionReply:
            admission = admit(house.parts, caller.scope, upload, declared, progress)
            findings = tuple(views.finding_view(finding) for finding in admission.verdict.findings)
            if admission.version is None:
                decision = admission.verdict.decision.name.lower()
                return control.AdmissionReply(name, decision, reason=admission.reason, findings=findings)
            number, digest = admission.version.manifest.number, admission.version.digest
            return control.AdmissionReply(name, "allow", number, digest, findings=findings)

        def confirm() -> None:
            with doors.noting(caller):
                caller.principal = identifying.again(house, request.scope, caller.client, caller.signed)
            doors.allow(caller, Action.MODEL_PUSH, Resource("model", name))

        upload = push.Upload(file[:255], request.stream(), confirm)
        pushing = push.Pushing(upload, work)
        await upload.taken.wait()
        return Stream(pushing.lines(), media_type="application/x-ndjson")

    @get("/", sync_to_thread=True, opt=guarded(Action.MODEL_READ))
    def models(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[control.ModelView]]:
        """All models."""
        doors.allow(caller, Action.MODEL_READ, Resource("models", "all"))
        with house.records.read(caller.scope) as reading:
            return page.of(views.model_views(reading, house.parts), lambda view: view.model)

    @get("/{model:str}", sync_to_thread=True, opt=guarded(Action.MODEL_READ))
    def versions(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        model: FromPath[str],
        page: NamedDependency[Page],
    ) -> Response[list[control.VersionView]]:
        """All versions of a model, newest first."""
        doors.allow(caller, Action.MODEL_READ, Resource("model", model))
        with house.records.read(caller.scope) as reading:
            return page.of(views.version_views(reading, house.parts, model), lambda view: _newest(view.version))

    @get("/{model:str}/versions/{version:int}", sync_to_thread=True, opt=guarded(Action.MODEL_READ))
    def version(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        model: FromPath[str],
        version: Number,
    ) -> control.VersionView:
        """One version, whole."""
        doors.allow(caller, Action.MODEL_READ, _version(model, version))
        return _view(house, caller, model, version)

    @get("/{model:str}/history", sync_to_thread=True, opt=guarded(Action.MODEL_READ))
    def history(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        model: FromPath[str],
        page: NamedDependency[Page],
    ) -> Response[list[control.HistoryView]]:
        """How the aliases of a model moved, newest first."""
        doors.allow(caller, Action.MODEL_READ, Resource("model", model))
        with house.records.read(caller.scope) as reading:
            moves = views.history_view(reading, house.parts, model)
        return page.of(moves, lambda view: f"{view.alias}.{_newest(view.sequence)}")

    @post(
        "/{model:str}/versions/{version:int}/verifications",
        status_code=200,
        sync_to_thread=True,
        opt=guarded(Action.MODEL_READ, WRITE),
    )
    def verify(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        model: FromPath[str],
        version: Number,
        data: JSONBody[control.DeployRequest],
    ) -> control.VersionView:
        """Verify everything about a version again, every stored byte too."""
        doors.allow(caller, Action.MODEL_READ, _version(model, version))
        with house.records.read(caller.scope) as reading:
            deployable = verify_version(reading, house.parts, model, version, data.environment)
        deployable.verify_bytes(house.vault)
        return _view(house, caller, model, version)

    @get(
        "/{model:str}/versions/{version:int}/approvals/{environment:str}",
        sync_to_thread=True,
        opt=guarded(Action.MODEL_READ),
    )
    def approval_subject(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        model: FromPath[str],
        version: Number,
        environment: FromPath[str],
    ) -> control.ApprovalSubject:
        """What an approver signs."""
        doors.allow(caller, Action.MODEL_READ, _version(model, version))
        with house.records.read(caller.scope) as reading:
            return views.approval_subject(reading, house.parts, model, version, environment)

    @post(
        "/{model:str}/versions/{version:int}/approvals",
        status_code=200,
        sync_to_thread=True,
        opt=guarded(Action.MODEL_APPROVE, WRITE, Action.MODEL_READ),
    )
    def approve(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        model: FromPath[str],
        version: Number,
        data: JSONBody[control.ApprovalRequest],
    ) -> control.VersionView:
        """Hand in a signed approval."""
        doors.allow(caller, Action.MODEL_READ, _version(model, version))  # the next line tells whether it exists
        author = _view(house, caller, model, version).author
        doors.allow(caller, Action.MODEL_APPROVE, _version(model, version), author=author)
        approve(house.parts, caller.scope, model, version, data.environment, data.envelope.encode())
        return _view(house, caller, model, version)

    @post(
        "/{model:str}/versions/{version:int}/deployments",
        status_code=200,
        sync_to_thread=True,
        opt=guarded(Action.MODEL_DEPLOY, WRITE, Action.MODEL_READ),
    )
    def deploy(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        model: FromPath[str],
        version: Number,
        data: JSONBody[control.DeployRequest],
    ) -> control.RevisionView:
        """Put a version into an environment."""
        doors.allow(caller, Action.MODEL_READ, _version(model, version))  # the next line tells whether it exists
        view = _view(house, caller, model, version)
        own = any(a.principal == caller.principal.id for a in view.approvals)
        doors.allow(caller, Action.MODEL_DEPLOY, _version(model, version), author=view.author, own_approval=own)
        revision = deploy(house.parts, caller.scope, model, version, data.environment)
        house.published(RoutesProjection.topic)
        return control.RevisionView(revision.id, model, version, data.environment)

    @post("/{model:str}/rollbacks", status_code=200, sync_to_thread=True, opt=guarded(Action.MODEL_ROLLBACK, WRITE))
    def rollback(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        model: FromPath[str],
        data: JSONBody[control.ReasonRequest],
    ) -> control.RevisionView:
        """Move an environment's alias back to the revision before."""
        doors.allow(caller, Action.MODEL_ROLLBACK, Resource("model", model))
        revision = rollback(house.parts, caller.scope, model, data.environment, _reason(data))
        house.published(RoutesProjection.topic)
        return control.RevisionView(revision.id, model, revision.version, data.environment)

    @post(
        "/{model:str}/versions/{version:int}/quarantine",
        status_code=200,
        sync_to_thread=True,
        opt=guarded(Action.MODEL_QUARANTINE, WRITE),
    )
    def quarantine(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        model: FromPath[str],
        version: Number,
        data: JSONBody[control.ReasonRequest],
    ) -> control.VersionView:
        """Take a version out of service for good."""
        doors.allow(caller, Action.MODEL_QUARANTINE, _version(model, version))
        quarantine(house.parts, caller.scope, model, version, _reason(data))
        house.published(RoutesProjection.topic)
        return _view(house, caller, model, version)


def _newest(number: int) -> str:
    """Sorts the highest number first."""
    return f"{10**10 - number:011d}"


def _declared(model: str, options: Mapping[str, str]) -> PushRequest:
    """What the author declares, from the query."""
    known = {"file", "probabilities", "min_confidence"}
    for name in options:
        if name not in known and not name.startswith(RANGE):
            raise Invalid(
                "option-unknown", f"there is no option {name[:80]!r}", "Use range.INPUT, probabilities, min_confidence."
            )
    ranges = {name.removeprefix(RANGE): _range(name, text) for name, text in options.items() if name.startswith(RANGE)}
    return PushRequest(model, ranges, options.get("probabilities", ""), _confidence(options.get("min_confidence", "0")))


def _range(name: str, text: str) -> tuple[float, float]:
    low, separator, high = text.partition(":")
    if not separator:
        raise Invalid("range-malformed", f"{name}={text[:80]!r} is not a range", "Write LOW:HIGH.")
    bounds = _number(name, low), _number(name, high)
    if bounds[0] > bounds[1]:
        raise Invalid("range-malformed", f"{name}={text[:80]!r}: low lies above high", "Write LOW:HIGH.")
    return bounds


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Invalid("number-malformed", f"{name}: {text[:80]!r} is not a finite number", "Write it like 0.5 or 16.")
    return number


def _confidence(text: str) -> float:
    number = _number("min_confidence", text)
    if not 0 <= number <= 1:
        raise Invalid("number-range", f"min_confidence: {number} does not lie in [0, 1]", "Write it like 0.5.")
    return number


def _version(model: str, version: int) -> Resource:
    return Resource("model", f"{model}/{version}")


def _view(house: House, caller: Caller, model: str, version: int) -> control.VersionView:
    with house.records.read(caller.scope) as reading:
        return views.version_view(reading, house.parts, model, version)


def _reason(data: control.ReasonRequest) -> str:
    reason = data.reason.strip()
    if not reason:
        raise Invalid("reason-missing", "an act like this says why", "Give a reason.")
    return reason
