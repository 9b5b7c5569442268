"""Who can write the database, and has no key ring: rows of clients, codes, tokens, devices, providers and identities.

Success rate of the attacks below: 0. Each row that gives rights is sealed; one that was changed, moved or made is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Table, select, update

from fastness.access import federation
from fastness.access.federation.discovery import Endpoints
from fastness.access.federation.tables import FEDERATION_IDENTITY, FEDERATION_LOGIN, FEDERATION_PROVIDER
from fastness.access.oauth import clients
from fastness.access.oauth.clients import CLI
from fastness.access.oauth.tables import OAUTH_CLIENT, OAUTH_CODE, OAUTH_DEVICE, OAUTH_FAMILY, OAUTH_REFRESH
from fastness.core.errors import Corrupt
from fastness.core.events import EventKind
from fastness.core.identity import PrincipalId, Strength
from fastness.foundation.crypto import Purpose, SealedKeyRing
from fastness.foundation.storage import SqliteRecords
from tests.unit.access.authority import Authority
from tests.unit.access.federated import Gate
from tests.unit.access.house import ADMIN


def sealed() -> dict[str, Any]:
    ring = SealedKeyRing.in_memory(os.urandom)
    records = SqliteRecords(":memory:", os.urandom, seal=ring.mac(Purpose.ROWS))
    records.create_all()
    return {"ring": ring, "records": records}


@pytest.fixture
def house() -> Iterator[Authority]:
    made = Authority(**sealed())
    yield made
    made.records.close()


def forge(house: Authority | Gate, table: Table, **values: object) -> None:
    with house.begin() as tx:
        assert tx.execute(update(table).values(**values)).count
        tx.emit(tx.events.make(EventKind.ACCESS_ALLOWED))


def test_what_the_house_wrote_is_taken(house: Authority) -> None:
    body = house.login()
    assert house.refreshed(body["refresh_token"]).status == 200
    started = house.device()
    house.let_in(started["user_code"])
    assert house.polled(started["device_code"]).status == 200
    with house.begin() as tx:
        clients.disable_client(tx, house.app.client_id)
    assert house.redeem("x").body["error"] == "invalid_client"


FORGED: dict[str, tuple[Table, dict[str, object]]] = {
    "a code for somebody else": (OAUTH_CODE, {"principal": "service:robot"}),
    "a code for more": (OAUTH_CODE, {"scope": "keyring.rotate"}),
    "a code that lives on": (OAUTH_CODE, {"expires_at": 1 << 62}),
    "a code of a stronger login": (OAUTH_CODE, {"strength": 3}),
    "a client with another address": (OAUTH_CLIENT, {"redirects": "https://evil.example/"}),
    "a client with more": (OAUTH_CLIENT, {"scope": "keyring.rotate"}),
    "a client that acts as a service": (OAUTH_CLIENT, {"principal": "service:robot"}),
}


@pytest.mark.parametrize(("table", "values"), FORGED.values(), ids=FORGED)
def test_codes_and_clients(house: Authority, table: Table, values: dict[str, object]) -> None:
    code = house.code()
    forge(house, table, **values)
    with pytest.raises(Corrupt, match="access-forged"):
        house.redeem(code)


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (OAUTH_FAMILY, {"principal": "service:robot"}),
        (OAUTH_FAMILY, {"scope": "keyring.rotate"}),
        (OAUTH_FAMILY, {"thumbprint": "other"}),
        (OAUTH_FAMILY, {"expires_at": 1 << 62}),
        (OAUTH_REFRESH, {"expires_at": 1 << 62}),
    ],
)
def test_refresh_tokens(house: Authority, table: Table, values: dict[str, object]) -> None:
    body = house.login()
    forge(house, table, **values)
    with pytest.raises(Corrupt, match="access-forged"):
        house.refreshed(body["refresh_token"])


def test_a_refresh_token_is_not_moved_to_another_family(house: Authority) -> None:
    mine = house.login()
    before = families(house)
    house.login()
    other = (families(house) - before).pop()
    forge(house, OAUTH_REFRESH, family=other)
    with pytest.raises(Corrupt, match="access-forged"):
        house.refreshed(mine["refresh_token"])


def families(house: Authority) -> set[str]:
    with house.records.read(ADMIN) as reading:
        return {row.id for row in reading.execute(select(OAUTH_FAMILY))}


def test_a_revoked_family_and_a_disabled_client_do_not_come_back(house: Authority) -> None:
    body = house.login()
    house.refreshed(body["refresh_token"])
    house.refreshed(body["refresh_token"])  # reuse: revoked
    forge(house, OAUTH_FAMILY, revoked_at=None)
    with pytest.raises(Corrupt):
        house.refreshed(body["refresh_token"])
    with house.begin() as tx:
        clients.disable_client(tx, house.robot.client_id)
    forge(house, OAUTH_CLIENT, disabled_at=None)
    with pytest.raises(Corrupt):
        house.as_robot()


def test_a_device_is_not_let_in_by_a_row(house: Authority) -> None:
    started = house.device()
    forge(house, OAUTH_DEVICE, state="approved", principal="user:alice", strength=4)
    with pytest.raises(Corrupt, match="access-forged"):
        house.polled(started["device_code"], client_id=CLI)


def test_a_provider_is_not_settled_by_a_row() -> None:
    gate = Gate(**sealed())
    gate.settle("https://provider.example")
    gate.known()
    forge(gate, FEDERATION_PROVIDER, document=gate_document(gate).replace("provider.example", "evil.example"))
    with pytest.raises(Corrupt, match="access-forged"):
        gate.known()
    gate.records.close()


def gate_document(gate: Gate) -> str:
    with gate.records.read(ADMIN) as reading:
        return str(next(iter(reading.execute(select(FEDERATION_PROVIDER)))).document)


def test_an_identity_is_not_linked_by_a_row() -> None:
    gate = Gate(**sealed())
    provider = gate.settle("https://provider.example")
    gate.person("root")
    proven = federation.Proven(
        gate.known(), "subject-of-alice", Strength.PASSWORD, gate.clock.now(), "/", {"sub": "subject-of-alice"}
    )
    assert gate.admitted(proven).principal.id == "user:alice"
    forge(gate, FEDERATION_IDENTITY, principal=PrincipalId("user:root"))
    with pytest.raises(Corrupt, match="access-forged"):
        gate.admitted(proven)
    assert provider.issuer == "https://provider.example"
    gate.records.close()


def test_a_login_under_way_is_not_moved() -> None:
    gate = Gate(**sealed())
    gate.settle("https://provider.example")
    known = gate.known()
    endpoints = Endpoints("https://provider.example/a", "https://provider.example/t", "https://x/", names_itself=False)
    with gate.begin() as tx:
        begun = gate.federation.begin(tx, known, endpoints)
    state = begun.location.partition("state=")[2].partition("&")[0]
    forge(gate, FEDERATION_LOGIN, return_to="//evil.example")
    with pytest.raises(Corrupt, match="access-forged"):
        gate.resumed({"code": "code", "state": state}, begun.browser)
    gate.records.close()
