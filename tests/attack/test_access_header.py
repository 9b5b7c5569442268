"""What comes in an Authorization header: SQL (CVE-2026-42208 of LiteLLM put the raw header into a query), floods, tricks.

Success rate of the attacks below: 0. Every header is refused before any look-up unless it has the length of a key, and
neither message nor hint repeats a byte of it. What is looked up is an HMAC of it.
"""

from __future__ import annotations

import hmac
import os

import msgspec
import pytest

from fastness.access import Credentials, authenticate
from fastness.access import credentials as module
from fastness.access.apikeys import PUBLIC_KEYS, format_key, mint, well_formed
from fastness.access.credentials import KeyRecord
from fastness.core.clock import Instant
from fastness.core.errors import Unauthenticated
from fastness.core.identity import PrincipalId, PrincipalKind, Role, TenantId
from fastness.core.limits import Limit

NOW = Instant(1_700_000_000_000_000_000)
PEPPER = os.urandom(32)
KEY_ID, TEXT = mint(os.urandom)
GOOD = TEXT.encode()
RECORD = KeyRecord(
    KEY_ID,
    PrincipalId("user:alice"),
    PrincipalKind.USER,
    TenantId("default"),
    frozenset({Role.DEVELOPER}),
    Limit(per_s=5, burst=10),
    NOW + 1,
)
CREDENTIALS = Credentials(PEPPER, {hmac.digest(PEPPER, GOOD, "sha256"): RECORD})

HEADERS = {
    "sql or": b"Bearer ' OR '1'='1' --",
    "sql union": b"Bearer x' UNION SELECT token FROM api_keys --",
    "sql of the length of a key": b"Bearer " + b"' OR 1=1; DROP TABLE api_keys; --".ljust(65, b" "),
    "sql after a good key": b"Bearer " + GOOD + b"' OR '1'='1",
    "sql before the check": b"Bearer " + GOOD[:13] + b"' OR 1=1 --".ljust(43, b"x") + GOOD[56:],
    "line break": b"Bearer " + GOOD + b"\r\nX-Admin: yes",
    "trailing newline": b"Bearer " + GOOD + b"\n",
    "newline for the last character": b"Bearer " + GOOD[:-1] + b"\n",
    "NUL": b"Bearer " + GOOD[:-1] + b"\0",
    "NUL after": b"Bearer " + GOOD + b"\0",
    "tab for the space": b"Bearer\t" + GOOD,
    "two spaces": b"Bearer  " + GOOD,
    "leading space": b" Bearer " + GOOD,
    "trailing space": b"Bearer " + GOOD + b" ",
    "lower case": b"bearer " + GOOD,
    "upper case": b"BEARER " + GOOD,
    "basic": b"Basic " + GOOD,
    "no scheme": GOOD,
    "two keys": b"Bearer " + GOOD + b", Bearer " + GOOD,
    "quoted": b'Bearer "' + GOOD + b'"',
    "scheme only": b"Bearer ",
    "not UTF-8": b"Bearer " + b"\xff\xfe" * 32 + b"\x80",
    "full-width digits": "Bearer fst_００００００００".encode(),
    "a mebibyte": b"Bearer " + b"A" * (1 << 20),
    "ten mebibytes of a key": b"Bearer fst_" + b"a" * (10 << 20),
    "wrong check": b"Bearer " + GOOD[:-1] + (b"0" if GOOD[-1:] != b"0" else b"1"),
    "upper-case check": b"Bearer " + GOOD[:-8] + b"ABCDEF01",
    "LiteLLM's known key": b"Bearer sk-1234",
    "format string": b"Bearer %s%s%n{0.__class__}",
    "log injection": b"Bearer \x1b[2Jroot logged in",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_hostile_header_is_malformed_and_not_repeated(header: bytes) -> None:
    with pytest.raises(Unauthenticated) as caught:
        authenticate(header, CREDENTIALS, NOW)
    assert caught.value.code == caught.value.audit_code == "key-malformed"
    said = f"{caught.value!r} {caught.value} {caught.value.hint}".encode()
    assert said == _said_of(b"Bearer something else entirely")
    assert caught.value.__context__ is None


def _said_of(header: bytes) -> bytes:
    with pytest.raises(Unauthenticated) as caught:
        authenticate(header, CREDENTIALS, NOW)
    return f"{caught.value!r} {caught.value} {caught.value.hint}".encode()


def test_the_good_key_is_taken_so_the_others_are_not_refused_for_another_reason() -> None:
    assert authenticate(b"Bearer " + GOOD, CREDENTIALS, NOW).key_id == KEY_ID


@pytest.mark.parametrize("header", [HEADERS["a mebibyte"], HEADERS["ten mebibytes of a key"], HEADERS["sql union"]])
def test_nothing_is_hashed_for_what_is_no_key(header: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of wrong headers must not buy HMACs: the refusal stands before the first one."""

    steps = _recorded(monkeypatch)
    with pytest.raises(Unauthenticated, match="key-malformed"):
        authenticate(header, Credentials(PEPPER, {}), NOW)
    assert steps == []


def _recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps of whatever is authenticated from now on, with credentials made from now on."""
    steps: list[str] = []

    class Keyed(hmac.HMAC):
        def copy(self) -> hmac.HMAC:
            steps.append("digest")
            return super().copy()

    def compare(one: bytes, other: bytes) -> bool:
        steps.append("compare")
        return real_compare(one, other)

    def form(text: bytes) -> bool:
        steps.append("form")
        return well_formed(text)

    real_compare = hmac.compare_digest
    monkeypatch.setattr(module.hmac, "new", lambda key, digestmod: Keyed(key, digestmod=digestmod))
    monkeypatch.setattr(module.hmac, "compare_digest", compare)
    monkeypatch.setattr(module, "well_formed", form)
    return steps


def test_the_key_id_alone_opens_nothing() -> None:
    """Ids stand in logs and lists; with a secret of one's own they give no access and no other answer."""
    forged = format_key(KEY_ID, os.urandom(32)).encode()
    stranger = mint(os.urandom)[1].encode()
    with pytest.raises(Unauthenticated) as caught:
        authenticate(b"Bearer " + forged, CREDENTIALS, NOW)
    assert caught.value.audit_code == "key-unknown"
    assert _said_of(b"Bearer " + forged) == _said_of(b"Bearer " + stranger)


def test_unknown_expired_and_revoked_keys_take_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is hashed once under the pepper, its id is compared once in constant time, whatever the record says, and
    its form is looked at last."""
    steps = _recorded(monkeypatch)
    digest = hmac.digest(PEPPER, GOOD, "sha256")
    cases = {
        "unknown": Credentials(PEPPER, {}),
        "expired": Credentials(PEPPER, {digest: _changed(expires_at=NOW - 1)}),
        "revoked": Credentials(PEPPER, {digest: _changed(revoked=True)}),
    }
    taken = {}
    for name, credentials in cases.items():
        steps.clear()
        with pytest.raises(Unauthenticated):
            authenticate(b"Bearer " + GOOD, credentials, NOW)
        taken[name] = tuple(steps)
    assert set(taken.values()) == {("digest", "compare", "form")}


def _changed(*, expires_at: int = NOW + 1, revoked: bool = False) -> KeyRecord:
    return msgspec.structs.replace(RECORD, expires_at=expires_at, revoked=revoked)


def test_the_key_of_the_documentation_is_never_accepted() -> None:
    for public in PUBLIC_KEYS:
        planted = Credentials(PEPPER, {hmac.digest(PEPPER, public, "sha256"): _changed()})
        with pytest.raises(Unauthenticated):
            authenticate(b"Bearer " + public, planted, NOW)
