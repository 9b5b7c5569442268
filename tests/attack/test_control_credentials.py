"""Attack on the control plane with valid credentials: more than they were given, and what is somebody else's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fastness.core.events import EventKind
from fastness.core.identity import PrincipalId, Scope, TenantId
from tests.unit.interfaces.api.town import Town, founded


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory(prefix="fastness-review-") as folder, founded(Path(folder) / "home") as made:
        yield made


def new_key(town: Town, who: str, owner: str, rate: float) -> tuple[int, bytes]:
    asked = {"principal": owner, "name": "more", "per_s": rate, "burst": rate, "days": 1}
    answer = town.ask(who, "POST", "/api/v1/keys", msgspec.json.encode(asked))
    return answer.status, answer.body


def test_nobody_gives_themselves_a_higher_rate(town: Town) -> None:
    """The limit of a key is for its owner to choose, up to what the house allows."""
    town.enrol("greedy", ("developer",))
    status, _ = new_key(town, "greedy", "user:greedy", 1e300)
    assert status in {400, 403}


def test_a_proof_does_not_show_the_entry_of_another_tenant(town: Town) -> None:
    town.enrol("watcher", ("auditor",))
    stranger = Scope(TenantId("other"), PrincipalId("user:stranger"))
    town.house.record(stranger, lambda events: events.make(EventKind.ACCESS_DENIED, "secret:theirs"))
    town.house.settle()
    index = town.house.ledger.checkpoint().size - 1
    answer = town.ask("watcher", "GET", f"/api/v1/audit/proofs/{index}")
    assert b"secret:theirs" not in answer.body


def test_a_refused_enrolment_is_recorded(town: Town) -> None:
    """The only door without a key: who tries codes there leaves a trace."""
    before = len(town.events(EventKind.ACCESS_DENIED))
    pem = next(iter(town.signers.values())).public_pem.decode()
    answer = town.ask("", "POST", "/api/v1/enrolments", msgspec.json.encode({"code": "fse_guess", "public_pem": pem}))
    assert answer.status == 401
    town.house.settle()
    assert len(town.events(EventKind.ACCESS_DENIED)) == before + 1


def test_a_narrowed_key_makes_no_wider_one(town: Town) -> None:
    """Narrowed to making keys, it makes none with everything that its owner's roles permit."""
    town.enrol("narrowed", ("developer",))
    _, body = new_key(town, "narrowed", "user:narrowed", 5)
    key = msgspec.json.decode(body)
    town.keys["thin"] = key["api_key"]
    asked = msgspec.json.encode({"actions": ["key.create"]})
    assert town.ask("narrowed", "PUT", f"/api/v1/keys/{key['key_id']}/actions", asked).status == 204
    assert town.ask("thin", "GET", "/api/v1/models/").status == 403
    status, body = new_key(town, "thin", "user:narrowed", 5)
    if status == 201:
        town.keys["thick"] = msgspec.json.decode(body)["api_key"]
        assert town.ask("thick", "GET", "/api/v1/models/").status == 403
