"""Logging in as somebody else: guessing, replaying, fixing sessions, reusing challenges, and locking others out.

Success rate: 0. Known limits stand in the modules: a guesser with as many networks as guesses gets one guess a minute for
each account (`access.login.lockout`); accounts not renewed yet are checked at the old cost while that is being raised
(`access.login.passwords`).
"""

from __future__ import annotations

import ast
import dataclasses
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import func, select

from fastness.access import standing
from fastness.access.login import Answer, Client, Method, accounts, factors, flow, sessions, stepup
from fastness.access.login import records as rows
from fastness.access.login import tables as login_tables
from fastness.access.login.desk import Outcome, opaque
from fastness.access.login.tables import BUCKET, CHALLENGE, SESSION, TICKET
from fastness.core.clock import later
from fastness.core.errors import (
    Conflict,
    FastnessError,
    Forbidden,
    Invalid,
    Limited,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from fastness.core.events import EventKind, encode_event
from fastness.core.identity import SYSTEM_SCOPE, PrincipalId, Role, Scope, Strength, TenantId
from tests.unit.access.authenticator import Authenticator, b64
from tests.unit.access.desk import AWAY, HOME, OTHER_PASSWORD, PASSWORD, LoginHouse, wrong
from tests.unit.access.house import ADMIN, TENANT
from tests.unit.access.test_login import passkey

ALICE, BOB = PrincipalId("user:alice"), PrincipalId("user:bob")
NOBODY = Scope(TENANT, PrincipalId(""))
ACME = TenantId("acme")
WRONG = "wrong-wrong-7#xq"


@pytest.fixture
def house() -> Iterator[LoginHouse]:
    made = LoginHouse()
    yield made
    made.records.close()


def refused(act: Callable[[], object], code: str) -> str:
    """What the event says of a refusal with this code."""
    with pytest.raises(FastnessError) as caught:
        act()
    assert caught.value.code == code
    return getattr(caught.value, "audit_code", "")


def count(house: LoginHouse, table: object) -> int:
    with house.records.read(ADMIN) as reading:
        return int(reading.execute(select(func.count()).select_from(table))[0][0])


# --- enumeration -------------------------------------------------------------------------------------------------------


def attempts(house: LoginHouse) -> dict[str, Callable[[], object]]:
    return {
        "a wrong password": lambda: house.password("alice", WRONG),
        "nobody of that name": lambda: house.password("mallory", WRONG),
        "nobody, with a right password": lambda: house.password("mallory", PASSWORD),
        "no name at all": lambda: house.password("", PASSWORD),
        "a name that is none": lambda: house.password("Robert'); drop table principal;--", PASSWORD),
        "a password in the place of the name": lambda: house.password(PASSWORD, "alice"),
        "who has no password": lambda: house.password("carol", PASSWORD),
        "who has left": lambda: house.password("dave", PASSWORD),
        "a tenant that is none": lambda: house.password("alice", PASSWORD, tenant="nowhere"),
        "another tenant": lambda: house.password("alice", PASSWORD, tenant=ACME),
    }


def enrolled(house: LoginHouse) -> None:
    for name, password in (("alice", PASSWORD), ("carol", None), ("dave", PASSWORD)):
        house.member(name, password=password)
    house.member("erin", tenant=ACME)
    with house.begin() as tx:
        standing.deactivate(tx, PrincipalId("user:dave"))


def test_nobody_learns_from_answer_or_work_who_has_an_account(house: LoginHouse) -> None:
    enrolled(house)
    told, work, audit = set(), set(), set()
    for act in attempts(house).values():
        before, seen = house.passwords.hashed, len(house.events())
        with pytest.raises(Unauthenticated) as caught:
            act()
        error = caught.value
        told.add((error.code, error.message, error.hint, error.status))
        work.add(house.passwords.hashed - before)
        audit.add(error.audit_code)
        (event,) = house.events()[seen:]
        assert event.kind is EventKind.AUTHENTICATION_FAILED
        assert event.reason == error.audit_code
        assert PASSWORD.encode() not in encode_event(event)
        assert WRONG.encode() not in encode_event(event)
    assert (len(told), work) == (1, {1})
    assert audit == {"password-wrong", "principal-unknown", "principal-inactive"}


def test_accounts_that_exist_and_those_that_do_not_wait_alike(house: LoginHouse) -> None:
    house.member()
    seen = {}
    for name in ("alice", "mallory"):
        client = dataclasses.replace(HOME, address=f"192.0.{len(name)}.1")
        story = []
        for _ in range(12):
            before = house.passwords.hashed
            with pytest.raises(Unauthenticated) as caught:
                house.password(name, WRONG, client)
            story.append(
                (str(caught.value), caught.value.audit_code == "login-slowed", house.passwords.hashed - before)
            )
        seen[name] = story
    assert seen["alice"] == seen["mallory"]
    assert {work for _, _, work in seen["alice"]} == {1}
    assert len({text for text, _, _ in seen["alice"]}) == 1


def test_rows_of_tenants_that_somebody_made_up_are_not_kept(house: LoginHouse) -> None:
    house.member()
    for number in range(20):
        refused(lambda n=number: house.password("alice", PASSWORD, tenant=f"tenant-{n}"), "login-refused")
    with house.records.read(ADMIN) as reading:
        assert {row.tenant for row in reading.execute(select(BUCKET))} == {TENANT}


# --- guessing, and keeping others out ----------------------------------------------------------------------------------


def from_network(number: int) -> Client:
    return Client(f"10.{number >> 8 & 255}.{number & 255}.9", "curl")


def test_a_guesser_waits_twice_as_long_each_time_and_the_right_password_does_not_help(house: LoginHouse) -> None:
    house.member()
    for _ in range(house.settings.free_attempts):
        refused(lambda: house.password("alice", WRONG, AWAY), "login-refused")
    assert house.last().kind is EventKind.LOCKOUT_STARTED
    for wait in (2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900):
        house.clock.advance(wait - 0.001)
        assert refused(lambda: house.password("alice", PASSWORD, AWAY), "login-refused") == "login-slowed"
        house.clock.advance(0.001)
        assert refused(lambda: house.password("alice", WRONG, AWAY), "login-refused") == "password-wrong"
    house.clock.advance(900)
    assert house.password("alice", PASSWORD, AWAY).session


def test_guesses_sent_all_at_once_are_counted_one_by_one(house: LoginHouse) -> None:
    house.member()

    def guess(number: int) -> str:
        try:
            house.password("alice", PASSWORD if number == 15 else WRONG, AWAY)
        except Limited as error:
            return error.code
        except Unauthenticated as error:
            return error.audit_code
        return "in"

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(guess, range(16)))
    assert said.count("password-wrong") <= house.settings.free_attempts


def test_nobody_locks_another_out_not_even_from_many_networks(house: LoginHouse) -> None:
    house.member()
    known = dataclasses.replace(HOME, device=house.log_in().device)
    house.clock.advance(1)
    for number in range(60):
        for _ in range(3):
            refused(lambda n=number: house.password("alice", WRONG, from_network(n)), "login-refused")
    assert house.password("alice", PASSWORD, known).session
    assert known.device
    refused(lambda: house.password("alice", PASSWORD, AWAY), "login-refused")
    house.clock.advance(house.settings.account_delay_max_s)
    assert house.password("alice", PASSWORD, AWAY).session


def test_failures_in_the_owners_own_network_do_not_touch_a_known_device(house: LoginHouse) -> None:
    house.member()
    known = dataclasses.replace(HOME, device=house.log_in().device)
    for number in range(120):
        with pytest.raises((Unauthenticated, Limited)):
            house.password("alice" if number % 2 else f"guess-{number}", WRONG, HOME)
    refused(lambda: house.password("alice", PASSWORD, HOME), "login-limited")
    assert house.password("alice", PASSWORD, known).session


def test_a_known_device_is_no_free_ticket_either(house: LoginHouse) -> None:
    house.member()
    known = dataclasses.replace(HOME, device=house.log_in().device)
    for _ in range(house.settings.free_attempts):
        refused(lambda: house.password("alice", WRONG, known), "login-refused")
    assert refused(lambda: house.password("alice", PASSWORD, known), "login-refused") == "login-slowed"


def test_a_device_is_known_to_its_own_account_alone_and_cannot_be_made_up(house: LoginHouse) -> None:
    house.member("alice")
    house.member("bob")
    house.member("alice", tenant=ACME, password=OTHER_PASSWORD)
    cookie = house.log_in("alice").device
    head, _, mac = cookie.rpartition(".")
    device, _, issued = head.partition(".")

    def known(text: str, name: str = "alice", tenant: str = TENANT) -> bool:
        client = dataclasses.replace(HOME, device=text)
        with house.records.read(SYSTEM_SCOPE) as reading:
            found = accounts.look_up(reading, house.desk, tenant, name, client, house.clock.now())
        return bool(found.device)

    assert known(cookie)
    assert not known(cookie, "bob")
    assert not known(cookie, "alice", ACME)
    assert not known(cookie, "mallory")
    forged = [
        "", ".", "..", head, f"{device}.{int(issued) + 9}.{mac}", f"{device}x.{issued}.{mac}", cookie[:-1], cookie + "A",
        f"{head}.", f"{device}.x.{mac}", "\ud800" * 9, "x" * 10_000, f"{head}.\u00e9{mac}",
    ]  # fmt: skip
    assert not any(map(known, forged))
    house.clock.advance(180 * 86_400)
    assert not known(cookie)


def test_one_network_that_tries_many_names_is_told_to_wait_before_any_hash_is_made(house: LoginHouse) -> None:
    house.member("alice")
    for number in range(house.settings.free_network):
        refused(lambda n=number: house.password(f"guess-{n}", WRONG, AWAY), "login-refused")
    hashed, events = house.passwords.hashed, len(house.events())
    with pytest.raises(Limited) as caught:
        house.password("mallory", WRONG, AWAY)
    assert (caught.value.code, caught.value.retry_after_s) == ("login-limited", 2.0)
    assert (house.passwords.hashed, len(house.events())) == (hashed, events)
    assert house.password("alice", PASSWORD, HOME).session


def test_an_account_of_ones_own_does_not_wash_a_network_clean(house: LoginHouse) -> None:
    house.member("alice")
    house.member("mallory")
    for number in range(house.settings.free_network):
        refused(lambda n=number: house.password(f"guess-{n}", WRONG, AWAY), "login-refused")
        if number % 10 == 0:
            assert house.password("mallory", PASSWORD, AWAY).session
    refused(lambda: house.password("alice", WRONG, AWAY), "login-limited")


def test_neighbours_of_one_network_are_one(house: LoginHouse) -> None:
    same = [
        ("198.51.100.1", "198.51.100.254"), ("2001:db8:1:2::1", "2001:db8:1:ffff::9"),
        ("::ffff:198.51.100.1", "198.51.100.77"), ("fe80::1%eth0", "fe80::2"), ("", "@"), ("/run/x", "not an address"),
    ]  # fmt: skip
    other = [("198.51.100.1", "198.51.101.1"), ("2001:db8:1::1", "2001:db8:2::1"), ("", "127.0.0.1")]
    network = house.desk.network
    assert all(network(Client(a)) == network(Client(b)) for a, b in same)
    assert all(network(Client(a)) != network(Client(b)) for a, b in other)


def test_failures_are_forgotten_and_their_rows_are_bounded(house: LoginHouse) -> None:
    house.resettled(buckets_max=100)
    house.member()
    for number in range(120):
        refused(lambda n=number: house.password(f"guess-{n}", WRONG, from_network(n)), "login-refused")
        assert count(house, BUCKET) <= 100
    house.clock.advance(7200)
    refused(lambda: house.password("alice", WRONG, AWAY), "login-refused")
    for _ in range(house.settings.free_attempts - 2):
        refused(lambda: house.password("alice", WRONG, AWAY), "login-refused")
    assert house.password("alice", PASSWORD, AWAY).session


def test_filling_the_rows_does_not_free_who_waits_longest(house: LoginHouse) -> None:
    house.resettled(buckets_max=100)
    house.member()
    for _ in range(house.settings.free_attempts + 3):
        refused(lambda: house.password("alice", WRONG, AWAY), "login-refused")
        house.clock.advance(20)
    refused(lambda: house.password("alice", WRONG, AWAY), "login-refused")
    for number in range(20):  # each a pair, a network and an account of its own
        refused(lambda n=number: house.password(f"guess-{n}", WRONG, from_network(n)), "login-refused")
    assert refused(lambda: house.password("alice", PASSWORD, AWAY), "login-refused") == "login-slowed"


def test_records_of_failures_name_nobody(house: LoginHouse) -> None:
    house.member()
    refused(lambda: house.password("alice", WRONG, AWAY), "login-refused")
    with house.records.read(ADMIN) as reading:
        found = [tuple(row) for row in reading.execute(select(BUCKET))]
    assert found
    assert not any(b"alice" in cell or b"198.51" in cell for row in found for cell in row if isinstance(cell, bytes))


# --- second factors ----------------------------------------------------------------------------------------------------


def test_no_code_works_twice_not_for_another_purpose_and_not_for_an_earlier_time(house: LoginHouse) -> None:
    phone, _ = house.app(house.member())
    key = house.principal(ALICE, Strength.KEY)
    answer = house.totp(phone)
    earlier = Answer(Method.TOTP, phone.at(house.clock.now() // 10**9, -1))
    assert house.second(house.password("alice").ticket, answer).session
    assert refused(lambda: house.second(house.password("alice").ticket, answer), "factor-refused") == "totp-replayed"
    assert refused(lambda: house.elevate(key, "key:k", answer), "factor-refused") == "totp-replayed"
    assert refused(lambda: house.elevate(key, "key:k", earlier), "factor-refused") == "totp-replayed"


def test_two_who_send_one_code_at_once_are_one(house: LoginHouse) -> None:
    phone, _ = house.app(house.member())
    for _ in range(8):
        tickets = [house.password("alice").ticket for _ in range(4)]
        answer = house.totp(phone)

        def use(ticket: str, answer: Answer = answer) -> bool:
            try:
                return house.second(ticket, answer).session is not None
            except Unauthenticated:
                return False

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(use, tickets)) == 1
        house.clock.advance(3600 * 3)


def test_two_who_send_one_recovery_code_at_once_are_one(house: LoginHouse) -> None:
    _, recovery = house.app(house.member())
    for code in recovery[:5]:
        tickets = [house.password("alice").ticket for _ in range(3)]

        def use(ticket: str, code: str = code) -> bool:
            try:
                return house.second(ticket, Answer(Method.RECOVERY, code)).session is not None
            except Unauthenticated:
                return False

        with ThreadPoolExecutor(3) as pool:
            assert sum(pool.map(use, tickets)) == 1
        house.clock.advance(3600 * 3)


def test_codes_are_guessed_five_times_a_ticket_and_then_ever_more_slowly(house: LoginHouse) -> None:
    phone, _ = house.app(house.member())
    ticket = house.password("alice", client=AWAY).ticket
    for _ in range(flow.FAILURES_MAX):
        refused(lambda: house.second(ticket, Answer(Method.TOTP, wrong(house.code(phone))), AWAY), "factor-refused")
    assert refused(lambda: house.second(ticket, house.totp(phone), AWAY), "ticket-refused") == "ticket-unknown"
    fresh = house.password("alice", client=AWAY).ticket
    assert refused(lambda: house.second(fresh, house.totp(phone), AWAY), "factor-refused") == "factor-slowed"
    known = house.password("alice", client=HOME).ticket
    assert house.second(known, house.totp(phone), HOME).session  # who comes from elsewhere does not wait


def test_an_hour_of_guessing_codes_from_everywhere_gets_few_tries(house: LoginHouse) -> None:
    phone, _ = house.app(house.member())
    tried = 0
    for number in range(3600):
        client = from_network(number)
        try:
            ticket = house.password("alice", client=client).ticket
            house.second(ticket, Answer(Method.TOTP, wrong(house.code(phone))), client)
        except Unauthenticated as error:
            tried += error.audit_code == "totp-wrong"
        house.clock.advance(1)
        if number > 400:
            break
    assert tried <= house.settings.free_account + 12


@pytest.mark.parametrize(
    "code",
    ["", "0", "00000", "0000000", "12345a", "\u0661\u0662\u0663\u0664\u0665\u0666", "-12345", "1e5", " " * 6, "0" * 100_000,
     "\ud800", "%s", "' or 1=1 --", "000000\0"],
)  # fmt: skip
@pytest.mark.parametrize("method", [Method.TOTP, Method.RECOVERY])
def test_what_is_no_code_is_a_wrong_one(house: LoginHouse, method: Method, code: str) -> None:
    house.app(house.member())
    ticket = house.password("alice").ticket
    assert refused(lambda: house.second(ticket, Answer(method, code)), "factor-refused").endswith("-wrong")


def test_a_recovery_code_or_an_app_of_another_is_a_wrong_one(house: LoginHouse) -> None:
    house.app(house.member("alice"))
    phone, recovery = house.app(house.member("bob"))
    ticket = house.password("alice").ticket
    for answer in (Answer(Method.RECOVERY, recovery[0]), house.totp(phone)):
        assert refused(lambda a=answer: house.second(ticket, a), "factor-refused").endswith("-wrong")
    assert house.second(house.password("bob").ticket, Answer(Method.RECOVERY, recovery[0])).session


def test_a_seed_copied_to_another_row_or_tenant_opens_nothing(house: LoginHouse) -> None:
    house.app(house.member("alice"))
    with house.records.read(ADMIN) as reading:
        (row,) = rows.find_totp(reading, ALICE)
    for tenant, factor in ((ACME, row.id), (TENANT, "another")):
        with pytest.raises(FastnessError):
            house.desk.unwrap(row.seed, tenant, factor)
    with house.records.read(ADMIN) as reading:
        seed = house.desk.unwrap(row.seed, TENANT, row.id)
        stored = [
            bytes(cell) for r in reading.execute(select(login_tables.TOTP)) for cell in r if isinstance(cell, bytes)
        ]
    assert not any(bytes(seed.reveal()) in cell for cell in stored)


def test_a_thief_of_an_api_key_can_neither_step_up_nor_make_a_factor(house: LoginHouse) -> None:
    house.app(house.member())
    thief = house.principal(ALICE, Strength.KEY)
    for act in (
        lambda tx: factors.start_totp(tx, house.desk, thief, "mine"),
        lambda tx: factors.passkey_options(tx, house.desk, thief, "key:k"),
        lambda tx: factors.new_recovery(tx, house.desk, thief),
        lambda tx: factors.remove(tx, thief, "x"),
        lambda tx: accounts.reset(tx, house.desk, thief, BOB),
    ):
        with pytest.raises(Forbidden), house.begin(Scope(TENANT, ALICE)) as tx:
            act(tx)


def test_a_thief_who_guesses_codes_by_a_key_does_not_make_the_owners_session_wait(house: LoginHouse) -> None:
    phone, _ = house.app(house.member())
    made = house.second(house.password("alice").ticket, house.totp(phone)).session
    assert made is not None
    house.clock.advance(600)
    thief = house.principal(ALICE, Strength.KEY)
    for _ in range(60):
        refused(lambda: house.elevate(thief, "key:k", Answer(Method.TOTP, wrong(house.code(phone)))), "factor-refused")
        house.clock.advance(0.01)
    assert refused(lambda: house.elevate(thief, "key:k", house.totp(phone)), "factor-refused") == "factor-slowed"
    session = house.session(made)
    with house.begin(session.scope) as tx:
        assert stepup.elevate_session(tx, house.desk, session, house.totp(phone), HOME).settled()


# --- passkeys ----------------------------------------------------------------------------------------------------------


def login_options(house: LoginHouse, client: Client = HOME) -> dict[str, object]:
    with house.begin(NOBODY) as tx:
        return flow.passkey_options(tx, house.desk, client)


def log_in_by(
    house: LoginHouse, response: dict[str, object], client: Client = HOME, scope: Scope = NOBODY
) -> flow.Step:
    with house.begin(scope) as tx:
        outcome = flow.give_passkey(tx, house.desk, response, client)
    return outcome.settled()


LIES = {
    "another origin": {"origin": "https://localhost.evil.example"},
    "another port": {"origin": "https://localhost:8443"},
    "no TLS": {"origin": "http://localhost"},
    "another domain": {"rp_id": "evil.example"},
    "no user verified": {"flags": 0x01},
    "no user present": {"flags": 0x04},
    "within a foreign page": {"cross_origin": True},
    "a challenge of its own": {"challenge": os.urandom(32)},
    "the answer to another question": {"kind": "webauthn.payment"},
    "another's handle": {"handle": os.urandom(32)},
    "no handle": {"handle": b""},
    "another key": {"key": ec.generate_private_key(ec.SECP256R1())},
    "another credential": {"credential_id": os.urandom(32)},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_passkey_that_lies_is_refused_and_uses_its_challenge_up(house: LoginHouse, lie: dict[str, object]) -> None:
    house.member()
    key = passkey(house)
    options = login_options(house)
    refused(lambda: log_in_by(house, key.but(**lie).get(options)), "login-refused")
    assert house.last().kind is EventKind.AUTHENTICATION_FAILED
    if "challenge" not in lie:
        assert refused(lambda: log_in_by(house, key.get(options)), "login-refused") == "passkey-challenge"
    assert log_in_by(house, key.get(login_options(house))).session


@pytest.mark.parametrize(
    "lie", [LIES[n] for n in LIES if "handle" not in n and "key" not in n and "credential" not in n]
)
def test_a_lying_registration_is_refused(house: LoginHouse, lie: dict[str, object]) -> None:
    house.member()
    who = house.principal(ALICE)
    with house.begin(Scope(TENANT, ALICE)) as tx:
        options = factors.passkey_options(tx, house.desk, who, "session:s")
    _, response = Authenticator(**lie).create(options)
    with house.begin(Scope(TENANT, ALICE)) as tx:
        outcome = factors.add_passkey(tx, house.desk, who, "session:s", "key", response)
    assert refused(outcome.settled, "passkey-refused") == ""
    with house.records.read(ADMIN) as reading:
        assert factors.factors(reading, ALICE) == []


def test_a_challenge_is_good_once_for_one_purpose_one_holder_and_five_minutes(house: LoginHouse) -> None:
    house.member("alice")
    house.member("bob")
    key, bobs = passkey(house), passkey(house, BOB)
    who = house.principal(ALICE, Strength.KEY)

    def ways(credential: str) -> dict[str, object]:
        with house.begin(Scope(TENANT, ALICE)) as tx:
            options = stepup.ways(tx, house.desk, who, credential).passkey
        assert options is not None
        return options

    def step_up(response: dict[str, object], credential: str = "key:k") -> object:
        return house.elevate(who, credential, Answer(Method.PASSKEY, response=response))

    good = key.get(ways("key:k"))
    assert step_up(good)
    assert refused(lambda: step_up(good), "factor-refused") == "passkey-challenge"
    elsewhere = key.get(ways("key:other"))
    assert refused(lambda: step_up(elsewhere), "factor-refused") == "passkey-challenge"
    for_login = key.get(login_options(house))
    assert refused(lambda: step_up(for_login), "factor-refused") == "passkey-challenge"
    assert log_in_by(house, for_login).session
    for_step_up = key.get(ways("key:k"))
    assert refused(lambda: log_in_by(house, for_step_up), "login-refused") == "passkey-challenge"
    assert refused(lambda: step_up(bobs.get(ways("key:k"))), "factor-refused") == "passkey-unknown"
    with house.begin(Scope(TENANT, ALICE)) as tx:
        fresh = msgspec.structs.replace(who, stepped_up_at=house.clock.now())
        to_register = factors.passkey_options(tx, house.desk, fresh, "key:k")
    registered = key.get({"challenge": to_register["challenge"], "rpId": "localhost"})
    assert refused(lambda: step_up(registered), "factor-refused") == "passkey-challenge"
    other_network = key.get(login_options(house, AWAY))
    assert refused(lambda: log_in_by(house, other_network, HOME), "login-refused") == "passkey-challenge"
    late = key.get(ways("key:k"))
    house.clock.advance(300)
    assert refused(lambda: step_up(late), "factor-refused") == "passkey-challenge"


def test_two_who_send_one_assertion_at_once_are_one(house: LoginHouse) -> None:
    house.member()
    key = passkey(house)
    for _ in range(5):
        response = key.get(login_options(house))

        def use(_: int, response: dict[str, object] = response) -> bool:
            try:
                return log_in_by(house, response).session is not None
            except Unauthenticated:
                return False

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(use, range(4))) == 1


def test_a_copied_passkey_is_noticed_by_its_counter(house: LoginHouse) -> None:
    house.member()
    key = passkey(house, counter=1)
    assert log_in_by(house, key.but(counter=7).get(login_options(house))).session
    for stale in (7, 6, 1, 0):
        why = refused(lambda c=stale: log_in_by(house, key.but(counter=c).get(login_options(house))), "login-refused")
        event = house.last()
        assert (why, event.reason, event.resource) == ("passkey-counter", "passkey-counter", "principal:user:alice")
    assert log_in_by(house, key.but(counter=8).get(login_options(house))).session


def test_a_passkey_of_one_tenant_opens_no_other(house: LoginHouse) -> None:
    house.member("alice")
    house.member("alice", tenant=ACME)
    key = passkey(house)
    with house.begin(Scope(ACME, PrincipalId(""))) as tx:
        options = flow.passkey_options(tx, house.desk, HOME)
    response = key.get(options)
    why = refused(lambda: log_in_by(house, response, scope=Scope(ACME, PrincipalId(""))), "login-refused")
    assert why == "passkey-unknown"
    response = key.get(options)
    assert refused(lambda: log_in_by(house, response), "login-refused") == "passkey-challenge"
    with house.records.read(SYSTEM_SCOPE) as reading:
        refused(lambda: accounts.passkey_scope(reading, "nowhere"), "login-refused")


NONSENSE = (None, 1, "", "!", "\ud800", [], {}, b64(b"null"), b64(b"[" * 5000), b64(b"\xff" * 200), "A" * 70_000)


def bent(sound: dict[str, object]) -> Iterator[dict[str, object]]:
    """What a browser sends, with each part left out, or nonsense in its place."""
    parts = sound["response"]
    assert isinstance(parts, dict)
    for name in ("id", "rawId", "type", "response"):
        yield {key: value for key, value in sound.items() if key != name}
        yield from (sound | {name: value} for value in NONSENSE)
    for name in parts.keys() - {"userHandle"}:
        yield sound | {"response": {key: value for key, value in parts.items() if key != name}}
        yield from (sound | {"response": parts | {name: value}} for value in NONSENSE)
    yield {}
    yield {str(number): number for number in range(100)}


def test_what_is_no_assertion_is_refused_and_breaks_nothing(house: LoginHouse) -> None:
    house.member()
    key = passkey(house)
    for number in range(len(list(bent(key.get(login_options(house)))))):
        response = list(bent(key.get(login_options(house))))[number]
        assert refused(lambda r=response: log_in_by(house, r), "login-refused").startswith("passkey-")
    assert log_in_by(house, key.get(login_options(house))).session


def test_what_is_no_attestation_is_refused_and_breaks_nothing(house: LoginHouse) -> None:
    house.member()
    who, mine, number, count_of = house.principal(ALICE), Scope(TENANT, ALICE), 0, 1
    while number < count_of:
        with house.begin(mine) as tx:
            options = factors.passkey_options(tx, house.desk, who, "session:s")
        responses = list(bent(Authenticator().create(options)[1]))
        with house.begin(mine) as tx:
            outcome = factors.add_passkey(tx, house.desk, who, "session:s", "key", responses[number])
        refused(outcome.settled, "passkey-refused")
        number, count_of = number + 1, len(responses)
    with house.records.read(ADMIN) as reading:
        assert factors.factors(reading, ALICE) == []


def test_challenges_that_nobody_answers_are_bounded(house: LoginHouse) -> None:
    house.resettled(challenges_max=10)
    house.member()
    for _ in range(30):
        login_options(house)
    assert count(house, CHALLENGE) <= 5
    for number in range(5):
        login_options(house, from_network(number))
    with pytest.raises(Limited, match="login-busy"):
        login_options(house, AWAY)
    house.clock.advance(300)
    with house.begin(Scope(TENANT, ALICE)) as tx:
        factors.passkey_options(tx, house.desk, house.principal(ALICE), "session:s")
    assert login_options(house, AWAY)


# --- sessions ----------------------------------------------------------------------------------------------------------


def test_a_presented_id_is_never_taken_over(house: LoginHouse) -> None:
    house.member()
    planted = "fss_" + "A" * 43
    for cookie in (planted, "", "x", "fss_", planted + "A", "\ud800", "' or 1=1 --", "A" * 100_000):
        assert refused(lambda c=cookie: house.session(c), "session-refused") == "session-unknown"
    step = house.password("alice", client=dataclasses.replace(HOME, device=planted))
    assert step.session is not None
    assert step.session.cookie != planted
    assert refused(lambda: house.session(planted), "session-refused") == "session-unknown"
    assert "cookie" not in str(sessions.start.__annotations__)


def test_every_change_of_rights_makes_the_old_id_void(house: LoginHouse) -> None:
    phone, _ = house.app(house.member("alice", Role.VIEWER))
    before = house.second(house.password("alice").ticket, house.totp(phone)).session
    assert before is not None
    house.clock.advance(30)
    session = house.session(before)
    with house.begin(session.scope) as tx:
        after = stepup.elevate_session(tx, house.desk, session, house.totp(phone), HOME).settled()
    assert refused(lambda: house.session(before), "session-refused") == "session-unknown"
    house.session(after)
    house.clock.advance(30)
    with pytest.raises(Unauthenticated, match="session-refused"), house.begin(session.scope) as tx:
        stepup.elevate_session(tx, house.desk, session, house.totp(phone), HOME)


def test_a_stolen_cookie_is_of_no_use_in_another_browser_or_network(house: LoginHouse) -> None:
    house.resettled(bind_network=True)
    house.member()
    made = house.log_in()
    other = dataclasses.replace(HOME, user_agent="curl")
    assert refused(lambda: house.session(made, other), "session-refused") == "session-agent"
    moved = dataclasses.replace(HOME, address=AWAY.address)
    assert refused(lambda: house.session(made, moved), "session-refused") == "session-network"
    assert house.session(made)


def test_a_ticket_is_of_no_use_elsewhere_later_twice_or_as_anything_else(house: LoginHouse) -> None:
    phone, _ = house.app(house.member())
    ticket = house.password("alice").ticket
    for client in (AWAY, dataclasses.replace(HOME, user_agent="x"), dataclasses.replace(HOME, address="192.0.2.1")):
        assert (
            refused(lambda c=client: house.second(ticket, house.totp(phone), c), "ticket-refused") == "ticket-foreign"
        )
    assert refused(lambda: house.session(ticket), "session-refused") == "session-unknown"
    with house.records.read(SYSTEM_SCOPE) as reading:
        assert refused(lambda: accounts.invited(reading, house.desk, ticket), "code-refused") == "code-unknown"
    assert house.second(ticket, house.totp(phone)).session
    house.clock.advance(30)
    assert refused(lambda: house.second(ticket, house.totp(phone)), "ticket-refused") == "ticket-unknown"
    late = house.password("alice").ticket
    house.clock.advance(300)
    assert refused(lambda: house.second(late, house.totp(phone)), "ticket-refused") == "ticket-expired"


def test_a_ticket_taken_to_another_tenant_is_none(house: LoginHouse) -> None:
    phone, _ = house.app(house.member())
    ticket = house.password("alice").ticket
    with pytest.raises(Unauthenticated, match="ticket-refused"), house.begin(Scope(ACME, PrincipalId(""))) as tx:
        flow.give_second(tx, house.desk, ticket, house.totp(phone), HOME)


def test_a_login_begun_before_the_account_ended_does_not_end_in_it(house: LoginHouse) -> None:
    phone, _ = house.app(house.member())
    ticket = house.password("alice").ticket
    with house.begin() as tx:
        standing.deactivate(tx, ALICE)
    assert refused(lambda: house.second(ticket, house.totp(phone)), "factor-refused") == "principal-inactive"
    assert count(house, SESSION) == 0


def test_a_password_changed_while_the_old_one_is_checked_lets_nobody_in(house: LoginHouse) -> None:
    house.member()
    with house.records.read(SYSTEM_SCOPE) as reading:
        account = accounts.look_up(reading, house.desk, TENANT, "alice", HOME, house.clock.now())
    proof = house.passwords.check(account, PASSWORD)
    officer = house.principal(BOB, Strength.MFA, stepped_up_at=house.clock.now())
    with house.begin() as tx:
        accounts.reset(tx, house.desk, officer, ALICE)
    with house.begin(account.scope) as tx:
        outcome = flow.give_password(tx, house.desk, account, proof, HOME)
    assert refused(outcome.settled, "login-refused") == "password-wrong"


def test_the_proof_of_one_account_opens_no_other(house: LoginHouse) -> None:
    house.member("alice")
    house.member("bob", password=OTHER_PASSWORD)
    with house.records.read(SYSTEM_SCOPE) as reading:
        found = [accounts.look_up(reading, house.desk, TENANT, n, HOME, house.clock.now()) for n in ("alice", "bob")]
    proof = house.passwords.check(found[0], PASSWORD)
    with house.begin(NOBODY) as tx:
        outcome = flow.give_password(tx, house.desk, found[1], proof, HOME)
    refused(outcome.settled, "login-refused")


def test_csrf_tokens_are_of_one_session_and_one_id(house: LoginHouse) -> None:
    house.member("alice")
    house.member("bob")
    mine, bobs = house.log_in("alice"), house.log_in("bob")
    session = house.session(mine)
    sessions.check_csrf(session, mine.csrf)
    for given in (
        "",
        bobs.csrf,
        mine.csrf[:-1],
        mine.csrf + "0",
        mine.csrf.upper(),
        mine.cookie,
        "\ud800",
        "x" * 10**6,
    ):
        with pytest.raises(Forbidden) as caught:
            sessions.check_csrf(session, given)
        assert caught.value.code == "csrf-refused"
        assert mine.csrf not in str(caught.value)
    with house.begin(session.scope) as tx:
        rotated = sessions.rotate(tx, house.desk, session)
    with pytest.raises(Forbidden):
        sessions.check_csrf(house.session(rotated), mine.csrf)


def test_sessions_of_another_tenant_cannot_be_seen_or_ended(house: LoginHouse) -> None:
    house.member("alice")
    house.member("alice", tenant=ACME)
    made = house.log_in()
    acme = Scope(ACME, PrincipalId("user:root"))
    with house.records.read(acme) as reading:
        assert sessions.sessions(reading, None, house.clock.now()) == []
        assert sessions.sessions(reading, ALICE, house.clock.now()) == []
    for act in (
        lambda tx: sessions.revoke(tx, made.id),
        lambda tx: sessions.revoke(tx, made.id, ALICE),
        lambda tx: sessions.rotate(tx, house.desk, house.session(made)),
    ):
        with pytest.raises((NotFound, Unauthenticated)), house.begin(acme) as tx:
            act(tx)
    with house.begin(acme) as tx:
        assert sessions.revoke_all(tx, ALICE) == 0
    assert house.session(made)


def test_factors_of_another_or_another_tenant_cannot_be_removed_or_confirmed(house: LoginHouse) -> None:
    house.app(house.member("alice"))
    house.member("bob")
    house.member("alice", tenant=ACME)
    with house.records.read(ADMIN) as reading:
        (mine,) = factors.factors(reading, ALICE)
    now = house.clock.now()
    for who in (house.principal(BOB, stepped_up_at=now), house.principal(ALICE, tenant=ACME, stepped_up_at=now)):
        with pytest.raises(NotFound, match="factor-unknown"), house.begin(Scope(who.tenant, who.id)) as tx:
            factors.remove(tx, who, mine.id)
        with pytest.raises(NotFound, match="factor-unknown"), house.begin(Scope(who.tenant, who.id)) as tx:
            factors.confirm_totp(tx, house.desk, who, mine.id, "000000")
    with pytest.raises(NotFound), house.begin(Scope(ACME, BOB)) as tx:
        accounts.reset(tx, house.desk, house.principal(BOB, tenant=ACME, stepped_up_at=now), PrincipalId("user:carol"))


def test_a_principal_is_nobody_in_another_tenant_whatever_its_name(house: LoginHouse) -> None:
    house.app(house.member("alice"))
    phone, _ = house.app(house.member("alice", tenant=ACME), ACME)
    now = house.clock.now()
    foreign = house.principal(ALICE, tenant=ACME, stepped_up_at=now)
    with house.records.read(ADMIN) as reading:
        (mine,) = factors.factors(reading, ALICE)
    acts = (
        lambda tx: factors.remove(tx, foreign, mine.id),
        lambda tx: factors.new_recovery(tx, house.desk, foreign),
        lambda tx: factors.start_totp(tx, house.desk, foreign, "phone"),
        lambda tx: factors.confirm_totp(tx, house.desk, foreign, mine.id, "000000"),
        lambda tx: factors.passkey_options(tx, house.desk, foreign, "key:k"),
        lambda tx: stepup.ways(tx, house.desk, foreign, "key:k"),
        lambda tx: stepup.elevate(tx, house.desk, foreign, "key:k", house.totp(phone), HOME),
        lambda tx: accounts.set_first_password(tx, foreign, "x"),
        lambda tx: accounts.reset(tx, house.desk, foreign, BOB),
    )
    for act in acts:
        with pytest.raises(Forbidden, match="tenant-foreign"), house.begin(Scope(TENANT, ALICE)) as tx:
            act(tx)


# --- elevations --------------------------------------------------------------------------------------------------------


def test_an_elevation_is_of_one_credential_of_one_principal_of_one_tenant(house: LoginHouse) -> None:
    phone, _ = house.app(house.member("alice"))
    house.member("bob")
    house.member("alice", tenant=ACME)
    who = house.principal(ALICE, Strength.KEY)
    text = house.elevate(who, "key:k", house.totp(phone)).text
    others = {
        "another key": (who, "key:other", text, "elevation-foreign"),
        "a token of the same name": (who, "token:k", text, "elevation-foreign"),
        "names that run together": (
            msgspec.structs.replace(who, id=PrincipalId("user:alic")),
            "ekey:k",
            text,
            "elevation-foreign",
        ),
        "another principal": (house.principal(BOB), "key:k", text, "elevation-foreign"),
        "another tenant": (house.principal(ALICE, tenant=ACME), "key:k", text, "elevation-unknown"),
        "made up": (who, "key:k", "fsu_" + "A" * 43, "elevation-unknown"),
        "cut": (who, "key:k", text[:-1], "elevation-unknown"),
        "empty": (who, "key:k", "", "elevation-unknown"),
    }
    for principal, credential, given, audit in others.values():
        with (
            house.records.read(Scope(principal.tenant, principal.id)) as reading,
            pytest.raises(Unauthenticated) as caught,
        ):
            stepup.elevated(reading, house.desk, principal, credential, given, house.clock.now())
        assert (caught.value.code, caught.value.audit_code) == ("elevation-refused", audit)
    with house.records.read(Scope(ACME, ALICE)) as reading, pytest.raises(Unauthenticated):
        stepup.elevated(reading, house.desk, who, "key:k", text, house.clock.now())


def test_a_time_in_the_future_is_no_step_up(house: LoginHouse) -> None:
    who = house.principal(ALICE, stepped_up_at=later(house.clock.now(), 1))
    assert not factors.is_fresh(who, house.clock.now())


# --- what is kept, and how it is compared ------------------------------------------------------------------------------


def test_nothing_that_opens_anything_stands_in_records_events_or_printed_values(house: LoginHouse) -> None:
    phone, recovery = house.app(house.member())
    made = house.second(house.password("alice").ticket, house.totp(phone)).session
    house.clock.advance(30)
    elevation = house.elevate(house.principal(ALICE, Strength.KEY), "key:k", house.totp(phone))
    step = house.password("alice")
    house.member("bob", password=None)
    with house.begin() as tx:
        invitation = accounts.invite(tx, house.desk, BOB)
    assert made is not None
    secrets = [
        PASSWORD,
        phone.secret,
        *recovery,
        made.cookie,
        made.csrf,
        made.device,
        elevation.text,
        step.ticket,
        invitation.code,
    ]
    with house.records.read(ADMIN) as reading:
        tables = [t for t in login_tables.METADATA.sorted_tables if t.name.startswith("login_")]
        assert len(tables) == 10
        kept = b"".join(repr(tuple(row)).encode() for table in tables for row in reading.execute(select(table)))
    kept += b"".join(map(encode_event, house.events()))
    kept += repr([made, elevation, step, invitation, house.desk, Outcome(step), Answer(Method.TOTP, PASSWORD)]).encode()
    assert [text for text in secrets if text.encode() in kept] == []


def test_secrets_are_compared_in_constant_time() -> None:
    """Digests, codes and tokens are compared by `hmac.compare_digest`, or found by a keyed digest; never by `==`."""
    suspects = []
    names = {"digest", "mac", "code", "csrf", "cookie", "ticket", "handle", "stored", "hash", "agent", "text", "given"}
    for path in sorted(Path(sessions.__file__).parent.glob("*.py")):
        if path.name in {"records.py", "tables.py"}:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
                words = {ast.unparse(side).rpartition(".")[2] for side in (node.left, *node.comparators)}
                if words & names:
                    suspects.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert suspects == []


def test_the_records_of_logins_are_bounded(house: LoginHouse) -> None:
    house.app(house.member())
    for number in range(130):
        client = from_network(number)
        house.password("alice", client=client)
    assert count(house, TICKET) <= 100
    who = house.principal(ALICE, stepped_up_at=house.clock.now())
    with pytest.raises(Conflict, match="factors-full"), house.begin(Scope(TENANT, ALICE)) as tx:
        for number in range(12):
            app = factors.start_totp(tx, house.desk, who, f"app {number}")
            assert rows.confirm_totp(tx, app.factor) == 1


def test_a_broken_source_of_randomness_gives_no_session(house: LoginHouse) -> None:
    house.member()
    for broken in (bytes, lambda n: b"", lambda n: os.urandom(n - 1)):
        with pytest.raises(Unavailable, match="entropy-broken"):
            opaque("fss", broken)


def test_an_invitation_cannot_be_redeemed_in_another_name(house: LoginHouse) -> None:
    house.member("alice", password=None)
    house.member("bob", password=None)
    with house.begin() as tx:
        code = accounts.invite(tx, house.desk, ALICE).code
    hashed = house.passwords.new(PASSWORD, TENANT, BOB)
    for scope in (Scope(TENANT, BOB), Scope(ACME, ALICE)):
        with pytest.raises(Unauthenticated, match="code-refused"), house.begin(scope) as tx:
            accounts.redeem(tx, house.desk, code, hashed, HOME)


def test_weak_passwords_are_refused_before_anything_is_written(house: LoginHouse) -> None:
    house.member("alice", password=None)
    with pytest.raises(Invalid, match="password-"):
        house.passwords.new("alice-in-wonderland-7", TENANT, ALICE)
