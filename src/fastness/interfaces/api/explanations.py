"""Routes that tell why: what decides whether somebody may do something, and who holds what does not go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from litestar import Controller, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromQuery, QueryParameter

from fastness.access import approvals, duties, keys, policysets, principals, restrictions, reviews
from fastness.app import House
from fastness.core.clock import Instant, rfc3339
from fastness.core.errors import Invalid, NotFound
from fastness.core.identity import Action, Principal, PrincipalId, Resource, Strength
from fastness.foundation.storage import Reading
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.paging import Page
from fastness.interfaces.api.restrictions import restriction_view
from fastness.interfaces.api.routes import guarded
from fastness.interfaces.rulebook import finding_view
from fastness.models.release import views
from fastness.wire import control, rules

_AUTHORED: Final = frozenset({Action.MODEL_APPROVE, Action.MODEL_DEPLOY, Action.APPROVAL_GIVE})
_PERSONAL: Final = frozenset(
    {
        Action.ROLE_GRANT,
        Action.GROUP_CHANGE,
        Action.KEY_CREATE,
        Action.KEY_REVOKE,
        Action.SESSION_REVOKE,
        Action.CREDENTIAL_RESET,
        Action.TOKEN_DELEGATE,
        Action.RESTRICTION_CHANGE,
        Action.QUOTA_CHANGE,
        Action.REVIEW_DECIDE,
    }
)
"""Actions whose rules ask whose the thing is; `policies/schema.cedar` has the list."""
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """The question: who, what, and what of the matter the house cannot know by itself.

    Attributes:
        author: who made it, where the house is not to look.
        owner: whose it is, where its name does not say.
        stepped_up: as if a second factor had just been given.
    """

    principal: str
    action: str
    resource: str
    author: str
    owner: str
    stepped_up: bool


def provide_asked(  # one parameter a field of the query
    principal: Annotated[str, QueryParameter(max_length=_LONGEST)],
    action: Annotated[str, QueryParameter(max_length=_LONGEST, schema_extra={"enum": list(Action)})],
    resource: Annotated[str, QueryParameter(max_length=_LONGEST, schema_extra={"pattern": "^[a-z]+:.+$"})],
    author: Annotated[str, QueryParameter(max_length=_LONGEST)] = "",
    owner: Annotated[str, QueryParameter(max_length=_LONGEST)] = "",
    stepped_up: FromQuery[bool] = False,  # noqa: FBT002 - a field of the query
) -> Asked:
    """The question in the query."""
    return Asked(principal, action, resource, author, owner, stepped_up)


_ASKED = {"asked": Provide(provide_asked, sync_to_thread=False)}


class ExplanationRoutes(Controller):
    """Why somebody may, or may not."""

    path = "/access"
    tags = ("access",)
    dependencies = _ASKED
    signature_types = (Asked,)

    @get("/explanations", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def explain(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        asked: NamedDependency[Asked],
    ) -> rules.ExplanationView:
        """Which rules decide whether a principal may do something, and what would have to change."""
        doors.allow(caller, Action.ACCESS_READ, Resource("access", "explanations"))
        action, resource = _action(asked.action), _resource(asked.resource)
        now = house.clock.now()
        with house.records.read(caller.scope) as reading:
            who = _principal(reading, asked, now)
            context = {"tenant": str(caller.scope.tenant), **_facts(reading, house, who, action, resource, asked)}
            against = [
                each for each in restrictions.standing(reading, now) if _meets(each.order, who, action, resource)
            ]
        held = house.book.of(caller.scope.tenant)
        found = policysets.explain(who, action, resource, context, held, now)
        decision = found.decision
        return rules.ExplanationView(
            principal=who.id,
            action=action.value,
            resource=str(resource),
            allow=decision.allow,
            reason=decision.reason,
            message=decision.message,
            rules=decision.rules,
            roles=tuple(sorted(who.roles)),
            context=context,
            version=held.version,
            obligations=tuple(each.value for each in decision.obligations),
            open=tuple(each.value for each in decision.open),
            said=tuple(_said(each) for each in found.said),
            changes=tuple(tuple(rules.ChangeView(c.attribute, c.to) for c in few) for few in found.changes),
            restrictions=tuple(restriction_view(each, now) for each in against),
        )

    @get("/conflicts", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def conflicts(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[control.FindingView]]:
        """Who holds roles that do not go together, everywhere or on one model."""
        doors.allow(caller, Action.ACCESS_READ, Resource("access", "conflicts"))
        with house.records.read(caller.scope) as reading:
            granted = [(person.id, grant) for person in principals(reading) for grant in person.grants]
            found = duties.conflicts(reading, granted).findings
        return page.of([finding_view(each) for each in found], _name)

    @get("/rights", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def rights(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[rules.RightsView]]:
        """Who can do what: everybody with all that the rules in force permit them."""
        doors.allow(caller, Action.ACCESS_READ, Resource("access", "rights"))
        with house.records.read(caller.scope) as reading:
            found = reviews.reports.who_can(reading, house.book.of(caller.scope.tenant), house.clock.now())
        return page.of([_rights(each) for each in found], lambda view: view.principal)

    @get("/findings", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def findings(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[control.FindingView]]:
        """What stands out: who and what is dormant, unused, too long-lived, ending, or in one hand too many."""
        doors.allow(caller, Action.ACCESS_READ, Resource("access", "findings"))
        with house.records.read(caller.scope) as reading:
            found = reviews.reports.findings(reading, house.book.of(caller.scope.tenant), house.clock.now()).findings
        return page.of([finding_view(each) for each in found], _name)


def _rights(reach: reviews.reports.Reach) -> rules.RightsView:
    return rules.RightsView(
        reach.principal,
        reach.active,
        tuple(sorted(reach.actions)),
        {model: tuple(sorted(actions)) for model, actions in reach.on_models.items()},
        "" if reach.last_seen_at is None else rfc3339(reach.last_seen_at),
    )


def _name(finding: control.FindingView) -> str:
    parts = (finding.where, finding.rule, *(str(finding.evidence.get(part, "")) for part in ("one", "two", "model")))
    return "/".join(parts)


def _action(text: str) -> Action:
    if text not in set(Action):
        raise Invalid("action-unknown", f"{text[:80]!r} is not an action", f"Use one of {', '.join(Action)}.")
    return Action(text)


def _resource(text: str) -> Resource:
    kind, _, name = text.partition(":")
    if not kind or not name:
        raise Invalid(
            "resource-malformed", f"{text[:80]!r} is not a resource", "Write KIND:NAME, as in model:digits/3."
        )
    return Resource(kind, name)


def _principal(reading: Reading, asked: Asked, now: Instant) -> Principal:
    """The principal with all that it holds, as its API key would prove it."""
    found = next((each for each in principals(reading) if each.id == asked.principal), None)
    if found is None:
        hint = "See: fastness access user list."
        raise NotFound("principal-unknown", f"there is no principal {asked.principal[:80]!r}", hint)
    if not found.active:
        raise Invalid("principal-inactive", f"{found.id} is no longer active, so it may do nothing")
    return Principal(
        found.kind, found.id, reading.scope.tenant, found.roles, Strength.KEY, now, grants=found.grants,
        stepped_up_at=now if asked.stepped_up else None,
    )  # fmt: skip


def _facts(
    reading: Reading, house: House, who: Principal, action: Action, resource: Resource, asked: Asked
) -> dict[str, Any]:
    """What the rules about this action ask of the matter."""
    if action in _PERSONAL:
        owner = asked.owner or _owner(reading, resource)
        return {"owner": owner} | ({"owner_kind": owner.partition(":")[0]} if action is Action.KEY_CREATE else {})
    if action not in _AUTHORED:
        return {}
    author, approved_by = _authors(reading, house, resource, asked.author)
    return {"author": author} | ({"own_approval": who.id in approved_by} if action is Action.MODEL_DEPLOY else {})


def _owner(reading: Reading, resource: Resource) -> str:
    if resource.kind == "principal":
        return resource.id
    if resource.kind == "key":
        return next((key.principal for key in keys(reading) if key.key_id == resource.id), PrincipalId(""))
    return ""


def _authors(reading: Reading, house: House, resource: Resource, given: str) -> tuple[str, set[str]]:
    """Who made it, and who approved it."""
    if resource.kind == "approval" and not given:
        return approvals.requests.find(reading, resource.id).asked.author, set()
    name, _, number = resource.id.partition("/")
    if resource.kind == "model" and number.isascii() and number.isdigit() and len(number) < len(str(1 << 31)):
        view = views.version_view(reading, house.parts, name, int(number))
        return given or view.author, {each.principal for each in view.approvals}
    if not given:
        raise Invalid(
            "author-unknown", "this depends on who made it", "Name a version, as in model:digits/3, or give the author."
        )
    return given, set()


def _meets(order: restrictions.Order, who: Principal, action: Action, resource: Resource) -> bool:
    model = resource.id.partition("/")[0] if resource.kind == "model" else ""
    meant: dict[restrictions.Kind, str] = {
        restrictions.Kind.PRINCIPAL: who.id,
        restrictions.Kind.ACTION: action.value,
        restrictions.Kind.MODEL: model,
        restrictions.Kind.TENANT: who.tenant,
    }
    return meant.get(order.kind) == order.target


def _said(said: Any) -> rules.SaidView:
    return rules.SaidView(
        said.rule, said.effect, said.says, said.matched, said.obliges.value if said.obliges else "", said.error
    )
