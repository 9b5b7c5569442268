"""Routes of logins, passwords and sessions."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from fastness.access import oauth
from fastness.access.login import accounts, flow, sessions
from fastness.access.tokens import TokenKeysProjection
from fastness.app import House
from fastness.core.clock import rfc3339
from fastness.core.identity import Action, PrincipalId, Resource
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.entering import Entering, fresh_until, parse_answer
from fastness.interfaces.api.paging import Page
from fastness.interfaces.api.routes import WRITE, entry, guarded, own, personal
from fastness.wire import control


class LoginRoutes(Controller):
    """The steps of a login. What failed is told alike, whether there is such an account or not."""

    path = "/logins"
    tags = ("login",)

    @post("/", status_code=200, sync_to_thread=True, opt=entry())
    def password(self, entering: NamedDependency[Entering], data: JSONBody[control.LoginRequest]) -> control.LoginReply:
        """The first step: name and password."""
        return _shown(entering.by_password(data.tenant, data.name, data.password))

    @post("/second/options", status_code=200, sync_to_thread=True, opt=entry())
    def second_options(
        self, entering: NamedDependency[Entering], data: JSONBody[control.TicketRequest]
    ) -> control.PasskeyOptions:
        """What a browser needs for the second step by passkey."""
        return control.PasskeyOptions(entering.second_options(data.ticket))

    @post("/second", status_code=200, sync_to_thread=True, opt=entry())
    def second(self, entering: NamedDependency[Entering], data: JSONBody[control.SecondRequest]) -> control.LoginReply:
        """The second step: a code, or a passkey."""
        return _shown(entering.by_second(data.ticket, parse_answer(data.method, data.code, data.response)))

    @post("/passkey/options", status_code=200, sync_to_thread=True, opt=entry())
    def passkey_options(
        self, entering: NamedDependency[Entering], data: JSONBody[control.TenantRequest]
    ) -> control.PasskeyOptions:
        """What a browser needs for a login by passkey alone."""
        return control.PasskeyOptions(entering.passkey_options(data.tenant))

    @post("/passkey", status_code=200, sync_to_thread=True, opt=entry())
    def passkey(
        self, entering: NamedDependency[Entering], data: JSONBody[control.PasskeyLoginRequest]
    ) -> control.LoginReply:
        """Log in by a passkey, which is both factors."""
        return _shown(entering.by_passkey(data.tenant, data.response))

    @delete("/", sync_to_thread=True, opt=own(WRITE, steps=True))
    def log_out(self, entering: NamedDependency[Entering]) -> None:
        """End the session that asks."""
        entering.out()


class OwnRoutes(Controller):
    """One-time codes, one's password, and who one is."""

    tags = ("login",)

    @post("/invitations/redeem", status_code=200, sync_to_thread=True, opt=entry())
    def redeem(self, entering: NamedDependency[Entering], data: JSONBody[control.RedeemRequest]) -> control.LoginReply:
        """Set a password by a one-time code; the session in which to enrol a second factor."""
        return _done(entering.by_code(data.code, data.password))

    @put("/password", sync_to_thread=True, opt=own(WRITE, shown_once=True))
    def set_password(
        self, entering: NamedDependency[Entering], data: JSONBody[control.PasswordRequest]
    ) -> control.PasswordReply:
        """Change one's password in a session; with a key, set the first one, which takes a second factor."""
        made = entering.with_password(data.new, data.old)
        return control.PasswordReply(made.csrf if made is not None else "")

    @get("/me", sync_to_thread=True, opt=own(steps=True))
    def me(self, house: NamedDependency[House], caller: NamedDependency[Caller]) -> control.MeView:
        """Who asks, and by what."""
        who = caller.principal
        return control.MeView(
            who.id, who.tenant, tuple(sorted(who.roles)), caller.credential, who.strength.name.lower(),
            fresh_until(caller, house), caller.session.csrf if caller.session else "",
        )  # fmt: skip


class SessionRoutes(Controller):
    """Who is logged in to the console."""

    path = "/sessions"
    tags = ("login",)

    @get("/", sync_to_thread=True, opt=personal(own(also=(Action.ACCESS_READ,)), "network"))
    def sessions(  # what every list takes, and whose
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
        *,
        everybody: Annotated[bool, QueryParameter(description="Of the whole tenant, instead of one's own.")] = False,
    ) -> Response[list[control.SessionView]]:
        """Open sessions: one's own, or for who may read access everybody's."""
        if everybody:
            doors.allow(caller, Action.ACCESS_READ, Resource("access", "sessions"))
        return page.of(open_sessions(house, caller, everybody=everybody), lambda view: view.session)

    @delete("/{session:str}", sync_to_thread=True, opt=guarded(Action.SESSION_REVOKE, WRITE))
    def revoke(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        session: FromPath[str],
    ) -> None:
        """End a session: one's own, or for who may revoke sessions anybody's."""
        revoke_session(house, doors, caller, session)


class CredentialRoutes(Controller):
    """How others come in."""

    path = "/principals"
    tags = ("access",)

    @post(
        "/{principal:str}/invitations",
        sync_to_thread=True,
        opt=guarded(Action.PRINCIPAL_CREATE, WRITE, shown_once=True),
    )
    def invite(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        principal: FromPath[str],
    ) -> control.InvitationReply:
        """A one-time code by which a person without password and second factor comes into the console."""
        doors.allow(caller, Action.PRINCIPAL_CREATE, Resource("principal", principal))
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            made = accounts.invite(tx, house.desk, PrincipalId(principal))
        return _invited(house, made)

    @post(
        "/{principal:str}/credential-reset",
        sync_to_thread=True,
        opt=guarded(Action.CREDENTIAL_RESET, WRITE, shown_once=True),
    )
    def reset(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        principal: FromPath[str],
    ) -> control.InvitationReply:
        """Take away somebody's password and second factors, end their sessions and tokens, and give a code to begin anew by."""
        doors.allow(caller, Action.CREDENTIAL_RESET, Resource("principal", principal), owner=principal)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            made = accounts.reset(tx, house.desk, caller.principal, PrincipalId(principal))
            oauth.revoke_all(tx, made.principal, "credential-reset")
        house.published(TokenKeysProjection.topic)
        return _invited(house, made)


def open_sessions(house: House, caller: Caller, *, everybody: bool = False) -> list[control.SessionView]:
    """The sessions of the caller, or of the whole tenant, oldest first."""
    with house.records.read(caller.scope) as reading:
        found = sessions.sessions(reading, None if everybody else caller.principal.id, house.clock.now())
    current = caller.session.row.id if caller.session else ""
    return [
        control.SessionView(
            row.id, row.principal, row.strength.name.lower(), row.network, rfc3339(row.authenticated_at),
            rfc3339(row.seen_at), rfc3339(row.expires_at), row.id == current,
        )
        for row in found
    ]  # fmt: skip


def revoke_session(house: House, doors: Doors, caller: Caller, session: str) -> None:
    """End a session.

    Raises:
        Forbidden: it is another's, and the caller may not.
        NotFound: there is none.
    """
    with house.records.read(caller.scope) as reading:
        found = sessions.sessions(reading, None, house.clock.now())
    owner = next((row.principal for row in found if row.id == session), "")
    doors.allow(caller, Action.SESSION_REVOKE, Resource("session", session), owner=owner)
    with house.records.begin(caller.scope, house.clock.now()) as tx:
        sessions.revoke(tx, session)
    if caller.session is not None and caller.session.row.id == session:
        doors.forget(caller)


def _invited(house: House, made: accounts.Invitation) -> control.InvitationReply:
    url = f"{house.desk.settings.origin}/console/invitation"
    return control.InvitationReply(made.principal, made.code, rfc3339(made.expires_at), url)


def _shown(step: flow.Step) -> control.LoginReply:
    if step.session is not None:
        return _done(step.session)
    methods = tuple(method.value for method in step.methods)
    return control.LoginReply(step.stage.value, rfc3339(step.expires_at), step.ticket, methods)


def _done(made: sessions.NewSession) -> control.LoginReply:
    return control.LoginReply(flow.Stage.DONE.value, rfc3339(made.expires_at), principal=made.principal, csrf=made.csrf)
