"""Routes of principals, keys and allowances."""

from __future__ import annotations

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from fastness.access import KeysProjection, create_principal, enrol, keys, principals, revoke_key
from fastness.access.login import factors
from fastness.access.members import Bounds, KeyTerms, code_scope, issue_key
from fastness.access.possession import Kind, found_keys
from fastness.app import House
from fastness.core.clock import SECOND, Instant, later, rfc3339
from fastness.core.digests import parse_name
from fastness.core.errors import Invalid
from fastness.core.identity import SYSTEM_SCOPE, Action, PrincipalId, PrincipalKind, Resource, parse_role
from fastness.core.limits import Limit
from fastness.foundation.storage import Reading
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.factors import FIRST_FACTOR, shown_app
from fastness.interfaces.api.paging import Page, find_one
from fastness.interfaces.api.routes import WRITE, entry, guarded, personal
from fastness.models.release import ReleaseParts, allowances, grant_allowance
from fastness.wire import control

DAY_S = 86_400.0
LONGEST_KEY_DAYS = 730


class AccessRoutes(Controller):
    """Who may do what."""

    tags = ("access",)

    @post("/enrolments", sync_to_thread=True, opt=entry())
    def enrol(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        data: JSONBody[control.EnrolmentRequest],
    ) -> control.EnrolmentReply:
        """Redeem a one-time code; the code itself is the credential."""
        with doors.noting(caller):
            with house.records.read(SYSTEM_SCOPE) as reading:
                scope = code_scope(reading, data.code)
            with house.records.begin(scope, house.clock.now()) as tx:
                principal, key = enrol(tx, data.code, data.public_pem.encode(), house.pepper)
                person = principal.kind is PrincipalKind.USER
                app = factors.start_totp(tx, house.desk, principal, FIRST_FACTOR) if person else None
        house.published(KeysProjection.topic)
        return control.EnrolmentReply(principal.id, key.key_id, key.text, shown_app(app) if app else None)

    @post("/principals", sync_to_thread=True, opt=guarded(Action.PRINCIPAL_CREATE, WRITE, shown_once=True))
    def create_principal(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        data: JSONBody[control.PrincipalRequest],
    ) -> control.PrincipalReply:
        """Create a principal and its one-time code."""
        kind, roles = _kind(data.kind), frozenset(parse_role(r) for r in data.roles)
        name = parse_name(data.name)
        doors.allow(caller, Action.PRINCIPAL_CREATE, Resource("principal", f"{kind}:{name}"))
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            enrolment = create_principal(tx, kind, name, roles)
        return control.PrincipalReply(enrolment.principal, enrolment.code, rfc3339(enrolment.expires_at))

    @get("/principals", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def principals(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[control.PrincipalView]]:
        """All principals of the tenant."""
        doors.allow(caller, Action.ACCESS_READ, Resource("access", "principals"))
        with house.records.read(caller.scope) as reading:
            found = _members(reading)
        return page.of(found, lambda view: view.principal)

    @get("/principals/{principal:str}", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def principal(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        principal: FromPath[str],
    ) -> control.PrincipalView:
        """One principal."""
        doors.allow(caller, Action.ACCESS_READ, Resource("principal", principal))
        with house.records.read(caller.scope) as reading:
            found = _members(reading)
        return find_one(found, lambda view: view.principal, principal, "principal")

    @post("/keys", sync_to_thread=True, opt=guarded(Action.KEY_CREATE, WRITE, shown_once=True))
    def create_key(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        data: JSONBody[control.KeyRequest],
    ) -> control.KeyReply:
        """Create an API key."""
        owner = PrincipalId(data.principal)
        kind = owner.partition(":")[0]
        doors.allow(caller, Action.KEY_CREATE, Resource("principal", owner), owner=owner, owner_kind=kind)
        limit = key_limit(house, data.per_s, data.burst, data.days)
        now = house.clock.now()
        with house.records.begin(caller.scope, now) as tx:
            maker = bounds_of(tx, caller)
            terms = KeyTerms(
                limit,
                later(now, data.days * DAY_S),
                data.name,
                frozenset(map(parse_action, data.actions)) or maker.actions,  # what is left open is as narrow
                frozenset(data.models) or maker.models,
                data.networks or maker.networks,
            )
            key = issue_key(tx, owner, terms, maker, house.pepper)
        house.published(KeysProjection.topic)
        return control.KeyReply(key.key_id, key.text, rfc3339(key.expires_at))

    @get("/keys", sync_to_thread=True, opt=personal(guarded(Action.ACCESS_READ), "name", "networks"))
    def keys(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[control.KeyView]]:
        """All keys of the tenant, without their secrets."""
        doors.allow(caller, Action.ACCESS_READ, Resource("access", "keys"))
        with house.records.read(caller.scope) as reading:
            found = _keys(reading)
        return page.of(found, lambda view: f"{view.created_at}.{view.key_id}")

    @get("/keys/{key_id:str}", sync_to_thread=True, opt=personal(guarded(Action.ACCESS_READ), "name", "networks"))
    def key(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        key_id: FromPath[str],
    ) -> control.KeyView:
        """One key, without its secret."""
        doors.allow(caller, Action.ACCESS_READ, Resource("key", key_id))
        with house.records.read(caller.scope) as reading:
            found = _keys(reading)
        return find_one(found, lambda view: view.key_id, key_id, "key")

    @delete("/keys/{key_id:str}", sync_to_thread=True, opt=guarded(Action.KEY_REVOKE, WRITE))
    def revoke_key(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        key_id: FromPath[str],
    ) -> None:
        """Revoke an API key."""
        with house.records.read(caller.scope) as reading:
            owner = next((k.principal for k in keys(reading) if k.key_id == key_id), "")
        doors.allow(caller, Action.KEY_REVOKE, Resource("key", key_id), owner=owner)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            revoke_key(tx, key_id)
        house.published(KeysProjection.topic)

    @post("/environments/{environment:str}/allowances", sync_to_thread=True, opt=guarded(Action.ALLOWANCE_GRANT, WRITE))
    def grant_allowance(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        environment: FromPath[str],
        data: JSONBody[control.AllowanceRequest],
    ) -> control.AllowanceView:
        """Let measures that were not run pass in an environment for a while."""
        doors.allow(caller, Action.ALLOWANCE_GRANT, Resource("environment", environment))
        granted = grant_allowance(house.parts, caller.scope, environment, data.measures, data.days * DAY_S, data.reason)
        with house.records.read(caller.scope) as reading:
            return _shown(house.parts, reading, environment)[granted.id]

    @get("/environments/{environment:str}/allowances", sync_to_thread=True, opt=guarded(Action.MODEL_READ))
    def allowances(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        environment: FromPath[str],
        page: NamedDependency[Page],
    ) -> Response[list[control.AllowanceView]]:
        """Allowances that stand in an environment."""
        doors.allow(caller, Action.MODEL_READ, Resource("environment", environment))
        with house.records.read(caller.scope) as reading:
            found = _shown(house.parts, reading, environment)
        return page.of(found.values(), lambda view: view.id)


def bounds_of(reading: Reading, caller: Caller) -> Bounds:
    """What the caller's credential is narrowed to: no credential that is made with it is wider."""
    who, (kind, _, identifier) = caller.principal, caller.credential.partition(":")
    networks: tuple[str, ...] = ()
    if kind == "key":
        networks = next((key.networks for key in keys(reading) if key.key_id == identifier), ())
    elif kind in set(Kind):
        networks = next((key.networks for key in found_keys(reading, Kind(kind)) if key.id == identifier), ())
    return Bounds(who.actions, who.models, networks)


def key_limit(house: House, per_s: float, burst: float, days: float) -> Limit:
    """The rate of a new credential.

    Raises:
        Invalid: it would be higher than the settings allow, or the credential would live too long.
    """
    if not 0 < days <= LONGEST_KEY_DAYS:
        raise Invalid("key-lifetime", f"a key lives for up to {LONGEST_KEY_DAYS} days", "Give `days` above 0.")
    limit, most = Limit(per_s, burst), house.settings.server
    if limit.per_s > most.max_key_rate or limit.burst > most.max_key_burst:
        allowed = f"{most.max_key_rate:g} a second and {most.max_key_burst:g} at once"
        raise Invalid("key-rate", f"a key may ask up to {allowed}", "Ask for less.")
    return limit


def parse_action(text: str) -> Action:
    """The action called `text`.

    Raises:
        Invalid: there is none.
    """
    if text not in set(Action):
        raise Invalid("action-unknown", f"{text[:80]!r} is not an action", f"Use one of {', '.join(Action)}.")
    return Action(text)


def _shown(parts: ReleaseParts, reading: Reading, environment: str) -> dict[str, control.AllowanceView]:
    """The allowances that hold, by id."""
    return {
        a.id: control.AllowanceView(
            a.id, a.environment, a.measures, a.reason, a.granted_by, rfc3339(Instant(a.expires_at * SECOND))
        )
        for a in allowances(reading, parts, environment)
    }


def _members(reading: Reading) -> list[control.PrincipalView]:
    return [
        control.PrincipalView(str(p.id), p.kind, tuple(sorted(p.roles)), p.enrolled, p.active)
        for p in principals(reading)
    ]


def _keys(reading: Reading) -> list[control.KeyView]:
    return [
        control.KeyView(
            k.key_id, k.name, k.principal, rfc3339(k.created_at), rfc3339(k.expires_at), k.revoked, k.limit.per_s,
            k.limit.burst, tuple(sorted(k.actions or ())), tuple(sorted(k.models or ())), k.networks, k.successor,
        )
        for k in keys(reading)
    ]  # fmt: skip


def _kind(text: str) -> PrincipalKind:
    if text not in {PrincipalKind.USER, PrincipalKind.SERVICE, PrincipalKind.AGENT}:
        raise Invalid("principal-kind", f"{text!r} is not a kind of principal", "Use user, service or agent.")
    return PrincipalKind(text)
