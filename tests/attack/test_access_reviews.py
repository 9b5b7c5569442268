"""Keeping what should go, taking what should stay: reviews of oneself, of other tenants, after the deadline, killed half-way.

Success rate: 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fastness.access import Policies, authenticate, records, standing
from fastness.access.directory import groups
from fastness.access.reviews import JOBS, campaigns, handle
from fastness.access.reviews.campaigns import Choice, Item, Kind
from fastness.core.clock import Instant, later
from fastness.core.errors import Conflict, FastnessError, Forbidden, Invalid, NotFound, Unauthenticated
from fastness.core.events import EventKind
from fastness.core.identity import SYSTEM, Grant, PrincipalId, PrincipalKind, Role, Scope
from fastness.foundation.storage import Transaction
from fastness.foundation.storage.jobs import Jobs
from tests.unit.access.house import ADMIN, START, TENANT, Person
from tests.unit.access.sealed import ACME, SealedHouse

DAY = 86_400.0
POLICIES = Policies.shipped()


class ReviewHouse(SealedHouse):
    """People with something of each kind, and two who review."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.root = self.person("root", Role.ADMINISTRATOR)
        self.olga = self.person("olga", Role.SECURITY_OFFICER)
        self.alice = self.person("alice", Role.PUBLISHER)
        self.group_id = self.group("Readers", {Role.VIEWER}, self.alice)
        with self.begin() as tx:
            groups.grant(tx, self.alice.id, Role.OPERATOR, "digits")

    def begun(self, *reviewers: Person, days: float = 10) -> campaigns.Review:
        with self.begin() as tx:
            people = frozenset(person.id for person in reviewers or (self.root, self.olga))
            return campaigns.start(tx, POLICIES, "Third quarter", people, later(tx.now, days * DAY))

    def items(self, review: campaigns.Review) -> list[Item]:
        with self.records.read(ADMIN) as reading:
            return campaigns.items(reading, review.id)

    def item(self, review: campaigns.Review, kind: str, principal: str) -> Item:
        return next(i for i in self.items(review) if (i.kind, i.principal) == (kind, principal))

    def decide(self, review: campaigns.Review, by: Person | Scope, item: Item, choice: Choice, **more: Any) -> Item:
        scope = by if isinstance(by, Scope) else Scope(TENANT, by.id)
        with self.begin(scope) as tx:
            return campaigns.decide(tx, review.id, item.number, choice, more.pop("reason", "needed"), **more)

    def work(self) -> int:
        """Do every job that is due."""
        jobs, done = Jobs(self.records), 0
        while (job := jobs.lease(JOBS, 60, self.clock.now())) is not None:
            handle(self.records, job, self.clock.now())
            with self.begin() as tx:
                jobs.done(tx, job)
            done += 1
        return done


@pytest.fixture
def house() -> Iterator[ReviewHouse]:
    made = ReviewHouse()
    yield made
    made.records.close()


def refused(act: Callable[[], object], code: str, kind: type[FastnessError]) -> None:
    with pytest.raises(kind) as caught:
        act()
    assert caught.value.code == code


def test_everything_that_gives_rights_is_in_the_review(house: ReviewHouse) -> None:
    found = {(item.kind, item.principal, item.subject) for item in house.items(house.begun())}
    assert found == {
        (Kind.ROLE, "user:root", "administrator"), (Kind.ROLE, "user:olga", "security-officer"),
        (Kind.ROLE, "user:alice", "publisher"), (Kind.GROUP, "user:alice", house.group_id),
        (Kind.GRANT, "user:alice", "operator digits"), (Kind.KEY, "user:root", house.root.key.key_id),
        (Kind.KEY, "user:olga", house.olga.key.key_id), (Kind.KEY, "user:alice", house.alice.key.key_id),
    }  # fmt: skip


def test_nobody_reviews_their_own(house: ReviewHouse) -> None:
    review = house.begun()
    for kind in (Kind.ROLE, Kind.KEY):
        for person in (house.root, house.olga):
            item = house.item(review, kind, person.id)
            for choice in (Choice.KEEP, Choice.REVOKE):
                refused(lambda p=person, i=item, c=choice: house.decide(review, p, i, c), "review-own", Forbidden)
    refused(lambda: house.begun(house.root), "review-reviewers", Invalid)


def test_only_reviewers_decide(house: ReviewHouse) -> None:
    review = house.begun()
    item = house.item(review, Kind.ROLE, "user:root")
    refused(lambda: house.decide(review, house.alice, item, Choice.KEEP), "review-reviewer", Forbidden)
    refused(lambda: house.decide(review, Scope(TENANT, SYSTEM), item, Choice.KEEP), "review-reviewer", Forbidden)
    with house.begin() as tx:
        standing.deactivate(tx, house.olga.id)
    refused(lambda: house.decide(review, house.olga, item, Choice.KEEP), "principal-inactive", Conflict)
    house.person("robot", kind=PrincipalKind.SERVICE)
    with pytest.raises(Invalid), house.begin() as tx:
        reviewers = frozenset({house.root.id, PrincipalId("service:robot")})
        campaigns.start(tx, POLICIES, "x", reviewers, later(tx.now, DAY))


def test_reviews_of_other_tenants_do_not_exist(house: ReviewHouse) -> None:
    house.person("root", Role.ADMINISTRATOR, scope=ACME)
    review = house.begun()
    acts: list[Callable[[Transaction], object]] = [
        lambda tx: campaigns.decide(tx, review.id, 1, Choice.KEEP, "x"),
        lambda tx: campaigns.items(tx, review.id),
        lambda tx: campaigns.progress(tx, review.id),
        lambda tx: campaigns.report(tx, review.id),
        lambda tx: campaigns.start(tx, POLICIES, "x", frozenset({house.olga.id}), later(tx.now, DAY)),
    ]
    for act in acts:
        with pytest.raises(NotFound), house.begin(ACME) as tx:
            act(tx)
    with pytest.raises(NotFound):
        campaigns.close_some(house.records, ACME, review.id, later(START, 11 * DAY))
    with house.records.read(ACME) as reading:
        assert campaigns.reviews(reading) == []


def test_what_is_revoked_is_gone_at_once(house: ReviewHouse) -> None:
    review = house.begun()
    for kind in (Kind.ROLE, Kind.GROUP, Kind.GRANT, Kind.KEY):
        decided = house.decide(review, house.root, house.item(review, kind, "user:alice"), Choice.REVOKE)
        assert decided.applied_at == START
    alice = house.standing("user:alice")
    assert (alice.roles, alice.grants) == (set(), set())
    with pytest.raises(Unauthenticated):
        authenticate(f"Bearer {house.alice.key.text}".encode(), house.credentials(), START)
    item = house.item(review, Kind.ROLE, "user:alice")
    refused(lambda: house.decide(review, house.olga, item, Choice.KEEP), "review-decided", Conflict)


def test_what_is_undecided_is_revoked_at_the_deadline_but_for_the_last_administrator(house: ReviewHouse) -> None:
    review = house.begun()
    house.decide(review, house.root, house.item(review, Kind.GRANT, "user:alice"), Choice.KEEP)
    house.clock.advance(8 * DAY)
    assert house.work() == 1  # the reminder
    assert [event.reason for event in house.told(EventKind.REVIEW_STARTED)] == ["", "reminder"]
    assert house.standing("user:alice").roles == {Role.PUBLISHER, Role.VIEWER}
    house.clock.advance(2 * DAY)
    assert house.work() == 1
    alice, root = house.standing("user:alice"), house.standing("user:root")
    assert (alice.roles, alice.grants) == (set(), {Grant(Role.OPERATOR, "digits")})
    assert house.standing("user:olga").roles == set()
    assert root.roles == {Role.ADMINISTRATOR}
    assert authenticate(f"Bearer {house.root.key.text}".encode(), house.credentials(), START).principal.id == root.id
    kept = {(i.kind, i.principal): i.reason for i in house.items(review) if i.decision == Choice.KEEP}
    assert kept == {
        (Kind.GRANT, "user:alice"): "needed",
        (Kind.ROLE, "user:root"): "last-administrator",
        (Kind.KEY, "user:root"): "last-administrator",
    }
    (closed,) = house.told(EventKind.REVIEW_CLOSED)
    assert closed.details == {"keep": 3, "revoke": 5}
    item = house.item(review, Kind.GRANT, "user:alice")
    refused(lambda: house.decide(review, house.olga, item, Choice.REVOKE), "review-closed", Conflict)


def test_a_decision_after_the_deadline_is_none(house: ReviewHouse) -> None:
    review = house.begun()
    house.clock.advance(10 * DAY)
    item = house.item(review, Kind.ROLE, "user:alice")
    refused(lambda: house.decide(review, house.root, item, Choice.KEEP), "review-closed", Conflict)


def test_the_job_goes_on_where_it_was_killed_and_does_nothing_twice(
    house: ReviewHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaigns, "_AT_ONCE", 2)
    review = house.begun()
    late = later(START, 11 * DAY)
    scope = Scope(TENANT, SYSTEM)
    assert not campaigns.close_some(house.records, scope, review.id, START)  # too early
    assert campaigns.close_some(house.records, scope, review.id, late)  # killed here
    house.clock.advance(11 * DAY)
    (job,) = [j for j in _leased(house) if j.kind == campaigns.CLOSE]
    handle(house.records, job, house.clock.now())
    before = house.events()
    handle(house.records, job, house.clock.now())
    assert house.events() == before
    decided = [e.details["item"] for e in house.told(EventKind.REVIEW_DECIDED)]
    assert sorted(decided) == sorted(set(decided)) == list(range(1, 9))  # type: ignore[type-var]
    assert len(house.told(EventKind.REVIEW_CLOSED)) == 1


def _leased(house: ReviewHouse) -> list[Any]:
    jobs, found = Jobs(house.records), []
    while (job := jobs.lease(JOBS, 60, house.clock.now())) is not None:
        found.append(job)
    return found


def test_a_job_that_finds_its_things_gone_does_not_mind(house: ReviewHouse) -> None:
    review = house.begun()
    with house.begin() as tx:
        groups.delete_group(tx, house.group_id)
        groups.withdraw(tx, house.alice.id, Role.OPERATOR, "digits")
        standing.deactivate(tx, house.alice.id)
    house.clock.advance(11 * DAY)
    assert house.work() == 2
    assert {item.decision for item in house.items(review) if item.principal == "user:alice"} == {Choice.REVOKE}


def test_what_expires_ends_then_and_not_before(house: ReviewHouse) -> None:
    review = house.begun()
    ends = later(START, 30 * DAY)
    for kind in (Kind.ROLE, Kind.KEY):
        house.decide(review, house.root, house.item(review, kind, "user:alice"), Choice.EXPIRE, ends_at=ends)
    for kind in (Kind.GROUP, Kind.GRANT):
        house.decide(review, house.root, house.item(review, kind, "user:alice"), Choice.KEEP)
    key = f"Bearer {house.alice.key.text}".encode()
    assert authenticate(key, house.credentials(), Instant(ends - 1)).principal.id == "user:alice"
    with pytest.raises(Unauthenticated):
        authenticate(key, house.credentials(), ends)
    house.clock.advance(29 * DAY)
    house.work()
    assert Role.PUBLISHER in house.standing("user:alice").roles
    house.clock.advance(DAY)
    assert house.work() == 1
    assert Role.PUBLISHER not in house.standing("user:alice").roles


@pytest.mark.parametrize(
    ("choice", "more", "code"),
    [
        (Choice.KEEP, {"reason": " "}, "review-reason"),
        (Choice.KEEP, {"reason": "x" * 501}, "review-reason"),
        (Choice.EXPIRE, {}, "review-ends"),
        (Choice.EXPIRE, {"ends_at": START}, "review-ends"),
        (Choice.EXPIRE, {"ends_at": later(START, 400 * DAY)}, "review-ends"),
        (Choice.REVOKE, {"ends_at": later(START, DAY)}, "review-ends"),
    ],
)
def test_a_decision_has_its_reason_and_its_end(
    house: ReviewHouse, choice: Choice, more: dict[str, Any], code: str
) -> None:
    review = house.begun()
    item = house.item(review, Kind.ROLE, "user:alice")
    refused(lambda: house.decide(review, house.root, item, choice, **more), code, Invalid)
    assert house.item(review, Kind.ROLE, "user:alice").decision is None


def test_a_reviewer_does_not_remove_the_last_administrator(house: ReviewHouse) -> None:
    review = house.begun()
    for kind in (Kind.ROLE, Kind.KEY):
        item = house.item(review, kind, "user:root")
        refused(lambda i=item: house.decide(review, house.olga, i, Choice.REVOKE), "last-administrator", Conflict)
    with house.records.read(ADMIN) as reading:
        assert len([key for key in records.find_keys(reading) if not key.revoked]) == 3


def test_progress_and_report_tell_how_it_stands(house: ReviewHouse) -> None:
    review = house.begun()
    house.decide(review, house.root, house.item(review, Kind.ROLE, "user:alice"), Choice.KEEP, reason="on leave cover")
    with house.records.read(ADMIN) as reading:
        found, rows = campaigns.progress(reading, review.id), campaigns.report(reading, review.id)
    assert (found.total, found.decided, found.by_choice, found.overdue) == (8, 1, {"keep": 1}, False)
    assert found.waiting == {"user:olga": 5, "user:root": 5}
    assert len(rows) == 8
    (row,) = [row for row in rows if row["decision"]]
    assert (row["principal"], row["reason"], row["decided_by"], row["last_used"]) == (
        "user:alice", "on leave cover", "user:root", "",
    )  # fmt: skip
