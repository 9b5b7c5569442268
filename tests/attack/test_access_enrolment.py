"""Codes and keys of others: redeemed twice, raced for, guessed, taken across tenants, enrolled under another name.

Success rate: 0, but for the known limit that who hands a code over could redeem it first (see `access.members`).
"""

from __future__ import annotations

import base64
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastness.access import Policies, authenticate, create_key, create_principal, decide, enrol, keys, principals
from fastness.access.apikeys import mint_code
from fastness.access.members import _SMALL_ORDER, _SPKI, CODE_LIFE_S
from fastness.core.clock import later
from fastness.core.errors import Conflict, FastnessError, Invalid, Unauthenticated
from fastness.core.identity import Action, PrincipalId, PrincipalKind, Resource, Role, Scope, TenantId
from fastness.core.limits import Limit
from fastness.foundation.crypto import SoftwareSigner, verify_statement
from fastness.foundation.crypto.dsse import PAYLOAD_TYPE
from tests.unit.access.house import ADMIN, START, House

ELSEWHERE = Scope(TenantId("other"), PrincipalId("user:root"))


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.records.close()


def invited(house: House, name: str = "alice", scope: Scope = ADMIN) -> str:
    with house.begin(scope) as tx:
        return create_principal(tx, PrincipalKind.USER, name, frozenset({Role.APPROVER})).code


def redeem(house: House, code: str, scope: Scope = ADMIN, pem: bytes | None = None) -> str:
    signer = SoftwareSigner.create(os.urandom)
    with house.begin(scope) as tx:
        return enrol(tx, code, pem or signer.public_pem, house.pepper)[1].text


def refused(house: House, code: str, scope: Scope = ADMIN) -> Unauthenticated:
    before = len(house.events())
    with pytest.raises(Unauthenticated) as caught:
        redeem(house, code, scope)
    assert caught.value.code == "code-refused"
    assert code not in f"{caught.value!r}" or not code
    assert len(house.events()) == before
    return caught.value


def test_a_code_is_redeemed_once(house: House) -> None:
    code = invited(house)
    redeem(house, code)
    assert refused(house, code).audit_code == "code-used"
    with house.records.read(ADMIN) as reading:
        assert len(keys(reading)) == 1


def test_of_many_who_redeem_a_code_at_once_one_gets_in(house: House) -> None:
    code = invited(house)

    def attempt(_: int) -> bool:
        try:
            redeem(house, code)
        except Unauthenticated:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1
    with house.records.read(ADMIN) as reading:
        assert len(keys(reading)) == 1


def test_a_code_is_good_for_a_week(house: House) -> None:
    code = invited(house)
    house.clock.advance(CODE_LIFE_S)
    assert refused(house, code).audit_code == "code-expired"


def test_a_failed_enrolment_does_not_use_the_code_up(house: House) -> None:
    code = invited(house)
    with pytest.raises(Invalid):
        redeem(house, code, pem=b"not a key")
    assert redeem(house, code).startswith("fst_")


GUESSES = [
    "",
    "fse_",
    "' OR '1'='1",
    "x' UNION SELECT code_digest FROM enrolment --",
    "fse_%",
    "*",
    "\udcff",
    "\0",
    "a" * 10**6,
]


@pytest.mark.parametrize("guess", GUESSES, ids=range(len(GUESSES)))
def test_a_guessed_code_opens_nothing(house: House, guess: str) -> None:
    invited(house)
    assert refused(house, guess).audit_code == "code-unknown"
    assert refused(house, mint_code(os.urandom)).audit_code == "code-unknown"


def test_unknown_used_and_expired_codes_give_one_answer(house: House) -> None:
    used, expired = invited(house, "used"), invited(house, "expired")
    redeem(house, used)
    house.clock.advance(CODE_LIFE_S + 1)
    answers = [refused(house, code) for code in (used, expired, mint_code(os.urandom))]
    assert len({str(answer) for answer in answers}) == 1
    assert len({answer.audit_code for answer in answers}) == 3


def test_a_code_of_another_tenant_opens_nothing(house: House) -> None:
    code = invited(house)
    assert refused(house, code, ELSEWHERE).audit_code == "code-unknown"
    assert redeem(house, code).startswith("fst_")


def test_a_public_key_is_enrolled_by_one_person(house: House) -> None:
    """Else a second member could claim what the first one signs."""
    bob = house.person("bob", Role.APPROVER)
    for pem in (bob.signer.public_pem, bob.signer.public_pem.replace(b"\n", b"\r\n")):
        with pytest.raises(Conflict, match="public-key-taken"):
            redeem(house, invited(house, f"m{len(pem)}"), pem=pem)


@pytest.mark.parametrize("sign", [0, 0x80])
@pytest.mark.parametrize("point", sorted(_SMALL_ORDER), ids=lambda point: point.hex()[:8])
def test_a_public_key_under_which_anybody_signs_is_not_enrolled(house: House, point: bytes, sign: int) -> None:
    weak = _SPKI + point[:31] + bytes([point[31] | sign])
    pem = b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(weak) + b"\n-----END PUBLIC KEY-----\n"
    with pytest.raises(Invalid, match="public-key-weak"):
        redeem(house, invited(house), pem=pem)


def test_the_weak_keys_are_weak() -> None:
    """Why they are refused: this envelope was signed by nobody, and holds."""
    identity = b"\x01" + bytes(31)
    pem = b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(_SPKI + identity) + b"\n-----END PUBLIC KEY-----\n"
    payload = base64.b64encode(
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"m","digest":{"sha256":"'
        + b"ab" * 32
        + b'"}}],'
        b'"predicateType":"x","predicate":{}}'
    )
    forged = base64.b64encode(identity + bytes(32))
    envelope = b'{"payload":"%s","payloadType":"%s","signatures":[{"keyid":"k","sig":"%s"}]}' % (
        payload, PAYLOAD_TYPE.encode(), forged,
    )  # fmt: skip
    assert verify_statement(envelope, {"k": pem}).keyids == {"k"}


def test_a_key_of_another_tenant_opens_no_door_here(house: House) -> None:
    mallory = house.person("mallory", *Role, scope=ELSEWHERE)
    found = authenticate(f"Bearer {mallory.key.text}".encode(), house.credentials(), START)
    assert found.principal.tenant == "other"
    policies = Policies.shipped()
    asked = {"tenant": "default"}
    for action in (Action.MODEL_INFER, Action.AUDIT_READ, Action.SYSTEM_READ, Action.MODEL_PUSH):
        decision = decide(found.principal, action, Resource("model", "digits"), asked, policies)
        assert (decision.allow, decision.rules) == (False, ("other-tenant",))


def test_nobody_makes_a_key_for_a_principal_of_another_tenant(house: House) -> None:
    alice = house.person("alice")
    with pytest.raises(FastnessError, match="principal-unknown"), house.begin(ELSEWHERE) as tx:
        create_key(tx, alice.id, Limit(1, 1), later(START, 60), "", house.pepper)


def test_neither_code_nor_key_nor_pepper_is_written_down(house: House, tmp_path: object) -> None:
    """What a thief of the database file or of the log gets."""
    code = invited(house)
    text = redeem(house, code)
    pepper = bytes(house.pepper.export().reveal())
    database = sqlite3.connect(house.records._path)
    dump = "\n".join(database.iterdump())
    database.close()
    raw = house.records._path.read_bytes()
    for secret in (code, code.removeprefix("fse_"), text, text.split("_")[2]):
        assert secret not in dump
        assert secret.encode() not in raw
    assert pepper not in raw
    assert pepper.hex() not in dump.lower()
    assert text.split("_")[1] in dump  # the id is no secret, so the search above looked in the right place


def test_names_are_parameters_and_never_sql(house: House) -> None:
    house.person("alice")
    for name in ("x'; DROP TABLE principal; --", 'a" OR "1"="1', "a' OR 'a'='a"):
        with pytest.raises(Invalid):
            invited(house, name)
        with house.records.read(ADMIN) as reading:
            assert [p.id for p in principals(reading)] == ["user:alice"]
        with pytest.raises(FastnessError, match="principal-unknown"), house.begin() as tx:
            create_key(tx, PrincipalId(name), Limit(1, 1), later(START, 60), name, house.pepper)
