from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.access.login import LoginSettings
from fastness.access.login.passwords import (
    DOCUMENTED,
    LONGEST,
    SHORTEST,
    Account,
    Cost,
    Passwords,
    _Gate,
    open_breached,
)
from fastness.core.errors import Corrupt, Invalid, Limited, Unavailable
from fastness.core.identity import PrincipalId, TenantId
from fastness.core.secrets import SecretBytes
from fastness.core.settings import InvalidSetting
from fastness.foundation.crypto.keys import HmacKey

TENANT, ALICE = TenantId("default"), PrincipalId("user:alice.smith")
GOOD = "mauve-kettle-93-orbit"
PEPPER = HmacKey(SecretBytes(os.urandom(32)), exportable=False)


CHEAP = Cost(8, 1, 1)


def made(cost: Cost = CHEAP, breached: str = "", pepper: HmacKey = PEPPER) -> Passwords:
    return Passwords(cost, pepper, os.urandom, breached=breached)


def account(stored: str | None, principal: PrincipalId = ALICE, tenant: TenantId = TENANT) -> Account:
    return Account(tenant, principal, stored, known=True)


REFUSED = {
    "eleven characters": ("a-b7#Kq9!zx", "password-length"),
    "257 characters": ("kettle orbit " * 19 + "0123456789", "password-length"),
    "empty": ("", "password-length"),
    "a flood": ("x" * 10_000_000, "password-length"),
    "half a character": ("mauve-kettle-93-\ud800", "password-malformed"),
    "one letter": ("aaaaaaaaaaaaaaaa", "password-common"),
    "two letters": ("abababababababab", "password-common"),
    "digits in a row": ("123456789012345", "password-common"),
    "the alphabet backwards": ("zyxwvutsrqponm", "password-common"),
    "a row of keys": ("qwertyuiop[]asdf", "password-common"),
    "two columns of keys": ("1qaz2wsx3edc", "password-common"),
    "the first of all": ("password1234", "password-common"),
    "with signs": ("P@ssw0rd!!2024", "password-common"),
    "two of the first": ("Welcome-Admin-1", "password-common"),
    "as the comic says": ("correct horse battery staple", "password-common"),
    "as documentation says": ("correct-horse-battery-staple", "password-common"),
    "the owner's name": ("xx-SMITH-8472-yy", "password-named"),
    "the house": ("My.Fastness.4711", "password-named"),
    "full width letters of the house": ("\uff26\uff21\uff33\uff34\uff2e\uff25\uff33\uff33-8472-x", "password-named"),
}


@pytest.mark.parametrize(("text", "code"), REFUSED.values(), ids=REFUSED)
def test_what_is_easily_guessed_is_refused_without_being_hashed(text: str, code: str) -> None:
    passwords = made()
    with pytest.raises(Invalid) as caught:
        passwords.new(text, TENANT, ALICE)
    assert caught.value.code == code
    assert not text or text not in str(caught.value)
    assert passwords.hashed == 0


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "x" * 6 + "7kQ#mP",
        "plum jasper 9 anchovy",
        "\u00fcber den Wolken 7 Meilen",
        "plum jasper anchovy " * 12 + "x7#mQz",
    ],
)
def test_what_is_not_is_taken_and_only_it_fits(text: str) -> None:
    passwords = made()
    stored = passwords.new(text, TENANT, ALICE)
    assert stored.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert text not in stored
    assert passwords.check(account(stored), text).right
    for other in (text + " ", " " + text, text.upper() + "!", text[:-1], "", "\ud800" * 13):
        assert not passwords.check(account(stored), other).right


def test_lengths_are_counted_in_characters_after_normalisation() -> None:
    passwords = made()
    assert passwords.new("\u00e9" * 2 + "7kQ#mP-x2+", TENANT, ALICE)  # 12 with accents as one character each
    assert passwords.new("\u00e9u7kQ#mP-x2+"[:SHORTEST], TENANT, ALICE)
    for text in ("a7#Kq9!zxB\ufdfa" + "\ufdfa" * 14,):  # one sign that NFKC writes as eighteen characters
        with pytest.raises(Invalid, match="password-length"):
            passwords.new(text, TENANT, ALICE)
    assert passwords.new(("7kQ#mP-x2+jW" * 22)[:LONGEST], TENANT, ALICE)


def test_two_ways_to_type_the_same_are_the_same() -> None:
    passwords = made()
    stored = passwords.new("caf\u00e9 noir & 7 \ufb01gs", TENANT, ALICE)
    assert passwords.check(account(stored), "cafe\u0301 noir & 7 figs").right


def test_a_hash_opens_nothing_for_another_owner_tenant_or_house() -> None:
    passwords = made()
    stored = passwords.new(GOOD, TENANT, ALICE)
    assert not passwords.check(account(stored, PrincipalId("user:bob")), GOOD).right
    assert not passwords.check(account(stored, tenant=TenantId("other")), GOOD).right
    elsewhere = made(pepper=HmacKey(SecretBytes(os.urandom(32)), exportable=False))
    assert not elsewhere.check(account(stored), GOOD).right


def test_every_check_costs_one_computation_whatever_is_known() -> None:
    passwords = made()
    stored = passwords.new(GOOD, TENANT, ALICE)
    for given_account, text in [
        (account(stored), GOOD),
        (account(stored), "wrong-wrong-7#x"),
        (account(stored), ""),
        (account(stored), "x" * 100_000),
        (account(None), GOOD),
        (Account(TENANT, PrincipalId("user:-"), None), GOOD),
    ]:
        before = passwords.hashed
        passwords.check(given_account, text)
        assert passwords.hashed == before + 1


def test_who_has_no_password_is_never_right_not_even_by_the_decoy() -> None:
    passwords = made()
    assert not any(passwords.check(account(None), text).right for text in ("", GOOD, "\0"))


def test_new_parameters_hash_anew_at_the_next_right_password() -> None:
    stored = made().new(GOOD, TENANT, ALICE)
    stronger = made(Cost(16, 2, 1))
    assert stronger.check(account(stored), "wrong-wrong-7#x").renewed == ""
    renewed = stronger.check(account(stored), GOOD).renewed
    assert renewed.startswith("$argon2id$v=19$m=16,t=2,p=1$")
    again = stronger.check(account(renewed), GOOD)
    assert (again.right, again.renewed) == (True, "")


@pytest.mark.parametrize("text", sorted(DOCUMENTED))
def test_a_documented_password_never_opens_whatever_the_records_say(text: str) -> None:
    passwords = made()
    planted = passwords._hash(passwords._peppered(text, TENANT, ALICE))
    proof = passwords.check(account(planted), text)
    assert (proof.right, proof.public) == (False, True)


@pytest.mark.parametrize(
    "stored",
    [
        "", "x", "$argon2id$", "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
        "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
        "$argon2id$v=19$m=8,t=10000000,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
        "$argon2id$v=19$m=8,t=1,p=1$!!!$???",
    ],
)  # fmt: skip
def test_a_stored_hash_that_is_none_is_damage_and_orders_no_work(stored: str) -> None:
    passwords = made()
    if not stored:
        assert not passwords.check(account(stored), GOOD).right
        return
    with pytest.raises(Corrupt, match="access-changed"):
        passwords.check(account(stored), GOOD)


def test_few_are_hashed_at_once_few_wait_and_the_rest_are_told_to_come_back() -> None:
    gate = _Gate(1, 1)
    inside, leave, waiting = threading.Event(), threading.Event(), []

    def first() -> None:
        with gate.entered():
            inside.set()
            leave.wait(30)

    def second() -> None:
        with gate.entered():
            waiting.append("done")

    threads = [threading.Thread(target=act) for act in (first, second)]
    threads[0].start()
    assert inside.wait(30)
    threads[1].start()
    while gate._all._value:  # until the second has its place in the queue
        threads[1].join(0.001)
    with pytest.raises(Limited, match="login-busy"), gate.entered():
        pass
    assert waiting == []
    leave.set()
    for thread in threads:
        thread.join(30)
    assert waiting == ["done"]
    with gate.entered():
        pass


def test_known_devices_do_not_wait_behind_a_flood() -> None:
    passwords = Passwords(Cost(8, 1, 1), PEPPER, os.urandom, gate=(1, 0))
    stored = passwords.new(GOOD, TENANT, ALICE)
    known = Account(TENANT, ALICE, stored, known=True, device="laptop")
    with passwords._gates[False].entered():
        with pytest.raises(Limited, match="login-busy"):
            passwords.check(account(stored), GOOD)
        assert passwords.check(known, GOOD).right


def sha1(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest().upper()


def a_file(tmp_path: Path, texts: set[str], ending: str = "\n") -> Path:
    path = tmp_path / "breached.txt"
    path.write_bytes("".join(f"{sha1(text)}:7{ending}" for text in sorted(texts, key=sha1)).encode())
    return path


def ranges(tmp_path: Path, texts: set[str], suffix: str = ".txt") -> Path:
    folder = tmp_path / "ranges"
    folder.mkdir(exist_ok=True)
    for text in texts:
        with (folder / f"{sha1(text)[:5]}{suffix}").open("a") as file:
            file.write(f"{sha1(text)[5:]}:3\r\n")
    return folder


@given(st.sets(st.text(max_size=8), min_size=1, max_size=60), st.text(max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_a_sorted_file_holds_what_it_holds(
    tmp_path_factory: pytest.TempPathFactory, texts: set[str], other: str, ending: str
) -> None:
    texts = {t for t in texts if not any("\ud800" <= c <= "\udfff" for c in t)} or {"x"}
    listed = open_breached(a_file(tmp_path_factory.mktemp("list"), texts, ending))
    assert all(listed.holds(text) for text in texts)
    if not any("\ud800" <= c <= "\udfff" for c in other):
        assert listed.holds(other) == (other in texts)


def test_lists_of_both_forms_are_asked_and_a_missing_range_refuses(tmp_path: Path) -> None:
    for path in (a_file(tmp_path, {GOOD, "other"}), ranges(tmp_path, {GOOD}), ranges(tmp_path, {"other"}, "")):
        passwords = made(breached=str(path))
        with pytest.raises(Invalid) as caught:
            passwords.new(GOOD, TENANT, ALICE)
        assert (caught.value.code, passwords.hashed) == ("password-breached", 0)
    assert made(breached=str(a_file(tmp_path, {"other"}))).new(GOOD, TENANT, ALICE)
    with pytest.raises(Unavailable, match="breached-unreadable"):
        made(breached=str(ranges(tmp_path, {GOOD}))).new("plum jasper 9 anchovy", TENANT, ALICE)


def test_a_list_that_is_none_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "poem").write_text("once upon a midnight dreary\n")
    with pytest.raises(Invalid, match="breached-malformed"):
        made(breached=str(tmp_path / "poem"))
    with pytest.raises(Unavailable, match="breached-unreadable"):
        made(breached=str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("origin", "http://fastness.example"), ("origin", "https://localhost/console"), ("origin", "https://a@localhost"),
        ("rp_id", "ocalhost"), ("rp_id", "example.com"), ("issuer", "a:b"), ("memory_kib", 1024),
        ("memory_kib", 1 << 30), ("passes", 1), ("lanes", 0), ("hash_at_once", 0), ("hash_queue", -1),
        ("free_attempts", 0), ("free_attempts", 1000), ("delay_s", 0.0), ("delay_max_s", 1e9), ("forget_s", 1.0),
        ("account_delay_max_s", 1e6), ("idle_s", 1.0), ("absolute_s", 1.0), ("sessions_max", 0), ("ticket_s", 1e4),
        ("ipv4_prefix", 0), ("ipv6_prefix", 0), ("buckets_max", 1), ("challenges_max", 0), ("device_days", 0),
        ("free_network", 0), ("free_account", 0),
    ],
)  # fmt: skip
def test_a_setting_out_of_range_stops_the_start_and_is_named(key: str, value: object) -> None:
    with pytest.raises(InvalidSetting, match=r"login\.\w+"):
        LoginSettings(**{key: value})


def test_the_domain_of_passkeys_may_be_a_parent_of_the_host() -> None:
    assert LoginSettings(origin="https://console.fastness.example:8444", rp_id="fastness.example").lanes == 4
