"""Step-up: a second factor given just now, with the credential that is to do something sensitive.

In a session it becomes a field of the session, which gets a new id with it. With an API key or a token it becomes an
elevation: an opaque text `fsu_…`, good for five minutes, for this principal and this credential alone, to be sent in the
header `Fastness-Elevation`. Wrong answers are counted on the credential that they came with, so that nobody without it can
make its owner wait, and for keys and tokens on the account too, since who has one key can often make another.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from fastness.access.login import factors, lockout, passkeys, records, sessions
from fastness.access.login.desk import Client, Desk, Outcome, Use, note, opaque, require_own
from fastness.access.login.factors import Answer, Method
from fastness.access.login.lockout import Area, Bucket
from fastness.access.login.passkeys import Expected, Purpose
from fastness.access.login.records import ElevationRow
from fastness.access.login.sessions import NewSession, Session
from fastness.access.login.settings import STEP_UP_S
from fastness.core.clock import Instant, later
from fastness.core.errors import Forbidden, Unauthenticated
from fastness.core.events import Detail, EventKind
from fastness.core.identity import Principal, PrincipalKind
from fastness.foundation.storage import Reading, Transaction

HEADER = "Fastness-Elevation"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Ways:
    """How a principal can step up.

    Attributes:
        passkey: the argument of `navigator.credentials.get()`; None without a passkey.
    """

    methods: tuple[Method, ...]
    passkey: dict[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Elevation:
    """A second factor given with a key or a token; printing it does not show its text."""

    expires_at: Instant
    text: str = field(repr=False)


def ways(tx: Transaction, desk: Desk, who: Principal, credential: str) -> Ways:
    """How `who` can step up with this credential, with a challenge for their passkeys.

    Raises:
        Conflict: `second-factor-missing`, with how to enrol one.
        Forbidden: `factor-person`, a program, or somebody in another's name.
    """
    _require_person(tx, who)
    found = factors.methods(tx, who.id)
    if not found:
        raise factors.missing()
    if Method.PASSKEY not in found:
        return Ways(found)
    return Ways(found, passkeys.assertion_options(tx, desk, _expected(desk, who, credential)))


def elevate(
    tx: Transaction, desk: Desk, who: Principal, credential: str, answer: Answer, client: Client
) -> Outcome[Elevation]:
    """An elevation for an API key (`key:ID`) or a token (`token:ID`), if the answer is right.

    Raises:
        Conflict: `second-factor-missing`.
        Forbidden: `factor-person`.
    """
    return _stepped(tx, desk, (who, credential), (answer, client), lambda: _elevation(tx, desk, who, credential))


def elevate_session(
    tx: Transaction, desk: Desk, session: Session, answer: Answer, client: Client
) -> Outcome[NewSession]:
    """The session under a new id, stepped up, if the answer is right.

    Raises:
        Conflict: `second-factor-missing`.
        Unauthenticated: `session-refused`, it ended meanwhile.
    """
    asked = (session.principal, session.credential)
    return _stepped(tx, desk, asked, (answer, client), lambda: sessions.rotate(tx, desk, session, tx.now))


def elevated(reading: Reading, desk: Desk, who: Principal, credential: str, text: str, now: Instant) -> Principal:
    """`who` with the time at which they stepped up, by the value of the header.

    Raises:
        Unauthenticated: `elevation-refused`: unknown, expired, or another principal's or credential's.
    """
    digest = desk.known(Use.ELEVATION, text)
    row = records.find_elevation(reading, digest) if reading.scope.tenant == who.tenant else None
    if row is None:
        raise _refused("unknown")
    own = hmac.compare_digest(_pair(row.principal, row.credential), _pair(who.id, credential))
    if not own:
        raise _refused("foreign")
    if row.expires_at <= now:
        raise _refused("expired")
    return msgspec.structs.replace(who, stepped_up_at=row.created_at)


def _stepped(
    tx: Transaction,
    desk: Desk,
    asked: tuple[Principal, str],
    given: tuple[Answer, Client],
    make: Callable[[], _T],
) -> Outcome[_T]:
    (who, credential), (answer, client) = asked, given
    _require_person(tx, who)
    if not factors.factors(tx, who.id):
        raise factors.missing()
    details: dict[str, Detail] = {
        "method": answer.method.value,
        "credential": credential,
        "network": desk.network(client),
    }
    where = _buckets(desk, who, credential, client)
    guessable = answer.method is not Method.PASSKEY
    slowed = guessable and bool(lockout.wait_s(tx, where, tx.now))
    why = "factor-slowed" if slowed else factors.prove(tx, desk, who.id, answer, _expected(desk, who, credential))
    if not why:
        lockout.forgive(tx, where)
        note(tx, EventKind.STEP_UP_SUCCEEDED, f"principal:{who.id}", who.id, details=details)
        return Outcome(make())
    note(tx, EventKind.STEP_UP_FAILED, f"principal:{who.id}", who.id, why, details)
    if guessable and not slowed:
        lockout.count(tx, desk, where, f"principal:{who.id}")
    return Outcome(refusal=factors.wrong(why))


def _buckets(desk: Desk, who: Principal, credential: str, client: Client) -> list[Bucket]:
    whose = (who.tenant, who.id)
    where = lockout.buckets(desk, Area.FACTOR, whose, client, credential)
    if credential.startswith("session:"):
        return where
    return where + [b for b in lockout.buckets(desk, Area.FACTOR, whose, client, "") if b.kind == "account"]


def _elevation(tx: Transaction, desk: Desk, who: Principal, credential: str) -> Elevation:
    text, expires_at = opaque("fsu", tx.events.entropy), later(tx.now, STEP_UP_S)
    row = ElevationRow(tx.scope.tenant, who.id, credential, tx.now, expires_at)
    records.add_elevation(tx, desk.known(Use.ELEVATION, text), row)
    return Elevation(expires_at, text)


def _expected(desk: Desk, who: Principal, credential: str) -> Expected:
    return Expected(Purpose.STEP_UP, who.id, passkeys.bound_to(desk, credential))


def _require_person(tx: Transaction, who: Principal) -> None:
    require_own(tx, who)
    if who.kind is not PrincipalKind.USER or who.actor:
        hint = "Let a person do it, or a process that needs no step-up."
        raise Forbidden("factor-person", "only people themselves can give a second factor", hint)


def _pair(principal: str, credential: str) -> bytes:
    return f"{principal}\0{credential}".encode()


def _refused(why: str) -> Unauthenticated:
    hint = "Step up again with the credential that you use."
    return Unauthenticated("elevation-refused", "the elevation is not valid", hint, f"elevation-{why}")
