"""Allowances: signed, expiring permissions to go without a named check in one environment, each with its reason.

Only the signed statement counts; the row's columns find it. What it misses: an allowance cannot be taken back before it
expires, so grant short ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from fastness.core.clock import SECOND, Instant, uuid7
from fastness.core.digests import Digest
from fastness.core.errors import Corrupt, Invalid
from fastness.core.events import Detail, EventKind
from fastness.core.identity import PrincipalId, Scope, TenantId
from fastness.foundation.crypto import Purpose, sign_statement, verify_statement
from fastness.foundation.storage import Reading
from fastness.models.registry import Predicate
from fastness.models.release import records
from fastness.models.release.parts import ReleaseParts
from fastness.models.release.statements import digest_json

LONGEST_S = 366 * 86_400
_REASON_LENGTH = 500


class Allowance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A permission to go without checks.

    Attributes:
        measures: names of the checks that need not have been run.
        granted_at, expires_at: seconds since 1970 UTC; it holds from the first until just before the second.
    """

    tenant: TenantId
    id: str
    environment: str
    measures: tuple[str, ...]
    reason: str
    granted_by: PrincipalId
    granted_at: int
    expires_at: int

    def holds(self, now: Instant) -> bool:
        """Whether it holds at `now`."""
        return self.granted_at * SECOND <= now < self.expires_at * SECOND


def grant_allowance(
    parts: ReleaseParts, scope: Scope, environment: str, measures: Sequence[str], duration_s: float, reason: str
) -> Allowance:
    """Let versions into `environment` although the named checks were not run, for a while.

    Raises:
        NotFound: no such environment.
        Invalid: no check is named, no reason is given, or the time is not within (0, 366] days.
    """
    names = tuple(sorted({name.strip() for name in measures} - {""}))
    reason = reason.strip()
    if not parts.settings.environment(environment).allowances:
        raise Invalid("allowance-not-honoured", f"{environment} honours no allowances", "Have the checks run instead.")
    if not names or not 0 < len(reason) <= _REASON_LENGTH:
        raise Invalid("allowance-empty", "an allowance names checks, and a reason of up to 500 characters")
    if not 0 < duration_s <= LONGEST_S:
        raise Invalid("allowance-time", "an allowance lasts for more than 0 and up to 366 days", "Choose fewer days.")
    now = parts.clock.now()
    start, end = now // SECOND, now // SECOND + max(1, int(duration_s))
    identifier = uuid7(now, parts.entropy)
    allowance = Allowance(scope.tenant, identifier, environment, names, reason, scope.principal, start, end)
    envelope = sign_statement(
        parts.keyring.signer(Purpose.ATTEST),
        {"environment": _subject(scope.tenant, environment)},
        Predicate.ALLOWANCE,
        msgspec.to_builtins(allowance),
    )
    details: dict[str, Detail] = {"allowance": identifier, "measures": ",".join(names), "reason": reason, "until": end}
    with parts.records.begin(scope, now) as tx:
        records.add_allowance(tx, identifier, environment, envelope)
        tx.emit(tx.events.make(EventKind.ALLOWANCE_GRANTED, f"environment:{environment}", details=details))
        tx.touch("routes")
    return allowance


def allowances(reading: Reading, parts: ReleaseParts, environment: str) -> list[Allowance]:
    """The allowances that hold in an environment now; none where it honours none.

    Raises:
        NotFound: no such environment.
        Corrupt: one that is kept is not signed by this house, or was granted for something else.
    """
    if not parts.settings.environment(environment).allowances:
        return []
    now = parts.clock.now()
    return [a for a in granted(reading, parts.attesting, environment) if a.holds(now)]


def granted(reading: Reading, trusted: Mapping[str, bytes], environment: str) -> list[Allowance]:
    """Every allowance that was granted for an environment, expired ones too, oldest first.

    Raises:
        Corrupt: one that is kept is not signed by this house, or was granted for something else.
    """
    return [_opened(reading, trusted, environment, e) for e in records.allowance_envelopes(reading, environment)]


def _opened(reading: Reading, trusted: Mapping[str, bytes], environment: str, envelope: bytes) -> Allowance:
    try:
        statement = verify_statement(envelope, trusted)
        allowance = msgspec.convert(dict(statement.predicate), Allowance)
    except (Corrupt, msgspec.ValidationError) as error:
        raise Corrupt("allowance-corrupt", f"an allowance of {environment} is not signed by this house") from error
    expected = (Predicate.ALLOWANCE, {_subject(reading.scope.tenant, environment)}, reading.scope.tenant, environment)
    found = (statement.predicate_type, set(statement.subjects.values()), allowance.tenant, allowance.environment)
    if found != expected:
        raise Corrupt("allowance-corrupt", f"an allowance kept for {environment} was granted for something else")
    return allowance


def _subject(tenant: TenantId, environment: str) -> Digest:
    return digest_json({"tenant": tenant, "environment": environment})
