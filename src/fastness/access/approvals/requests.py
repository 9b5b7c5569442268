"""Asking for approvals: one mechanism for whatever needs the word of several.

A request says what is to be approved (a digest), for what, by how many, by whom not, by holders of which roles, until when. What
approvers sign is the digest of all of that, so a request whose terms were changed afterwards has no approvals, and an
approval is good for no other request, purpose or tenant. A request that was approved is good for one act: `use` counts the
signatures again, as the approvers stand then, and takes it; `give_back` returns it where the act did not come about. Until then
its author takes it back by `withdraw`, and an approver by saying no.

What it misses: who can write the tables can mark a used request as unused, or hide it; the ledger has its events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from fastness.access import records as people
from fastness.access.approvals import records
from fastness.access.approvals.records import RequestRow
from fastness.access.approvals.signed import Approval, Who, count, proposal, record
from fastness.core.clock import Instant, later, uuid7
from fastness.core.digests import Digest, parse_digest
from fastness.core.errors import Conflict, Corrupt, Forbidden, Invalid, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.findings import Decision, Verdict
from fastness.core.identity import Principal, PrincipalId, PrincipalKind, Role, TenantId
from fastness.foundation.storage import Reading, Transaction

LONGEST_S = 30 * 86_400.0
MOST_OPEN = 100
_PREFIX = "request:"
MOST_NEEDED = 20
_encode = msgspec.json.Encoder(order="deterministic").encode


class RequestState(StrEnum):
    """What became of a request."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """On what terms something counts as approved.

    Attributes:
        needed: how many persons, at least 1.
        roles: an approver holds one of them.
        deadline: ns since 1970 UTC, from which on it is too late.
        excluded: who does not count besides the author, such as the delegates of the author.
    """

    needed: int
    roles: frozenset[Role]
    deadline: int
    excluded: frozenset[PrincipalId] = frozenset()


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What approvers sign: the whole request.

    Attributes:
        purpose: what the approval is good for, such as `policy.change`.
        subject: digest of what is to be approved.
        details: what approvers are shown besides.
    """

    id: str
    tenant: TenantId
    purpose: str
    subject: Digest
    author: PrincipalId
    terms: Terms
    details: dict[str, str | int]

    @property
    def digest(self) -> Digest:
        """What the approvals of this request are about."""
        return Digest(f"sha256:{hashlib.sha256(_encode(self)).hexdigest()}")


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """A request as it stands."""

    asked: Asked
    state: RequestState
    closed_at: Instant | None
    used: bool

    @property
    def id(self) -> str:
        """What names it."""
        return self.asked.id

    def statement(self) -> tuple[Digest, dict[str, str | int]]:
        """Subject and predicate that an approver signs, once `decision` is added."""
        asked = self.asked
        return asked.digest, proposal(asked.tenant, _PREFIX + asked.purpose, asked.details | {"request": asked.id})


def ask(
    tx: Transaction, who: Principal, purpose: str, subject: Digest, terms: Terms, details: Mapping[str, str | int]
) -> ApprovalRequest:
    """Ask for approvals of `subject` in the name of `who`.

    Neither `who` nor whoever acts for them counts as an approver, whatever `terms` say.

    Raises:
        Invalid: terms that nobody could meet, or that have no end.
        Conflict: `who` has too many open requests.
    """
    parse_digest(subject)
    if not 0 < len(purpose) <= 64 or not 1 <= terms.needed <= MOST_NEEDED or not terms.roles:
        raise Invalid("approval-terms", "an approval names a purpose, at least one person, and the roles that count")
    if not tx.now < terms.deadline <= later(tx.now, LONGEST_S):
        raise Invalid("approval-deadline", "an approval is asked for at most 30 days", "Give an earlier deadline.")
    if records.count_requests(tx, who.id, RequestState.OPEN) >= MOST_OPEN:
        raise Conflict("approval-flood", f"{who.id} has {MOST_OPEN} open requests", "Withdraw some.")
    left_out = terms.excluded | {who.id} | ({who.actor} if who.actor else set())
    terms = msgspec.structs.replace(terms, excluded=left_out)
    identifier = uuid7(tx.now, tx.events.entropy)
    asked = Asked(identifier, tx.scope.tenant, purpose, subject, who.id, terms, dict(details))
    row = RequestRow(identifier, _encode(asked), RequestState.OPEN, None, None)
    records.add_request(tx, row, purpose, who.id, Instant(terms.deadline))
    told: dict[str, Detail] = {
        "purpose": purpose,
        "subject": subject,
        "needed": terms.needed,
        "roles": " ".join(sorted(terms.roles)),
        "deadline": terms.deadline,
        "digest": asked.digest,
    }
    tx.emit(tx.events.make(EventKind.APPROVAL_REQUESTED, f"approval:{identifier}", details=told))
    return ApprovalRequest(asked, RequestState.OPEN, None, used=False)


def answer(
    tx: Transaction, request: str, envelope: bytes, trusted: Mapping[str, tuple[PrincipalId, bytes]]
) -> ApprovalRequest:
    """Keep what an approver signed about a request, and close it where that decides it. A no counts until it is used.

    Args:
        envelope: DSSE around the statement of `ApprovalRequest.statement`, with `decision`.
        trusted: `public_keys(tx)`.

    Raises:
        NotFound: no such request.
        Conflict: it is closed, or too late.
        Invalid, Forbidden: as `record_approval`; Forbidden also for who is excluded.
    """
    found = _pending(tx, request)
    asked = found.asked
    said = record(tx, asked.digest, _PREFIX + asked.purpose, envelope, (trusted, _who(asked)))
    if found.state is RequestState.APPROVED and not said.rejects:
        raise Conflict("approval-closed", "this request is approved already", "It takes no more.")
    return _settle(tx, found, said)


def withdraw(tx: Transaction, request: str) -> None:
    """Take back one's own request, also one that is approved, until it is used.

    Raises:
        NotFound: no such request.
        Forbidden: it is another's.
        Conflict: it is closed.
    """
    found = _pending(tx, request)
    if found.asked.author != tx.scope.principal:
        raise Forbidden("approval-not-yours", "only who asked takes a request back")
    _close(tx, found, RequestState.WITHDRAWN)


def expire(tx: Transaction) -> int:
    """Close the open requests whose deadline has passed; how many."""
    late = [_read(tx, row) for row in records.find_requests(tx, RequestState.OPEN, before=tx.now)]
    for found in late:
        _close(tx, found, RequestState.EXPIRED)
    return len(late)


def use(tx: Transaction, request: str, purpose: str, subject: Digest, at_least: int) -> Verdict:
    """Take an approved request for the one act that it is good for; the verdict holds who approved.

    The signatures are counted again, as the approvers stand now.

    Args:
        at_least: how many persons the act needs, whatever the request asked for.

    Raises:
        NotFound: no such request.
        Conflict: `approval-other` (another purpose or subject), `approval-used`, or `approvals-missing`.
    """
    found = find(tx, request)
    asked = found.asked
    if (asked.purpose, asked.subject) != (purpose, subject):
        raise Conflict("approval-other", "this was approved for something else", "Ask for an approval of this.")
    verdict = standing(tx, found, tx.now)
    late = asked.terms.deadline <= tx.now
    if found.state is not RequestState.APPROVED or verdict.decision is not Decision.ALLOW or late:
        why = "its deadline has passed" if late else "; ".join(f.message for f in verdict.findings) or found.state
        raise Conflict("approvals-missing", f"this is not approved: {why}", "Ask the approvers, or ask anew.")
    if asked.terms.needed < at_least:
        raise Conflict("approvals-missing", f"{asked.terms.needed} approvals were asked for, {at_least} are needed")
    if records.use_request(tx, request, RequestState.APPROVED) != 1:
        raise Conflict("approval-used", "this approval was used already", "Ask for another one.")
    tx.emit(tx.events.make(EventKind.APPROVAL_CLOSED, f"approval:{request}", reason="used"))
    return verdict


def give_back(tx: Transaction, request: str) -> None:
    """Return an approved request that was taken for an act that did not come about; it is good for that act again."""
    if records.return_request(tx, request) == 1:
        tx.emit(tx.events.make(EventKind.APPROVAL_CLOSED, f"approval:{request}", reason="returned"))


def pending(reading: Reading, purpose: str, subject: Digest, now: Instant) -> list[ApprovalRequest]:
    """What the principal of the scope has asked for about a subject and can still use, approved ones first."""
    rows = records.find_pending(reading, reading.scope.principal, purpose)
    found = [each for each in (_read(reading, row) for row in rows) if each.asked.subject == subject]
    found = [
        each
        for each in found
        if (each.asked.author, each.asked.purpose) == (reading.scope.principal, purpose)
        and each.asked.terms.deadline > now
    ]
    return sorted(found, key=lambda each: each.state is not RequestState.APPROVED)


def find(reading: Reading, request: str) -> ApprovalRequest:
    """The request of that id.

    Raises:
        NotFound: there is none in the tenant.
        Corrupt: its row was changed.
    """
    row = records.find_request(reading, request)
    if row is None:
        raise NotFound("approval-unknown", "there is no such approval request", "See: fastness access approvals.")
    return _read(reading, row)


def find_all(reading: Reading, state: RequestState | None = None) -> list[ApprovalRequest]:
    """The requests of the tenant in a state, or all, oldest first."""
    return [_read(reading, row) for row in records.find_requests(reading, state)]


def waiting_for(reading: Reading, principal: PrincipalId, now: Instant) -> list[ApprovalRequest]:
    """The open requests that this person can answer and has not answered."""
    owner = people.find_principals(reading, principal).get(principal)
    if owner is None or not owner.active or owner.kind is not PrincipalKind.USER:
        return []
    return [
        found
        for found in find_all(reading, RequestState.OPEN)
        if found.asked.terms.deadline > now
        and principal not in found.asked.terms.excluded
        and owner.roles & found.asked.terms.roles
        and principal not in _answered(reading, found.asked)
    ]


def standing(reading: Reading, request: ApprovalRequest, now: Instant) -> Verdict:
    """What the signatures say of a request now: ALLOW, or DENY with findings that say what is missing."""
    asked = request.asked
    return count(reading, asked.digest, _PREFIX + asked.purpose, _who(asked), asked.terms.needed, now)


def _who(asked: Asked) -> Who:
    return Who(asked.terms.roles, asked.terms.excluded)


def _answered(reading: Reading, asked: Asked) -> Iterable[PrincipalId]:
    return {row.principal for row in people.find_approvals(reading, asked.digest, _PREFIX + asked.purpose)}


def _pending(tx: Transaction, request: str) -> ApprovalRequest:
    found = find(tx, request)
    if found.used or found.state not in {RequestState.OPEN, RequestState.APPROVED}:
        raise Conflict("approval-closed", f"this request is {found.state}", "Ask anew.")
    if found.asked.terms.deadline <= tx.now:
        raise Conflict("approval-closed", "the deadline of this request has passed", "Ask anew.")
    return found


def _settle(tx: Transaction, found: ApprovalRequest, said: Approval) -> ApprovalRequest:
    verdict = standing(tx, found, tx.now)
    if verdict.decision is Decision.ALLOW:
        return _close(tx, found, RequestState.APPROVED)
    if said.rejects:
        return _close(tx, found, RequestState.REJECTED)
    return found


def _close(tx: Transaction, found: ApprovalRequest, state: RequestState) -> ApprovalRequest:
    if records.close_request(tx, found.id, found.state, state) != 1:
        raise Conflict("approval-closed", "this request was closed meanwhile")
    tx.emit(tx.events.make(EventKind.APPROVAL_CLOSED, f"approval:{found.id}", reason=state.value))
    return ApprovalRequest(found.asked, state, tx.now, found.used)


def _read(reading: Reading, row: RequestRow) -> ApprovalRequest:
    try:
        asked, state = msgspec.json.decode(bytes(row.document), type=Asked), RequestState(row.state)
    except (msgspec.MsgspecError, ValueError) as error:
        raise _changed() from error
    if (asked.id, asked.tenant) != (row.id, reading.scope.tenant):
        raise _changed()
    return ApprovalRequest(asked, state, row.closed_at, used=row.used_at is not None)


def _changed() -> Corrupt:
    hint = "Somebody changed the database: compare it with the ledger, and restore a backup."
    return Corrupt("access-changed", "an approval request is not what was asked", hint)
