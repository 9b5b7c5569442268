"""Second factors: who may enrol, remove and reset them, and whether an answer proves one.

The first factor is enrolled in the transaction in which its owner redeems the one-time code, or within five minutes of
giving a password; a further one, and removing one, needs a second factor given within the last five minutes. An API key
alone is never enough, or who stole it could make itself a factor. Only people have second factors: a program that kept a
seed beside its key would have one factor twice. With the first factor come ten recovery codes; with the last one they go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fastness.access.login import codes, lockout, passkeys, records
from fastness.access.login.codes import App
from fastness.access.login.desk import Client, Desk, Outcome, note, require_own
from fastness.access.login.lockout import Area, Bucket
from fastness.access.login.passkeys import Expected, Json, Purpose
from fastness.access.login.settings import STEP_UP_S
from fastness.core.clock import Instant, later
from fastness.core.errors import Conflict, FastnessError, Forbidden, Invalid, NotFound, Unauthenticated
from fastness.core.events import EventKind
from fastness.core.identity import Principal, PrincipalId, PrincipalKind, Strength
from fastness.foundation.storage import Reading, Transaction

PENDING_S = 900.0
FACTORS_MAX = 10
_LONGEST_LABEL = 64


class Method(StrEnum):
    """The kinds of second factors."""

    TOTP = "totp"
    PASSKEY = "passkey"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody gives to prove a second factor: a code, or what the browser made of the options.

    Attributes:
        code: of an app, or a recovery code.
        response: for a passkey.
    """

    method: Method
    code: str = field(default="", repr=False)
    response: Json | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Factor:
    """A second factor as its owner sees it."""

    id: str
    method: Method
    label: str
    created_at: Instant


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A factor that was enrolled just now.

    Attributes:
        recovery: codes to be shown once; empty where its owner has some already.
    """

    id: str
    recovery: tuple[str, ...] = field(repr=False)


def factors(reading: Reading, principal: PrincipalId) -> list[Factor]:
    """The factors of a principal that count, oldest first; recovery codes are counted by `recovery_left`."""
    apps = [row for row in records.find_totp(reading, principal) if row.confirmed]
    keys = records.find_passkeys(reading, principal)
    found = [Factor(row.id, Method.TOTP, row.label, row.created_at) for row in apps]
    found += [Factor(row.id, Method.PASSKEY, row.label, row.created_at) for row in keys]
    return sorted(found, key=lambda factor: (factor.created_at, factor.id))


def methods(reading: Reading, principal: PrincipalId) -> tuple[Method, ...]:
    """How a principal can give a second factor; empty if it has none."""
    kinds = {factor.method for factor in factors(reading, principal)}
    if kinds and records.count_recovery(reading, principal):
        kinds.add(Method.RECOVERY)
    return tuple(method for method in Method if method in kinds)


def recovery_left(reading: Reading, principal: PrincipalId) -> int:
    """How many recovery codes a principal has left."""
    return records.count_recovery(reading, principal)


def is_fresh(who: Principal, now: Instant) -> bool:
    """Whether a second factor was given with this credential within the last five minutes."""
    return who.stepped_up_at is not None and who.stepped_up_at <= now < later(who.stepped_up_at, STEP_UP_S)


def require_fresh(who: Principal, now: Instant) -> None:
    """Return if `who` has stepped up.

    Raises:
        Forbidden: `step-up-required`.
    """
    if who.actor or not is_fresh(who, now):
        hint = "Give your second factor, and try again within five minutes."
        raise Forbidden("step-up-required", "this needs a second factor given just now", hint)


def start_totp(tx: Transaction, desk: Desk, who: Principal, label: str) -> App:
    """Begin to enrol an authenticator app; `confirm_totp` completes it. One begun before is void.

    Raises:
        Forbidden: `factor-person`, `step-up-required` or `login-not-fresh`.
        Conflict: `factors-full`.
        Invalid: `factor-label`.
    """
    _require_right(tx, who, label)
    app = codes.new_app(desk, (tx.scope.tenant, who.id), tx.now, tx.events.entropy)
    records.drop_unconfirmed(tx, who.id)
    codes.store_app(tx, desk, (who.id, label), app, None)
    _tell(tx, EventKind.FACTOR_ENROLLED, who.id, (app.factor, Method.TOTP), "begun")
    return app


def confirm_totp(tx: Transaction, desk: Desk, who: Principal, factor: str, code: str) -> Outcome[Enrolled]:
    """Complete the enrolment of an app by its first code, which is used up thereby.

    Raises:
        NotFound: `factor-unknown`, no such app waits for its first code.
    """
    require_own(tx, who)
    found = [row for row in records.find_totp(tx, who.id) if row.id == factor and not row.confirmed]
    if not found or later(found[0].created_at, PENDING_S) <= tx.now:
        raise NotFound("factor-unknown", "no such app waits for its first code", "Begin again.")
    seed = desk.unwrap(found[0].seed, tx.scope.tenant, factor)
    counter = codes.matching(seed, code, tx.now, found[0].last_counter)
    seed.wipe()
    where = lockout.buckets(desk, Area.FACTOR, (tx.scope.tenant, who.id), _NOWHERE, f"factor:{factor}")
    late = bool(lockout.wait_s(tx, where, tx.now))
    if late or counter is None or records.use_counter(tx, factor, counter) != 1:
        _failed(tx, desk, where, who.id, "factor-slowed" if late else "totp-unconfirmed")
        return Outcome(refusal=codes.code_wrong())
    lockout.forgive(tx, where)
    records.confirm_totp(tx, factor)
    return Outcome(_enrolled(tx, desk, who.id, factor, Method.TOTP))


def enrol_app(tx: Transaction, desk: Desk, principal: PrincipalId, app: App, counter: int) -> Enrolled:
    """Enrol an app whose first code was seen already, in the transaction that makes its owner or redeems their code.

    Args:
        app: of `codes.new_app`, made before the transaction.
        counter: of `app.counter(code, now)`.

    Raises:
        Forbidden: `login-not-fresh`, the principal did not come to be in this transaction.
        Conflict: `factor-exists`.
    """
    if tx.now not in records.joined_at(tx, principal):
        raise _not_fresh()
    if factors(tx, principal):
        raise Conflict("factor-exists", f"{principal} has a second factor already")
    codes.store_app(tx, desk, (principal, "first"), app, counter)
    return _enrolled(tx, desk, principal, app.factor, Method.TOTP)


def passkey_options(tx: Transaction, desk: Desk, who: Principal, credential: str) -> dict[str, Any]:
    """What the browser needs to make a passkey.

    Args:
        credential: that the caller came with; the answer has to come with the same.

    Raises:
        Forbidden: `factor-person`, `step-up-required` or `login-not-fresh`.
        Conflict: `factors-full`.
    """
    _require_right(tx, who, "passkey")
    return passkeys.registration_options(tx, desk, who.id, passkeys.bound_to(desk, credential))


def add_passkey(
    tx: Transaction, desk: Desk, who: Principal, credential: str, label: str, response: Json
) -> Outcome[Enrolled]:
    """Enrol the passkey that the browser made of `passkey_options`.

    Raises:
        Forbidden: `factor-person`, `step-up-required` or `login-not-fresh`.
        Conflict: `factors-full`.
        Invalid: `factor-label`.
    """
    _require_right(tx, who, label)
    expected = Expected(Purpose.REGISTER, who.id, passkeys.bound_to(desk, credential))
    try:
        factor = passkeys.register(tx, desk, expected, label, response)
    except (Invalid, Conflict) as error:
        return Outcome(refusal=error)  # the challenge is used up all the same
    return Outcome(_enrolled(tx, desk, who.id, factor, Method.PASSKEY))


def remove(tx: Transaction, who: Principal, factor: str) -> None:
    """Remove one of one's own factors; with the last one go the recovery codes.

    Raises:
        Forbidden: `step-up-required`.
        NotFound: `factor-unknown`.
    """
    require_own(tx, who)
    require_fresh(who, tx.now)
    method = next((f.method for f in factors(tx, who.id) if f.id == factor), None)
    if method is None or records.drop_factor(tx, who.id, factor) != 1:
        raise NotFound("factor-unknown", "there is no such factor")
    if not factors(tx, who.id):
        records.drop_factors(tx, who.id)
    _tell(tx, EventKind.FACTOR_REMOVED, who.id, (factor, method), "")


def new_recovery(tx: Transaction, desk: Desk, who: Principal) -> tuple[str, ...]:
    """Ten fresh recovery codes, to be shown once; all older ones are void.

    Raises:
        Forbidden: `step-up-required`.
        Conflict: `second-factor-missing`.
    """
    require_own(tx, who)
    require_fresh(who, tx.now)
    if not factors(tx, who.id):
        raise missing()
    made = codes.new_recovery(tx, desk, who.id)
    _tell(tx, EventKind.FACTOR_ENROLLED, who.id, ("recovery", Method.RECOVERY), "regenerated")
    return made


def prove(tx: Transaction, desk: Desk, principal: PrincipalId, answer: Answer, expected: Expected) -> str:
    """What is wrong with an answer, or nothing; whatever was given is used up."""
    if answer.method is Method.PASSKEY:
        return passkeys.use(tx, desk, expected, answer.response or {})[1]
    if not factors(tx, principal):
        return "factor-missing"
    use: Callable[[Transaction, Desk, PrincipalId, str], str]
    use = codes.use_totp if answer.method is Method.TOTP else codes.use_recovery
    return use(tx, desk, principal, answer.code)


def missing() -> Conflict:
    """The refusal of who has no second factor, with what to do about it."""
    hint = (
        "Enrol one: fastness access factor add, or Security in the console; it needs a login by password just before."
    )
    return Conflict("second-factor-missing", "you have no second factor", hint)


def wrong(audit_code: str) -> Unauthenticated:
    """The one refusal of every second factor that is not right."""
    hint = "A code works once. After several failures wait some minutes, or use a passkey."
    return Unauthenticated("factor-refused", "the second factor is not right", hint, audit_code)


_NOWHERE = Client()


def _require_right(tx: Transaction, who: Principal, label: str) -> None:
    require_own(tx, who)
    if who.kind is not PrincipalKind.USER or who.actor:
        raise Forbidden("factor-person", "only people themselves have second factors")
    if not label or len(label) > _LONGEST_LABEL or not label.isprintable():
        raise Invalid("factor-label", f"a factor's name is 1 to {_LONGEST_LABEL} printable characters")
    found = factors(tx, who.id)
    if len(found) >= FACTORS_MAX:
        raise Conflict("factors-full", f"nobody has more than {FACTORS_MAX} factors", "Remove one first.")
    if found:
        require_fresh(who, tx.now)
        return
    by_password = who.strength in {Strength.PASSWORD, Strength.MFA}
    recent = who.authenticated_at <= tx.now < later(who.authenticated_at, STEP_UP_S)
    if not (by_password and recent) and tx.now not in records.joined_at(tx, who.id):
        raise _not_fresh()


def _not_fresh() -> FastnessError:
    hint = "Log in by password and do it within five minutes; without one, ask an administrator for a code."
    return Forbidden("login-not-fresh", "the first second factor needs a login by password just before", hint)


def _enrolled(tx: Transaction, desk: Desk, principal: PrincipalId, factor: str, method: Method) -> Enrolled:
    recovery = () if records.count_recovery(tx, principal) else codes.new_recovery(tx, desk, principal)
    _tell(tx, EventKind.FACTOR_ENROLLED, principal, (factor, method), "confirmed")
    return Enrolled(factor, recovery)


def _failed(tx: Transaction, desk: Desk, where: list[Bucket], principal: PrincipalId, why: str) -> None:
    note(tx, EventKind.STEP_UP_FAILED, f"principal:{principal}", reason=why)
    if why != "factor-slowed":
        lockout.count(tx, desk, where, f"principal:{principal}")


def _tell(tx: Transaction, kind: EventKind, owner: PrincipalId, what: tuple[str, Method], reason: str) -> None:
    factor, method = what
    note(tx, kind, f"factor:{factor}", reason=reason, details={"principal": owner, "method": method.value})
