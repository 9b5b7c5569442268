"""Logging in, being logged in, stepping up: what is to work, works."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import msgspec
import pytest

from fastness.access import create_principal, enrol, standing
from fastness.access.login import Answer, Method, accounts, codes, factors, flow, sessions, stepup
from fastness.access.login import records as rows
from fastness.core.clock import later
from fastness.core.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from fastness.core.events import EventKind
from fastness.core.identity import PrincipalId, PrincipalKind, Role, Scope, Strength, TenantId
from fastness.foundation.crypto import SoftwareSigner
from fastness.foundation.storage.contracts import Exempt
from tests.unit.access.authenticator import Authenticator
from tests.unit.access.desk import AWAY, HOME, OTHER_PASSWORD, PASSWORD, LoginHouse, phone_of, wrong
from tests.unit.access.house import ADMIN, START, TENANT

ALICE = PrincipalId("user:alice")
MINE = Scope(TENANT, ALICE)


@pytest.fixture
def house() -> Iterator[LoginHouse]:
    made = LoginHouse()
    yield made
    made.records.close()


def passkey(house: LoginHouse, me: PrincipalId = ALICE, **lies: object) -> Authenticator:
    """A passkey enrolled by a fresh login, or after a step-up."""
    who = house.principal(me, Strength.MFA, stepped_up_at=house.clock.now())
    with house.begin(Scope(TENANT, me)) as tx:
        options = factors.passkey_options(tx, house.desk, who, "session:s")
    key, response = Authenticator(**lies).create(options)
    with house.begin(Scope(TENANT, me)) as tx:
        factors.add_passkey(tx, house.desk, who, "session:s", "key", response).settled()
    return key


def test_a_password_gives_a_session_where_no_factor_is_enrolled(house: LoginHouse) -> None:
    house.member("alice", Role.VIEWER)
    made = house.log_in()
    session = house.session(made)
    assert (session.principal.id, session.principal.roles, session.principal.strength) == (
        ALICE, {Role.VIEWER}, Strength.PASSWORD,
    )  # fmt: skip
    assert (session.principal.authenticated_at, session.principal.stepped_up_at) == (START, None)
    assert session.credential == f"session:{made.id}"
    assert house.kinds()[-2:] == ["authentication.succeeded", "session.started"]
    assert [e.principal for e in house.events()[-2:]] == [ALICE, ALICE]


def test_a_password_and_a_code_give_a_session_that_has_stepped_up(house: LoginHouse) -> None:
    phone, _ = house.app(house.member())
    step = house.password("alice")
    assert (step.stage, step.methods, step.session) == (flow.Stage.SECOND, (Method.TOTP, Method.RECOVERY), None)
    done = house.second(step.ticket, house.totp(phone))
    assert done.session is not None
    who = house.session(done.session).principal
    assert (who.strength, who.stepped_up_at) == (Strength.MFA, house.clock.now())
    assert factors.is_fresh(who, later(house.clock.now(), 299))
    assert not factors.is_fresh(who, later(house.clock.now(), 300))


def test_a_recovery_code_is_a_second_factor_once(house: LoginHouse) -> None:
    _, recovery = house.app(house.member())
    assert len(set(recovery)) == codes.RECOVERY_CODES
    spoken = recovery[3].upper().replace("-", " ").replace("0", "O").replace("1", "l")
    assert house.second(house.password("alice").ticket, Answer(Method.RECOVERY, spoken)).session
    with house.records.read(MINE) as reading:
        assert factors.recovery_left(reading, ALICE) == 9


def test_a_passkey_logs_in_by_itself_and_its_owner_needs_no_name(house: LoginHouse) -> None:
    house.member()
    key = passkey(house)
    with house.begin(Scope(TENANT, PrincipalId(""))) as tx:
        options = flow.passkey_options(tx, house.desk, HOME)
    assert "allowCredentials" not in options or options["allowCredentials"] == []
    assert options["userVerification"] == "required"
    with house.begin(Scope(TENANT, PrincipalId(""))) as tx:
        outcome = flow.give_passkey(tx, house.desk, key.get(options), HOME)
    session = outcome.settled().session
    assert session is not None
    assert house.session(session).principal.strength is Strength.MFA


def test_a_passkey_is_a_second_factor_after_a_password(house: LoginHouse) -> None:
    house.member()
    key = passkey(house, counter=5)
    ticket = house.password("alice").ticket
    with house.begin(Scope(TENANT, PrincipalId(""))) as tx:
        options = flow.second_options(tx, house.desk, ticket, HOME)
    assert [c["id"] for c in options["allowCredentials"]] != []
    done = house.second(ticket, Answer(Method.PASSKEY, response=key.but(counter=6).get(options)))
    assert done.session is not None


def test_options_of_a_registration_ask_for_what_is_needed(house: LoginHouse) -> None:
    house.member()
    key = passkey(house)
    who = house.principal(ALICE, stepped_up_at=house.clock.now())
    with house.begin(MINE) as tx:
        options = factors.passkey_options(tx, house.desk, who, "session:s")
    chosen = options["authenticatorSelection"]
    assert (chosen["residentKey"], chosen["requireResidentKey"], chosen["userVerification"]) == (
        "required", True, "required",
    )  # fmt: skip
    assert (options["rp"], options["attestation"]) == ({"name": "Fastness", "id": "localhost"}, "none")
    assert "alice" not in options["user"]["id"]
    assert len(options["excludeCredentials"]) == 1
    _, again = key.create(options)
    with house.begin(MINE) as tx:
        outcome = factors.add_passkey(tx, house.desk, who, "session:s", "again", again)
    with pytest.raises(Conflict, match="passkey-exists"):
        outcome.settled()


def test_a_session_ends_when_it_is_idle_or_old_or_given_up(house: LoginHouse) -> None:
    house.member()
    made = house.log_in()
    for _ in range(47):  # used every 15 minutes but a second, for 11 hours and 45 minutes
        house.clock.advance(899)
        session = house.session(made)
        assert session.stale
        with house.records.begin_unrecorded(session.scope, house.clock.now(), Exempt.LEASE) as tx:
            sessions.see(tx, session)
    house.clock.advance(43_200 - 47 * 899)
    assert refused_session(house, made) == "session-expired"
    idle = house.log_in()
    house.clock.advance(899)
    house.session(idle)
    house.clock.advance(1)
    assert refused_session(house, idle) == "session-idle"
    last = house.log_in()
    with house.begin(MINE) as tx:
        flow.log_out(tx, house.session(last))
    assert refused_session(house, last) == "session-ended"
    assert house.last().kind is EventKind.SESSION_ENDED


def refused_session(house: LoginHouse, made: sessions.NewSession | str, client: object = HOME) -> str:
    with pytest.raises(Unauthenticated) as caught:
        house.session(made, client)
    assert caught.value.code == "session-refused"
    return caught.value.audit_code


def in_a_row(house: LoginHouse, count: int) -> list[sessions.NewSession]:
    made = []
    for _ in range(count):
        made.append(house.log_in())
        house.clock.advance(1)
    return made


def test_a_session_used_lately_is_not_written_again(house: LoginHouse) -> None:
    house.member()
    made = house.log_in()
    assert not house.session(made).stale
    house.clock.advance(31)
    assert house.session(made).stale


def test_sessions_are_listed_and_revoked_one_by_one_all_and_by_officers(house: LoginHouse) -> None:
    house.member("alice")
    house.member("bob")
    mine = in_a_row(house, 3)
    bobs = house.log_in("bob")
    with house.records.read(ADMIN) as reading:
        assert [row.id for row in sessions.sessions(reading, ALICE, house.clock.now())] == [made.id for made in mine]
        assert len(sessions.sessions(reading, None, house.clock.now())) == 4
    before = house.records.epoch("sessions")
    with pytest.raises(NotFound), house.begin(MINE) as tx:
        sessions.revoke(tx, bobs.id, ALICE)
    with house.begin(MINE) as tx:
        sessions.revoke(tx, mine[0].id, ALICE)
    assert refused_session(house, mine[0]) == "session-ended"
    with house.begin(MINE) as tx:
        assert sessions.revoke_all(tx, ALICE, but=mine[1].id) == 1
    house.session(mine[1])
    with house.begin() as tx:
        sessions.revoke(tx, bobs.id)
    assert refused_session(house, bobs) == "session-ended"
    assert house.records.epoch("sessions") == before + 3
    with pytest.raises(NotFound), house.begin() as tx:
        sessions.revoke(tx, bobs.id)


def test_too_many_sessions_end_the_oldest(house: LoginHouse) -> None:
    house.resettled(sessions_max=2)
    house.member()
    made = in_a_row(house, 3)
    assert refused_session(house, made[0]) == "session-unknown"
    assert [(e.kind, e.reason) for e in house.events()].count((EventKind.SESSION_ENDED, "too-many")) == 1
    assert [house.session(one).row.id for one in made[1:]] == [one.id for one in made[1:]]


def test_a_session_of_who_left_is_refused_with_the_next_request(house: LoginHouse) -> None:
    house.member()
    made = house.log_in()
    with house.begin() as tx:
        standing.deactivate(tx, ALICE)
    assert refused_session(house, made) == "session-inactive"


def test_other_roles_count_at_once_when_lost_and_with_a_new_id_when_gained(house: LoginHouse) -> None:
    house.member("alice", Role.VIEWER, Role.OPERATOR)
    made = house.log_in()
    with house.begin() as tx:
        standing.set_roles(tx, ALICE, frozenset({Role.VIEWER, Role.ADMINISTRATOR}))
    session = house.session(made)
    assert (session.principal.roles, session.due) == ({Role.VIEWER}, True)
    with house.begin(MINE) as tx:
        changed = sessions.rotate(tx, house.desk, session)
    assert refused_session(house, made) == "session-unknown"
    session = house.session(changed)
    assert (session.principal.roles, session.due) == ({Role.VIEWER, Role.ADMINISTRATOR}, False)
    assert (changed.id, changed.csrf == made.csrf) == (made.id, False)


def test_stepping_up_in_a_session_gives_it_a_new_id(house: LoginHouse) -> None:
    phone, _ = house.app(house.member())
    done = house.second(house.password("alice").ticket, house.totp(phone)).session
    assert done is not None
    house.clock.advance(400)
    session = house.session(done)
    assert not factors.is_fresh(session.principal, house.clock.now())
    with house.begin(MINE) as tx:
        ways = stepup.ways(tx, house.desk, session.principal, session.credential)
        assert ways.methods == (Method.TOTP, Method.RECOVERY)
        made = stepup.elevate_session(tx, house.desk, session, house.totp(phone), HOME).settled()
    assert refused_session(house, done) == "session-unknown"
    assert factors.is_fresh(house.session(made).principal, house.clock.now())
    assert EventKind.STEP_UP_SUCCEEDED in {e.kind for e in house.events()}


def test_an_elevation_lets_a_key_step_up_for_five_minutes(house: LoginHouse) -> None:
    phone, _ = house.app(house.member())
    who = house.principal(ALICE, Strength.KEY)
    made = house.elevate(who, "key:ab12cd34", house.totp(phone))
    assert made.text.startswith("fsu_")
    assert made.text not in repr(made)
    for age, good in ((0, True), (299, True), (300, False)):
        now = later(house.clock.now(), age)
        with house.records.read(MINE) as reading:
            if good:
                raised = stepup.elevated(reading, house.desk, who, "key:ab12cd34", made.text, now)
                assert raised.stepped_up_at == house.clock.now()
                assert factors.is_fresh(raised, now)
            else:
                with pytest.raises(Unauthenticated) as caught:
                    stepup.elevated(reading, house.desk, who, "key:ab12cd34", made.text, now)
                assert caught.value.audit_code == "elevation-expired"


def test_a_passkey_steps_up_too(house: LoginHouse) -> None:
    house.member()
    key = passkey(house)
    who = house.principal(ALICE, Strength.KEY)
    with house.begin(MINE) as tx:
        ways = stepup.ways(tx, house.desk, who, "key:k")
    assert ways.passkey is not None
    assert house.elevate(who, "key:k", Answer(Method.PASSKEY, response=key.get(ways.passkey))).text


def test_who_has_no_factor_cannot_step_up_and_is_told_how_to_enrol_one(house: LoginHouse) -> None:
    house.member()
    session = house.session(house.log_in())
    for act in (
        lambda tx: stepup.ways(tx, house.desk, session.principal, session.credential),
        lambda tx: stepup.elevate_session(tx, house.desk, session, Answer(Method.TOTP, "123456"), HOME),
        lambda tx: stepup.elevate(tx, house.desk, session.principal, "key:k", Answer(Method.RECOVERY, ""), HOME),
    ):
        with pytest.raises(Conflict) as caught, house.begin(MINE) as tx:
            act(tx)
        assert caught.value.code == "second-factor-missing"
        assert "fastness access factor add" in caught.value.hint


def test_the_first_factor_needs_a_password_just_given(house: LoginHouse) -> None:
    house.member()
    key, stale = house.principal(ALICE, Strength.KEY), house.principal(ALICE)
    signed = house.principal(ALICE, Strength.SIGNED)
    house.clock.advance(300)
    for who in (key, stale, signed):
        for begin in (
            lambda tx, who: factors.start_totp(tx, house.desk, who, "phone"),
            lambda tx, who: factors.passkey_options(tx, house.desk, who, "key:k"),
            lambda tx, who: factors.add_passkey(tx, house.desk, who, "key:k", "key", {}),
        ):
            with pytest.raises(Forbidden, match="login-not-fresh"), house.begin(MINE) as tx:
                begin(tx, who)
    house.app(ALICE)


def test_a_further_factor_and_removing_one_need_a_step_up(house: LoginHouse) -> None:
    house.app(house.member())
    fresh_login = house.principal(ALICE)
    stepped_up = house.principal(ALICE, stepped_up_at=house.clock.now())
    with house.records.read(MINE) as reading:
        (first,) = factors.factors(reading, ALICE)
    for act in (
        lambda tx, who: factors.start_totp(tx, house.desk, who, "tablet"),
        lambda tx, who: factors.remove(tx, who, first.id),
        lambda tx, who: factors.new_recovery(tx, house.desk, who),
    ):
        with pytest.raises(Forbidden, match="step-up-required"), house.begin(MINE) as tx:
            act(tx, fresh_login)
    with house.begin(MINE) as tx:
        again = factors.new_recovery(tx, house.desk, stepped_up)
    assert len(again) == 10
    with house.begin(MINE) as tx:
        factors.remove(tx, stepped_up, first.id)
    with house.records.read(MINE) as reading:
        assert (factors.methods(reading, ALICE), factors.recovery_left(reading, ALICE)) == ((), 0)
    with pytest.raises(Conflict, match="second-factor-missing"), house.begin(MINE) as tx:
        factors.new_recovery(tx, house.desk, stepped_up)


def test_recovery_codes_are_all_exchanged_at_once(house: LoginHouse) -> None:
    _, old = house.app(house.member())
    with house.begin(MINE) as tx:
        new = factors.new_recovery(tx, house.desk, house.principal(ALICE, stepped_up_at=house.clock.now()))
    ticket = house.password("alice").ticket
    with pytest.raises(Unauthenticated, match="factor-refused"):
        house.second(ticket, Answer(Method.RECOVERY, old[0]))
    assert house.second(ticket, Answer(Method.RECOVERY, new[0])).session


def test_an_app_is_confirmed_by_its_first_code_in_time_and_that_is_used_up(house: LoginHouse) -> None:
    house.member()
    who = house.principal(ALICE)
    with house.begin(MINE) as tx:
        app = factors.start_totp(tx, house.desk, who, "phone")
    assert app.uri.startswith("otpauth://totp/Fastness:alice%40default?secret=")
    assert app.secret not in repr(app)
    phone = phone_of(app)
    with house.records.read(MINE) as reading:
        assert factors.factors(reading, ALICE) == []
    with house.begin(MINE) as tx:
        outcome = factors.confirm_totp(tx, house.desk, who, app.factor, wrong(house.code(phone)))
    with pytest.raises(Invalid, match="code-wrong"):
        outcome.settled()
    first = house.code(phone)
    with house.begin(MINE) as tx:
        assert len(factors.confirm_totp(tx, house.desk, who, app.factor, first).settled().recovery) == 10
    with pytest.raises(Unauthenticated, match="factor-refused"):
        house.second(house.password("alice").ticket, Answer(Method.TOTP, first))
    assert house.last().reason == "totp-replayed"
    with house.begin(MINE) as tx:
        late = factors.start_totp(tx, house.desk, house.principal(ALICE, stepped_up_at=house.clock.now()), "tablet")
    house.clock.advance(900)
    with pytest.raises(NotFound, match="factor-unknown"), house.begin(MINE) as tx:
        factors.confirm_totp(tx, house.desk, who, late.factor, house.code(phone_of(late)))


def test_codes_one_step_early_and_late_are_taken_and_two_steps_are_not(house: LoginHouse) -> None:
    phone, _ = house.app(house.member())
    ticket = house.password("alice").ticket
    house.clock.advance(60)
    now = house.clock.now() // 1_000_000_000
    for off in (-2, 2):
        with pytest.raises(Unauthenticated):
            house.second(ticket, Answer(Method.TOTP, phone.at(now, off)))
    assert house.second(ticket, Answer(Method.TOTP, phone.at(now, -1))).session
    assert house.second(house.password("alice").ticket, Answer(Method.TOTP, phone.at(now, 1))).session


def test_the_first_administrator_gets_app_and_codes_in_one_transaction(house: LoginHouse) -> None:
    root = PrincipalId("user:root")
    app = codes.new_app(house.desk, (TENANT, root), house.clock.now(), os.urandom)
    phone = phone_of(app)
    with pytest.raises(Invalid, match="code-wrong"):
        app.counter(wrong(house.code(phone)), house.clock.now())
    counter = app.counter(house.code(phone), house.clock.now())
    hashed = house.passwords.new(PASSWORD, TENANT, root)
    with house.begin() as tx:
        code = create_principal(tx, PrincipalKind.USER, "root", frozenset({Role.ADMINISTRATOR})).code
        who, _ = enrol(tx, code, SoftwareSigner.create(os.urandom).public_pem, house.pepper)
        accounts.set_first_password(tx, who, hashed)
        enrolled = factors.enrol_app(tx, house.desk, root, app, counter)
    assert len(enrolled.recovery) == 10
    assert enrolled.recovery[0] not in repr(enrolled)
    house.clock.advance(30)
    assert house.second(house.password("root").ticket, house.totp(phone)).session
    other = codes.new_app(house.desk, (TENANT, root), house.clock.now(), os.urandom)
    with pytest.raises(Forbidden, match="login-not-fresh"), house.begin() as tx:
        factors.enrol_app(tx, house.desk, root, other, 1)


def test_who_redeems_a_one_time_code_can_begin_an_app_in_that_transaction_alone(house: LoginHouse) -> None:
    with house.begin() as tx:
        code = create_principal(tx, PrincipalKind.USER, "alice", frozenset()).code
    house.clock.advance(5)
    with house.begin() as tx:
        who, _ = enrol(tx, code, SoftwareSigner.create(os.urandom).public_pem, house.pepper)
        app = factors.start_totp(tx, house.desk, who, "phone")
    house.clock.advance(5)
    with house.begin(MINE) as tx:
        factors.confirm_totp(tx, house.desk, who, app.factor, house.code(phone_of(app))).settled()
    assert house.elevate(who, "key:k", Answer(Method.TOTP, phone_of(app).at(house.clock.now() // 10**9, 1))).text


def test_a_password_is_changed_by_the_old_one_and_everything_else_ends(house: LoginHouse) -> None:
    house.member()
    here, there = house.log_in(), house.log_in(client=AWAY)
    session = house.session(here)
    hashed = house.passwords.new(OTHER_PASSWORD, TENANT, ALICE)
    for text, good in (("wrong-wrong-7#x", False), (PASSWORD, True)):
        with house.records.read(session.scope) as reading:
            account = accounts.own_account(reading, session)
        proof = house.passwords.check(account, text)
        with house.begin(session.scope) as tx:
            outcome = accounts.change_password(tx, house.desk, session, proof, hashed, HOME)
        if good:
            house.session(outcome.settled())
        else:
            with pytest.raises(Unauthenticated, match="login-refused"):
                outcome.settled()
    assert refused_session(house, here) == "session-unknown"
    assert refused_session(house, there, AWAY) == "session-ended"
    with pytest.raises(Unauthenticated, match="login-refused"):
        house.password("alice")
    known = dataclasses.replace(HOME, device=there.device)
    with house.records.read(ADMIN) as reading:
        account = accounts.look_up(reading, house.desk, TENANT, "alice", known, house.clock.now())
    assert account.device == ""
    assert house.log_in(text=OTHER_PASSWORD)


def test_a_reset_takes_everything_and_gives_a_code_to_begin_anew(house: LoginHouse) -> None:
    phone, recovery = house.app(house.member())
    key = house.principal(ALICE, Strength.KEY)
    elevation = house.elevate(key, "key:k", house.totp(phone))
    house.clock.advance(30)
    made = house.second(house.password("alice").ticket, house.totp(phone)).session
    waiting = house.password("alice").ticket
    officer = house.principal(PrincipalId("user:oscar"), Strength.MFA, stepped_up_at=house.clock.now())
    with pytest.raises(Forbidden, match="step-up-required"), house.begin() as tx:
        accounts.reset(tx, house.desk, msgspec.structs.replace(officer, stepped_up_at=None), ALICE)
    with pytest.raises(Forbidden, match="reset-own"), house.begin() as tx:
        accounts.reset(tx, house.desk, msgspec.structs.replace(officer, id=ALICE), ALICE)
    with house.begin() as tx:
        invitation = accounts.reset(tx, house.desk, officer, ALICE)
    event = house.last()
    assert (event.kind, event.principal, event.resource, event.details) == (
        EventKind.FACTOR_REMOVED, "user:oscar", "principal:user:alice",
        {"totp": 1, "passkey": 0, "recovery": 10, "sessions": 1},
    )  # fmt: skip
    assert made is not None
    assert refused_session(house, made) == "session-ended"
    with house.records.read(MINE) as reading, pytest.raises(Unauthenticated, match="elevation-refused"):
        stepup.elevated(reading, house.desk, key, "key:k", elevation.text, house.clock.now())
    with pytest.raises(Unauthenticated, match="ticket-refused"):
        house.second(waiting, Answer(Method.RECOVERY, recovery[0]))
    with pytest.raises(Unauthenticated, match="login-refused"):
        house.password("alice")
    redeemed = redeem(house, invitation.code)
    assert house.session(redeemed).principal.strength is Strength.PASSWORD
    with pytest.raises(Unauthenticated) as caught:
        redeem(house, invitation.code)
    assert (caught.value.code, caught.value.audit_code) == ("code-refused", "code-unknown")
    house.app(ALICE)
    assert house.password("alice", OTHER_PASSWORD).stage is flow.Stage.SECOND


def redeem(house: LoginHouse, code: str) -> sessions.NewSession:
    with house.records.read(ADMIN) as reading:
        scope = accounts.invited(reading, house.desk, code)
    hashed = house.passwords.new(OTHER_PASSWORD, scope.tenant, scope.principal)
    with house.begin(scope) as tx:
        return accounts.redeem(tx, house.desk, code, hashed, HOME)


def test_an_invitation_is_for_who_has_neither_password_nor_factor_and_for_a_day(house: LoginHouse) -> None:
    house.member("alice", password=None)
    house.member("bob")
    with pytest.raises(Conflict, match="credential-exists"), house.begin() as tx:
        accounts.invite(tx, house.desk, PrincipalId("user:bob"))
    with house.begin() as tx:
        first = accounts.invite(tx, house.desk, ALICE)
    with house.begin() as tx:
        second = accounts.invite(tx, house.desk, ALICE)
    for code in (first.code, "fsi_" + "x" * 43, "", second.code[:-1]):
        with pytest.raises(Unauthenticated, match="code-refused"):
            redeem(house, code)
    house.clock.advance(86_400)
    with pytest.raises(Unauthenticated, match="code-refused"):
        redeem(house, second.code)
    with house.begin() as tx:
        third = accounts.invite(tx, house.desk, ALICE)
    assert redeem(house, third.code).cookie.startswith("fss_")


def test_a_first_password_comes_with_the_code_or_a_step_up(house: LoginHouse) -> None:
    house.member("alice", password=None)
    house.clock.advance(1)
    hashed = house.passwords.new(PASSWORD, TENANT, ALICE)
    key = house.principal(ALICE, Strength.KEY)
    with pytest.raises(Forbidden, match="step-up-required"), house.begin(MINE) as tx:
        accounts.set_first_password(tx, key, hashed)
    with house.begin(MINE) as tx:
        accounts.set_first_password(tx, msgspec.structs.replace(key, stepped_up_at=house.clock.now()), hashed)
    with pytest.raises(Conflict, match="password-exists"), house.begin(MINE) as tx:
        accounts.set_first_password(tx, msgspec.structs.replace(key, stepped_up_at=house.clock.now()), hashed)


def test_programs_have_no_factors(house: LoginHouse) -> None:
    with house.begin() as tx:
        create_principal(tx, PrincipalKind.SERVICE, "ci", frozenset())
    service = msgspec.structs.replace(house.principal(PrincipalId("service:ci")), kind=PrincipalKind.SERVICE)
    delegate = msgspec.structs.replace(house.principal(ALICE), actor=PrincipalId("agent:x"))
    for who in (service, delegate):
        for act in (
            lambda tx, who: factors.start_totp(tx, house.desk, who, "phone"),
            lambda tx, who: stepup.ways(tx, house.desk, who, "key:k"),
            lambda tx, who: accounts.set_first_password(tx, who, "x"),
        ):
            with pytest.raises(Forbidden, match="factor-person"), house.begin() as tx:
                act(tx, who)
    with pytest.raises(Forbidden, match="factor-person"), house.begin() as tx:
        accounts.invite(tx, house.desk, PrincipalId("service:ci"))


def test_stronger_parameters_are_in_the_records_after_the_next_login(house: LoginHouse) -> None:
    house.member()
    house.passwords._cost = house.passwords._cost._replace(memory_kib=16)
    house.passwords._hasher = type(house.passwords._hasher)(1, 16, 1)
    house.log_in()
    with house.records.read(MINE) as reading:
        row = rows.find_password(reading, ALICE)
    assert row is not None
    assert row.hash is not None
    assert "m=16," in row.hash
    assert house.log_in()


def test_a_tenant_of_its_own_has_people_of_its_own(house: LoginHouse) -> None:
    other = TenantId("acme")
    house.member("alice")
    house.member("alice", password=OTHER_PASSWORD, tenant=other)
    session = house.password("alice", OTHER_PASSWORD, tenant="acme").session
    assert session is not None
    assert house.session(session).scope == Scope(other, ALICE)


def test_a_counter_is_only_ever_raised_by_the_statement_itself(house: LoginHouse) -> None:
    """Where two transactions read the same last counter, as other databases allow, one of them still gets nothing."""
    house.app(house.member())
    with house.begin(MINE) as tx:
        (row,) = rows.find_totp(tx, ALICE)
        assert [rows.use_counter(tx, row.id, row.last_counter + add) for add in (0, -1, 5, 5, 4, 6)] == [
            0,
            0,
            1,
            0,
            0,
            1,
        ]
        tx.emit(tx.events.make(EventKind.STEP_UP_FAILED))
