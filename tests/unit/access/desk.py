"""A house where people log in: real records, a real key ring, real Argon2id at the least cost."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pyotp

from fastness.access import create_principal
from fastness.access.login import Answer, Client, Desk, LoginSettings, Method, accounts, factors, flow, sessions, stepup
from fastness.access.login.codes import App
from fastness.access.login.desk import Use
from fastness.access.login.passwords import Cost, Passwords
from fastness.access.login.sessions import NewSession, Session
from fastness.core.clock import SECOND
from fastness.core.events import Event
from fastness.core.identity import (
    SYSTEM_SCOPE,
    Principal,
    PrincipalId,
    PrincipalKind,
    Role,
    Scope,
    Strength,
    TenantId,
)
from fastness.foundation.crypto import Purpose, SealedKeyRing
from tests.unit.access.house import TENANT, House

PASSWORD = "mauve-kettle-93-orbit"
OTHER_PASSWORD = "quartz:lantern 7 weevil"
HOME = Client("203.0.113.7", "Firefox")
AWAY = Client("198.51.100.9", "Chromium")
CHEAP = Cost(8, 1, 1)


@dataclass
class LoginHouse(House):
    """Records, clock, and the desk."""

    ring: SealedKeyRing = field(default_factory=lambda: SealedKeyRing.in_memory(os.urandom))
    settings: LoginSettings = field(default_factory=lambda: LoginSettings().at("https://localhost"))

    def __post_init__(self) -> None:
        pepper = self.ring.mac(Purpose.LOGIN).derived(Use.PASSWORD.encode())
        self.passwords = Passwords(CHEAP, pepper, os.urandom)
        self.desk = Desk(self.settings, self.ring, self.passwords)

    def resettled(self, **changes: Any) -> None:
        self.settings = replace(self.settings, **changes)
        self.desk = Desk(self.settings, self.ring, self.passwords)

    def member(
        self, name: str = "alice", *roles: Role, password: str | None = PASSWORD, tenant: TenantId = TENANT
    ) -> PrincipalId:
        """A person, with a password unless it is None."""
        scope = Scope(tenant, PrincipalId("user:root"))
        me = PrincipalId(f"user:{name}")
        hashed = None if password is None else self.passwords.new(password, tenant, me)
        with self.begin(scope) as tx:
            create_principal(tx, PrincipalKind.USER, name, frozenset(roles))
            if hashed is not None:
                accounts.set_first_password(tx, self.principal(me, Strength.KEY, tenant), hashed)
        return me

    def principal(
        self, me: PrincipalId, strength: Strength = Strength.PASSWORD, tenant: TenantId = TENANT, **changes: Any
    ) -> Principal:
        """`me` as if just authenticated."""
        made = Principal(PrincipalKind.USER, me, tenant, frozenset(), strength, self.clock.now())
        return msgspec.structs.replace(made, **changes)

    def password(self, name: str, text: str = PASSWORD, client: Client = HOME, tenant: str = TENANT) -> flow.Step:
        """The first step, as a route walks it."""
        with self.records.read(SYSTEM_SCOPE) as reading:
            account = accounts.look_up(reading, self.desk, tenant, name, client, self.clock.now())
        proof = self.passwords.check(account, text)
        with self.begin(account.scope) as tx:
            outcome = flow.give_password(tx, self.desk, account, proof, client)
        return outcome.settled()

    def second(self, ticket: str, answer: Answer, client: Client = HOME) -> flow.Step:
        with self.records.read(SYSTEM_SCOPE) as reading:
            scope = flow.ticket_scope(reading, self.desk, ticket)
        with self.begin(scope) as tx:
            outcome = flow.give_second(tx, self.desk, ticket, answer, client)
        return outcome.settled()

    def log_in(self, name: str = "alice", text: str = PASSWORD, client: Client = HOME) -> NewSession:
        """A session by password alone."""
        session = self.password(name, text, client).session
        assert session is not None
        return session

    def session(self, made: NewSession | str, client: Client = HOME) -> Session:
        cookie = made if isinstance(made, str) else made.cookie
        with self.records.read(SYSTEM_SCOPE) as reading:
            return sessions.validate(reading, self.desk, cookie, client, self.clock.now())

    def app(self, me: PrincipalId, tenant: TenantId = TENANT) -> tuple[pyotp.TOTP, tuple[str, ...]]:
        """An authenticator app enrolled by a fresh login, and the recovery codes that came with it."""
        who = self.principal(me, tenant=tenant)
        with self.begin(Scope(tenant, me)) as tx:
            app = factors.start_totp(tx, self.desk, who, "phone")
        phone = phone_of(app)
        with self.begin(Scope(tenant, me)) as tx:
            outcome = factors.confirm_totp(tx, self.desk, who, app.factor, self.code(phone))
        self.clock.advance(30)
        return phone, outcome.settled().recovery

    def code(self, phone: pyotp.TOTP) -> str:
        return phone.at(self.clock.now() // SECOND)

    def totp(self, phone: pyotp.TOTP) -> Answer:
        return Answer(Method.TOTP, self.code(phone))

    def elevate(self, who: Principal, credential: str, answer: Answer, client: Client = HOME) -> stepup.Elevation:
        with self.begin(Scope(who.tenant, who.id)) as tx:
            outcome = stepup.elevate(tx, self.desk, who, credential, answer, client)
        return outcome.settled()

    def last(self) -> Event:
        return self.events()[-1]

    def kinds(self) -> list[str]:
        return [event.kind.value for event in self.events()]


def phone_of(app: App) -> pyotp.TOTP:
    """What an authenticator app makes of the otpauth address."""
    phone = pyotp.parse_uri(app.uri)
    assert isinstance(phone, pyotp.TOTP)
    return phone


def wrong(code: str) -> str:
    return re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), code)
