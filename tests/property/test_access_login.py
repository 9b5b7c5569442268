"""The steps of a login in any order: what they attain is never more than what was proven."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from pyotp.totp import TOTP

from fastness.access import standing
from fastness.access.login import Answer, Client, Method, accounts, factors, flow, sessions, stepup
from fastness.access.login.codes import matching
from fastness.core.clock import SECOND, Instant
from fastness.core.errors import FastnessError, Limited, Unauthenticated
from fastness.core.identity import PrincipalId, Role, Scope, Strength
from fastness.core.secrets import SecretBytes
from tests.unit.access.desk import AWAY, HOME, OTHER_PASSWORD, PASSWORD, LoginHouse, wrong
from tests.unit.access.house import TENANT

ALICE, BOB = PrincipalId("user:alice"), PrincipalId("user:bob")
PASSWORDS = {"alice": PASSWORD, "bob": OTHER_PASSWORD}
CLIENTS = st.sampled_from([HOME, AWAY, Client("", "curl")])


@dataclasses.dataclass
class Known:
    """What the model knows of a session.

    Attributes:
        proven: when a second factor was given, or None.
        seen: when it was last noted as used.
    """

    name: str
    client: Client
    born: int
    seen: int
    proven: int | None
    alive: bool = True


class Logins(RuleBasedStateMachine):
    """alice has an app and recovery codes, bob has a password alone; somebody does whatever they like, in any order."""

    tickets = Bundle("tickets")
    cookies = Bundle("cookies")

    @initialize()
    def enrol(self) -> None:
        self.house = LoginHouse()
        self.house.member("alice", Role.VIEWER)
        self.house.member("bob", password=OTHER_PASSWORD)
        self.phone, codes = self.house.app(ALICE)
        self.recovery = list(codes)
        self.spent: set[str] = set()
        self.counters: list[int] = []
        self.known: dict[str, Known] = {}
        self.pending: dict[str, tuple[Client, int]] = {}

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.house.records.close()

    @property
    def now(self) -> int:
        return self.house.clock.now()

    @rule(seconds=st.sampled_from([0.5, 3, 29, 31, 120, 301, 899, 901, 3700, 43_201]))
    def wait(self, seconds: float) -> None:
        self.house.clock.advance(seconds)

    @rule(target=tickets, name=st.sampled_from(["alice", "bob", "mallory"]), right=st.booleans(), client=CLIENTS)
    def give_password(self, name: str, right: bool, client: Client) -> object:
        text = PASSWORDS.get(name, PASSWORD) if right else "wrong-wrong-7#xq"
        try:
            step = self.house.password(name, text, client)
        except (Unauthenticated, Limited):
            return multiple()
        assert right
        assert name in PASSWORDS
        if step.session is not None:
            assert name == "bob"
            self._born(step.session, "bob", client, None)
            return multiple()
        assert name == "alice"
        self.pending[step.ticket] = (client, self.now)
        return step.ticket

    @rule(
        target=cookies,
        ticket=tickets,
        client=CLIENTS,
        given=st.sampled_from(["right", "early", "late", "last", "wrong"]),
    )
    def give_code(self, ticket: str, client: Client, given: str) -> object:
        return self._second(ticket, client, Answer(Method.TOTP, self._code(given)))

    @rule(target=cookies, ticket=tickets, client=CLIENTS, which=st.integers(0, 9))
    def give_recovery(self, ticket: str, client: Client, which: int) -> object:
        return self._second(ticket, client, Answer(Method.RECOVERY, self.recovery[which]))

    @rule(target=cookies, cookie=cookies, given=st.sampled_from(["right", "early", "last", "wrong"]))
    def step_up(self, cookie: str, given: str) -> object:
        answer = Answer(Method.TOTP, self._code(given))
        before = self.known[cookie]
        try:
            session = self.house.session(cookie, before.client)
            with self.house.begin(session.scope) as tx:
                outcome = stepup.elevate_session(tx, self.house.desk, session, answer, before.client)
            made = outcome.settled()
        except FastnessError:
            return multiple()
        self._used(answer)
        before.alive = False
        return self._born(made, before.name, before.client, self.now, before.born)

    @rule(cookie=cookies)
    def use(self, cookie: str) -> None:
        known = self.known[cookie]
        if (session := self._valid(cookie, known)) is not None:
            with self.house.begin(session.scope) as tx:
                sessions.see(tx, session)
            known.seen = self.now

    @rule(cookie=cookies)
    def log_out(self, cookie: str) -> None:
        known = self.known[cookie]
        if (session := self._valid(cookie, known)) is not None:
            with self.house.begin(session.scope) as tx:
                flow.log_out(tx, session)
            known.alive = False

    @rule(cookie=cookies, roles=st.frozensets(st.sampled_from(list(Role)), max_size=3))
    def change_roles(self, cookie: str, roles: frozenset[Role]) -> None:
        with self.house.begin() as tx:
            standing.set_roles(tx, ALICE, roles)
        known = self.known[cookie]
        if (session := self._valid(cookie, known)) is not None and known.name == "alice":
            assert session.principal.roles <= roles

    @rule(who=st.sampled_from([ALICE, BOB]))
    def revoke_all(self, who: PrincipalId) -> None:
        with self.house.begin() as tx:
            sessions.revoke_all(tx, who)
        for known in self.known.values():
            known.alive = known.alive and f"user:{known.name}" != who

    @rule(text=st.text(max_size=50))
    def make_something_up(self, text: str) -> None:
        with pytest.raises(Unauthenticated):
            self.house.session(text)
        with pytest.raises(Unauthenticated):
            self.house.second(text, Answer(Method.RECOVERY, self.recovery[0]))

    @invariant()
    def sessions_are_as_good_as_what_was_proven(self) -> None:
        for cookie, known in getattr(self, "known", {}).items():
            session = self._valid(cookie, known)
            if session is not None:
                who = session.principal
                assert who.id == f"user:{known.name}"
                assert who.strength is (Strength.PASSWORD if known.proven is None else Strength.MFA)
                assert who.stepped_up_at == known.proven
                assert factors.is_fresh(who, Instant(self.now)) == (
                    known.proven is not None and self.now < known.proven + 300 * SECOND
                )

    @invariant()
    def no_code_was_taken_twice(self) -> None:
        counters = getattr(self, "counters", [])
        assert len(set(counters)) == len(counters)

    def _valid(self, cookie: str, known: Known) -> sessions.Session | None:
        """The session if it is good; whether it is, the model knows."""
        good = known.alive and self.now < min(known.born + 43_200 * SECOND, known.seen + 900 * SECOND)
        try:
            session = self.house.session(cookie, known.client)
        except Unauthenticated:
            assert not good
            return None
        assert good
        return session

    def _second(self, ticket: str, client: Client, answer: Answer) -> object:
        begun, at = self.pending[ticket]
        try:
            step = self.house.second(ticket, answer, client)
        except Unauthenticated:
            return multiple()
        assert begun == client
        assert self.now < at + 300 * SECOND
        assert step.session is not None
        self._used(answer)
        self.pending[ticket] = (client, -(10**30))  # a second use fails the line above
        return self._born(step.session, "alice", client, self.now)

    def _born(
        self, made: sessions.NewSession, name: str, client: Client, proven: int | None, born: int | None = None
    ) -> str:
        assert made.cookie not in self.known
        self.known[made.cookie] = Known(name, client, self.now if born is None else born, self.now, proven)
        return made.cookie

    def _code(self, given: str) -> str:
        step = {"early": 1, "late": -1}.get(given, 0)
        code = self.phone.at(self.now // SECOND, step)
        if given == "last" and self.counters:
            return self.phone.generate_otp(self.counters[-1])
        return wrong(code) if given == "wrong" else code

    def _used(self, answer: Answer) -> None:
        if answer.method is Method.RECOVERY:
            assert answer.code not in self.spent
            self.spent.add(answer.code)
            return
        counter = self.now // SECOND // 30
        self.counters += [c for c in (counter - 1, counter, counter + 1) if self.phone.generate_otp(c) == answer.code][
            -1:
        ]


TestLogins = Logins.TestCase
TestLogins.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


@given(st.binary(min_size=20, max_size=20), st.integers(0, 1 << 40), st.integers(-3, 3), st.integers(-1, 1 << 40))
def test_a_code_fits_its_step_and_its_neighbours_above_the_last_one(seed: bytes, at: int, off: int, last: int) -> None:
    now, current = Instant(at * SECOND), at // 30
    if current + off < 0:
        return
    code = TOTP(base64.b32encode(seed).decode()).generate_otp(current + off)
    found = matching(SecretBytes(seed), code, now, last)
    if abs(off) <= 1 and current + off > last:
        assert found is not None
    assert found is None or (found > last and abs(found - current) <= 1)


@pytest.fixture(scope="module")
def house() -> Iterator[LoginHouse]:
    made = LoginHouse()
    yield made
    made.records.close()


@given(st.text(max_size=300))
def test_names_and_passwords_of_any_text_are_refused_alike(house: LoginHouse, text: str) -> None:
    before = house.passwords.hashed
    with house.records.read(Scope(TENANT, PrincipalId(""))) as reading:
        account = accounts.look_up(reading, house.desk, text, text, HOME, house.clock.now())
    proof = house.passwords.check(account, text)
    assert (proof.right, account.known, house.passwords.hashed) == (False, False, before + 1)
