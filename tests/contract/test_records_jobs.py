"""What jobs keep to, on every Records."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastness.core.clock import Instant, later, system_entropy
from fastness.core.errors import Conflict, Invalid
from fastness.core.events import EventKind, decode_event
from fastness.core.identity import PrincipalId, Scope, TenantId
from fastness.foundation.storage import Records, SqliteRecords
from fastness.foundation.storage.jobs import Job, Jobs

SCOPE = Scope(TenantId("acme"), PrincipalId("user:tester"))
NOW = Instant(1_700_000_000_000_000_000)


@pytest.fixture(params=["memory", "file"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    made = SqliteRecords(":memory:" if request.param == "memory" else tmp_path / "records.db", system_entropy)
    made.create_all()
    yield made
    made.close()


def enqueue(records: Records, *ids: str, kind: str = "sweep", at: Instant = NOW) -> None:
    with records.begin(SCOPE, NOW) as tx:
        for name in ids:
            tx.enqueue(Job(name, kind, name.encode(), at))
        tx.emit(tx.events.make(EventKind.HOME_CREATED))


def test_a_job_is_leased_once_with_its_tenant_and_removed_when_done(records: Records) -> None:
    enqueue(records, "a")
    jobs = Jobs(records)
    job = jobs.lease({"sweep"}, 10, NOW)
    assert job == Job("a", "sweep", b"a", NOW, "acme", 1)
    assert jobs.lease({"sweep"}, 10, NOW) is None
    with records.begin(SCOPE, NOW) as tx:  # what the job did may need no event
        jobs.done(tx, job)
    assert jobs.lease({"sweep"}, 10, later(NOW, 100)) is None


def test_kinds_and_times_are_kept_to_and_the_oldest_goes_first(records: Records) -> None:
    jobs = Jobs(records)
    enqueue(records, "late", at=later(NOW, 50))
    enqueue(records, "z", at=later(NOW, 1))
    enqueue(records, "y", at=later(NOW, 2))
    enqueue(records, "other", kind="other")
    assert jobs.lease({"sweep"}, 10, NOW) is None
    assert jobs.lease(set(), 10, NOW) is None
    first, second = (jobs.lease({"sweep"}, 100, later(NOW, 3)) for _ in range(2))
    assert (first and first.id, second and second.id) == ("z", "y")
    assert jobs.lease({"sweep"}, 10, later(NOW, 3)) is None


def test_a_lost_lease_fences_its_holder_off(records: Records) -> None:
    enqueue(records, "a")
    jobs = Jobs(records)
    old = jobs.lease({"sweep"}, 10, NOW)
    new = jobs.lease({"sweep"}, 10, later(NOW, 11))
    assert old
    assert new
    assert (old.attempt, new.attempt) == (1, 2)
    then = later(NOW, 12)
    with pytest.raises(Conflict) as caught:
        jobs.extend(old, 10, then)
    assert caught.value.code == "lease-lost"
    with pytest.raises(Conflict), records.begin(SCOPE, then) as tx:
        jobs.done(tx, old)
    with pytest.raises(Conflict), records.begin(SCOPE, then) as tx:
        jobs.fail(tx, old, "late", None)
    with records.begin(SCOPE, then) as tx:
        jobs.done(tx, new)


def test_an_extended_lease_holds(records: Records) -> None:
    enqueue(records, "a")
    jobs = Jobs(records)
    job = jobs.lease({"sweep"}, 10, NOW)
    assert job
    jobs.extend(job, 100, later(NOW, 9))
    assert jobs.lease({"sweep"}, 10, later(NOW, 50)) is None
    with records.begin(SCOPE, later(NOW, 60)) as tx:
        jobs.done(tx, job)


def test_a_failed_job_comes_again_or_is_given_up_and_says_so(records: Records) -> None:
    enqueue(records, "a")
    jobs = Jobs(records)
    job = jobs.lease({"sweep"}, 10, NOW)
    assert job
    with records.begin(SCOPE, NOW) as tx:
        jobs.fail(tx, job, "disk-away", later(NOW, 30))
    assert jobs.lease({"sweep"}, 10, later(NOW, 29)) is None
    job = jobs.lease({"sweep"}, 10, later(NOW, 30))
    assert job
    assert job.attempt == 2
    with records.begin(SCOPE, later(NOW, 31)) as tx:
        jobs.fail(tx, job, "disk-away", None)
    assert jobs.lease({"sweep"}, 10, later(NOW, 10_000_000)) is None
    records.outbox.number(None, 0, NOW)
    failures = [decode_event(row.data) for row in records.outbox.find("job.failed", "job:a", 10)]
    assert [(e.reason, e.details["retried"]) for e in failures] == [("disk-away", False), ("disk-away", True)]


def test_an_id_is_enqueued_once(records: Records) -> None:
    enqueue(records, "a")
    with pytest.raises(Conflict) as caught:
        enqueue(records, "a")
    assert caught.value.code == "record-exists"


def test_a_lease_of_no_time_is_refused(records: Records) -> None:
    with pytest.raises(Invalid):
        Jobs(records).lease({"sweep"}, 0, NOW)


def test_many_workers_get_each_job_once(records: Records) -> None:
    enqueue(records, *(f"{i:02}" for i in range(30)))
    jobs, got, lock = Jobs(records), [], threading.Lock()

    def work() -> None:
        while (job := jobs.lease({"sweep"}, 100, NOW)) is not None:
            with lock:
                got.append(job.id)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(got) == [f"{i:02}" for i in range(30)]
