"""Campaigns: each thing that gives rights is kept, revoked or ended at a date, by a person whose own it is not.

A campaign holds what there was when it started: roles, group memberships, roles on single models, API keys, OAuth2 clients,
each with its last use. Who decides is named; nobody decides about what is theirs. What is revoked is gone at once. What is
undecided at the deadline is revoked by a job, some at a time, each in its own transaction: killed, it goes on where it was;
run twice, it does nothing twice. The last administrator, and their last key, stay: that is decided `keep` and said.

What it misses: rights given after the start wait for the next campaign; a membership that a directory service provisions can
be given again by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from fastness.access import members, oauth, standing
from fastness.access import records as people
from fastness.access.decisions import Policies
from fastness.access.directory import groups, use
from fastness.access.reviews import records
from fastness.access.reviews.records import ItemRow, ReviewRow
from fastness.access.reviews.rights import Rights, Uses
from fastness.core.clock import SECOND, Instant, rfc3339, uuid7
from fastness.core.errors import Conflict, Corrupt, Forbidden, Invalid, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.identity import SYSTEM, PrincipalId, PrincipalKind, Role, Scope, TenantId
from fastness.foundation.storage import Reading, Records, Transaction, jobs

CLOSE, REMIND, EXPIRE = "access-review-close", "access-review-remind", "access-review-expire"
JOBS: Final = (CLOSE, REMIND, EXPIRE)
"""The kinds of jobs that `handle` does."""

SHORTEST_S, LONGEST_S = 3600.0, 90 * 86_400.0
LONGEST_KEPT_S = 366 * 86_400.0
_AT_ONCE: Final = 20
_LONGEST_REASON: Final = 500


class Kind(StrEnum):
    """What gives rights."""

    ROLE = "role"
    GROUP = "group"
    GRANT = "grant"
    KEY = "key"
    CLIENT = "client"


class Choice(StrEnum):
    """What is decided."""

    KEEP = "keep"
    REVOKE = "revoke"
    EXPIRE = "expire"


Review = ReviewRow
Item = ItemRow


class _Payload(msgspec.Struct, frozen=True):
    review: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a campaign is; `waiting` counts what each reviewer can still decide."""

    total: int
    decided: int
    by_choice: dict[str, int]
    waiting: dict[PrincipalId, int]
    overdue: bool


def start(
    tx: Transaction, policies: Policies, name: str, reviewers: frozenset[PrincipalId], deadline: Instant
) -> Review:
    """A campaign over everything that gives rights in the tenant now.

    Raises:
        Invalid: `review-name`, `review-deadline`, `review-reviewers` (they are persons, and nobody is left alone with
            what is their own), or `review-empty`.
        NotFound, Conflict: a reviewer is not there or not active.
    """
    if not 0 < len(name.strip()) <= 128 or not name.isprintable():
        raise Invalid("review-name", "a review's name is 1 to 128 printable characters")
    if not SHORTEST_S * SECOND <= deadline - tx.now <= LONGEST_S * SECOND:
        raise Invalid("review-deadline", "the deadline is between an hour and 90 days from now")
    if not reviewers or any(members.active_principal(tx, one).kind is not PrincipalKind.USER for one in reviewers):
        raise Invalid("review-reviewers", "reviewers are persons, at least one")
    items = [item._replace(number=number) for number, item in enumerate(_items(tx, policies), 1)]
    if not items:
        raise Invalid("review-empty", "nothing gives rights here")
    if len(reviewers) == 1 and any(item.principal in reviewers for item in items):
        hint = "Name a second reviewer: nobody decides about their own."
        raise Invalid("review-reviewers", "the only reviewer holds rights too", hint)
    row = ReviewRow(uuid7(tx.now, tx.events.entropy), name, tx.scope.principal, tx.now, deadline, None)
    records.add_review(tx, row, reviewers, items)
    details: dict[str, Detail] = {"items": len(items), "deadline": deadline, "reviewers": " ".join(sorted(reviewers))}
    tx.emit(tx.events.make(EventKind.REVIEW_STARTED, f"review:{row.id}", details=details))
    remind_at = Instant(deadline - (deadline - tx.now) // 5)
    for kind, at in ((CLOSE, deadline), (REMIND, remind_at)):
        tx.enqueue(jobs.Job(f"{kind}:{row.id}", kind, msgspec.json.encode(_Payload(row.id)), at))
    return row


def decide(  # which one, and what about it
    tx: Transaction, review: str, number: int, choice: Choice, reason: str, ends_at: Instant | None = None
) -> Item:
    """Decide about one item, in the scope of a reviewer; the item as it is now. A `keep` may be thought over.

    Args:
        reason: 1 to 500 characters; it is kept, and stands in the report.
        ends_at: for `expire`.

    Raises:
        NotFound: no such review or item in the tenant.
        Forbidden: `review-own`, it is the reviewer's own; `review-reviewer`, they are not one.
        Conflict: `review-closed`, `review-decided`, or this would leave no administrator.
        Invalid: `review-reason` or `review-ends`.
    """
    row, item = one(tx, review), _item(tx, review, number)
    me = tx.scope.principal
    if me == item.principal:
        raise Forbidden("review-own", "nobody reviews their own rights", "Let another reviewer decide.")
    if me not in records.find_reviewers(tx, review) or not members.active_principal(tx, me).active:
        raise Forbidden("review-reviewer", "only its reviewers decide in a review")
    if row.closed_at is not None or row.deadline <= tx.now:
        raise Conflict("review-closed", "the review is over")
    if item.decision not in {None, Choice.KEEP}:
        raise Conflict("review-decided", "it is decided already")
    if not 0 < len(reason.strip()) <= _LONGEST_REASON:
        raise Invalid("review-reason", f"a reason is needed, of up to {_LONGEST_REASON} characters", "Say why.")
    if (choice is Choice.EXPIRE) != (ends_at is not None):
        raise Invalid("review-ends", "what expires has an end, and nothing else has")
    if ends_at is not None and not tx.now < ends_at <= tx.now + LONGEST_KEPT_S * SECOND:
        raise Invalid("review-ends", "the end is in the future, at most a year from now")
    decided = item._replace(decision=choice.value, reason=reason, decided_by=me, decided_at=tx.now, ends_at=ends_at)
    return _settle(tx, review, decided)


def _settle(tx: Transaction, review: str, decided: Item) -> Item:
    """Carry out what was decided, and write it."""
    if decided.decision == Choice.REVOKE:
        _revoke(tx, decided)
        decided = decided._replace(applied_at=tx.now)
    elif (ends_at := decided.ends_at) is not None:
        if decided.kind == Kind.KEY:
            decided = decided._replace(applied_at=tx.now)
            _end_key(tx, decided.subject, ends_at)
        else:
            payload = msgspec.json.encode(_Payload(review, decided.number))
            tx.enqueue(jobs.Job(f"{EXPIRE}:{review}:{decided.number}:{ends_at}", EXPIRE, payload, ends_at))
    records.put_item(tx, review, decided)
    _note(tx, review, decided)
    return decided


def handle(rows: Records, job: jobs.Job, now: Instant) -> None:
    """Do a job of `JOBS`; the caller marks it done. At least once is enough, and so is more.

    Raises:
        Corrupt: it is none of ours.
    """
    try:
        payload = msgspec.json.decode(job.payload, type=_Payload)
    except msgspec.MsgspecError as error:
        raise Corrupt("job-changed", "a job of the reviews is none") from error
    scope = Scope(TenantId(job.tenant), SYSTEM)
    if job.kind == CLOSE:
        while close_some(rows, scope, payload.review, now):
            pass
        return
    with rows.begin(scope, now) as tx:
        if job.kind == REMIND:
            _remind(tx, payload.review)
        elif job.kind == EXPIRE:
            _expire(tx, payload)


def close_some(rows: Records, scope: Scope, review: str, now: Instant) -> bool:
    """Revoke some of what is undecided after the deadline, and close the review when nothing is; whether more is left."""
    with rows.begin(scope, now) as tx:
        row = one(tx, review)
        if row.closed_at is not None or row.deadline > tx.now:
            return False
        undecided = records.find_items(tx, review, undecided=True, limit=_AT_ONCE)
        for item in undecided:
            _revoke_undecided(tx, review, item)
        if undecided:
            return True
        records.mark_closed(tx, review)
        chosen = Counter(item.decision for item in records.find_items(tx, review))
        details: dict[str, Detail] = {str(choice): count for choice, count in sorted(chosen.items(), key=str)}
        tx.emit(tx.events.make(EventKind.REVIEW_CLOSED, f"review:{review}", details=details))
    return False


def _revoke_undecided(tx: Transaction, review: str, item: Item) -> None:
    decided = item._replace(decision=Choice.REVOKE.value, reason="undecided", decided_by=SYSTEM, decided_at=tx.now)
    try:
        _settle(tx, review, decided)
    except Conflict as error:
        if error.code != "last-administrator":
            raise
        kept = decided._replace(decision=Choice.KEEP.value, reason="last-administrator")
        records.put_item(tx, review, kept)
        _note(tx, review, kept)


def _expire(tx: Transaction, payload: _Payload) -> None:
    item = _item(tx, payload.review, payload.number)
    if item.decision != Choice.EXPIRE or item.applied_at is not None or (item.ends_at or 0) > tx.now:
        return
    try:
        _revoke(tx, item)
    except Conflict as error:
        if error.code != "last-administrator":
            raise
        item = item._replace(decision=Choice.KEEP.value, reason="last-administrator")
    item = item._replace(applied_at=tx.now)
    records.put_item(tx, payload.review, item)
    _note(tx, payload.review, item)


def _remind(tx: Transaction, review: str) -> None:
    row = one(tx, review)
    found = progress(tx, review)
    if row.closed_at is None and found.decided < found.total:
        waiting = " ".join(sorted(who for who, count in found.waiting.items() if count))
        details: dict[str, Detail] = {"open": found.total - found.decided, "waiting": waiting}
        tx.emit(tx.events.make(EventKind.REVIEW_STARTED, f"review:{review}", reason="reminder", details=details))


def reviews(reading: Reading) -> list[Review]:
    """The campaigns of the tenant, oldest first."""
    return records.find_reviews(reading)


def one(reading: Reading, review: str) -> Review:
    """A campaign. Raises NotFound."""
    found = records.find_reviews(reading, review)
    if not found:
        raise NotFound("review-unknown", f"there is no review {review[:36]!r}")
    return found[0]


def items(reading: Reading, review: str) -> list[Item]:
    """What is decided in a campaign. Raises NotFound."""
    one(reading, review)
    return records.find_items(reading, review)


def progress(reading: Reading, review: str) -> Progress:
    """How far a campaign is. Raises NotFound."""
    row, found = one(reading, review), items(reading, review)
    still = [item for item in found if item.decision is None]
    waiting = {
        reviewer: sum(1 for item in still if item.principal != reviewer)
        for reviewer in sorted(records.find_reviewers(reading, review))
    }
    chosen = Counter(item.decision for item in found if item.decision is not None)
    return Progress(
        len(found), len(found) - len(still), dict(chosen), waiting, bool(still) and row.closed_at is not None
    )


def report(reading: Reading, review: str) -> list[dict[str, str]]:
    """A campaign as rows of text, for export. Raises NotFound."""

    def at(instant: Instant | None) -> str:
        return "" if instant is None else rfc3339(instant)

    return [
        {
            "number": str(item.number), "kind": item.kind, "principal": item.principal, "subject": item.subject,
            "shown": item.shown, "last_used": at(item.last_used_at), "decision": item.decision or "",
            "reason": item.reason, "decided_by": item.decided_by, "decided_at": at(item.decided_at),
            "ends_at": at(item.ends_at), "applied_at": at(item.applied_at),
        }
        for item in items(reading, review)
    ]  # fmt: skip


def _items(tx: Transaction, policies: Policies) -> Iterator[Item]:
    uses = Uses(use.last_uses(tx), Rights(policies, tx.scope.tenant, tx.now))
    everybody = people.find_principals(tx)
    yield from _held(tx, everybody.values(), uses)
    for key in people.find_keys(tx):
        if not key.revoked and key.expires_at > tx.now and everybody[key.principal].active:
            yield ItemRow(0, Kind.KEY, key.principal, key.key_id, key.name, uses.of_key(key.principal, key.key_id))
    for client in oauth.clients.find_clients(tx):
        if not client.disabled:
            owner = client.principal or PrincipalId("")
            yield ItemRow(0, Kind.CLIENT, owner, client.client_id, client.name, uses.of_client(client.client_id))


def _held(reading: Reading, everybody: Iterable[people.PrincipalRow], uses: Uses) -> Iterator[Item]:
    named = {group.id: group for group in people.find_groups(reading)}
    for row in everybody:
        if not row.active:
            continue
        for role in sorted(row.direct):
            yield ItemRow(0, Kind.ROLE, row.id, role, role, uses.of_roles(row.id, row.kind, frozenset({role})))
        for group in sorted(row.groups):
            last = uses.of_roles(row.id, row.kind, named[group].roles)
            yield ItemRow(0, Kind.GROUP, row.id, group, named[group].name, last)
        for grant in sorted(row.grants):
            shown = f"{grant.role} of {grant.model}"
            yield ItemRow(
                0, Kind.GRANT, row.id, f"{grant.role} {grant.model}", shown, uses.of_grant(row.id, row.kind, grant)
            )


def _item(reading: Reading, review: str, number: int) -> Item:
    one(reading, review)
    found = records.find_items(reading, review, number)
    if not found:
        raise NotFound("review-item-unknown", "there is no such item in the review")
    return found[0]


def _revoke(tx: Transaction, item: Item) -> None:
    """Take away what the item names, if it is there still. Raises Conflict where no administrator would be left."""
    try:
        match item.kind:
            case Kind.ROLE:
                held = members.active_principal(tx, item.principal).direct
                if item.subject in held:
                    standing.set_roles(tx, item.principal, held - {Role(item.subject)})
            case Kind.GROUP:
                source = groups.one_group(tx, item.subject, None).source
                groups.remove_member(tx, item.subject, item.principal, source)
            case Kind.GRANT:
                role, _, model = item.subject.partition(" ")
                groups.withdraw(tx, item.principal, Role(role), model)
            case Kind.KEY:
                _require_other_key(tx, item)
                members.revoke_key(tx, item.subject)
            case Kind.CLIENT:
                oauth.clients.disable_client(tx, item.subject)
    except NotFound:
        return  # it went by itself
    except Conflict as error:
        if error.code not in {"key-revoked", "client-disabled", "principal-inactive"}:
            raise


def _require_other_key(tx: Transaction, item: Item) -> None:
    """Raises Conflict where it is the last key of the last administrator."""
    admins = [row.id for row in people.find_principals(tx).values() if row.active and Role.ADMINISTRATOR in row.roles]
    if admins != [item.principal]:
        return
    live = [key for key in people.find_keys(tx) if key.principal == item.principal and key.expires_at > tx.now]
    if not any(key.key_id != item.subject and not key.revoked for key in live):
        raise Conflict("last-administrator", "this is the last key of the last administrator")


def _end_key(tx: Transaction, key_id: str, ends_at: Instant) -> None:
    key = members.one_key(tx, key_id)
    if ends_at < key.expires_at and people.put_expiry(tx, key_id, ends_at):
        tx.touch(members.TOPIC)


def _note(tx: Transaction, review: str, item: Item) -> None:
    details: dict[str, Detail] = {
        "item": item.number, "kind": item.kind, "principal": item.principal, "subject": item.subject,
        "decision": item.decision or "",
    }  # fmt: skip
    reason = item.reason if item.decided_by == SYSTEM or item.reason == "last-administrator" else ""
    tx.emit(tx.events.make(EventKind.REVIEW_DECIDED, f"review:{review}", reason=reason, details=details))
