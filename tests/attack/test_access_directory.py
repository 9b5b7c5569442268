"""Getting rights that nobody gave: forged rows, other tenants' ids, wider keys, the last administrator, SCIM by the back door.

Success rate: 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import insert, select, update

from fastness.access import authenticate, enrol, integrity, keys, principals, revoke_key, standing
from fastness.access import records as rows
from fastness.access.apikeys import PUBLIC_KEYS
from fastness.access.directory import groups, leaving, tenants
from fastness.access.login import sessions
from fastness.access.members import Bounds, KeyTerms, _code_digest, issue_key, rotate_key
from fastness.access.scim import filters
from fastness.access.scim.attributes import USERS
from fastness.access.tables import (
    API_KEY,
    ENROLMENT,
    GROUP,
    GROUP_MEMBER,
    MODEL_GRANT,
    PRINCIPAL,
    PRINCIPAL_ROLE,
    PUBLIC_KEY,
)
from fastness.core.clock import later
from fastness.core.errors import Conflict, Corrupt, FastnessError, Forbidden, NotFound, Unauthenticated
from fastness.core.events import EventKind, encode_event
from fastness.core.identity import SYSTEM_SCOPE, Action, Grant, PrincipalId, PrincipalKind, Role, Scope
from fastness.foundation.crypto import SoftwareSigner
from fastness.foundation.storage import Transaction
from tests.unit.access.house import ADMIN, START, TENANT
from tests.unit.access.sealed import ACME, ENTERPRISE, LIMIT, PATCH, USER, SealedHouse
from tests.unit.access.sealed import GROUP as GROUP_SCHEMA

MALLORY = PrincipalId("user:mallory")


@pytest.fixture
def house() -> Iterator[SealedHouse]:
    made = SealedHouse()
    yield made
    made.records.close()


def header(text: str) -> bytes:
    return f"Bearer {text}".encode()


def behind_the_back(house: SealedHouse, change: Callable[[Transaction], object]) -> None:
    with house.begin() as tx:
        change(tx)
        tx.emit(tx.events.make(EventKind.SERVER_STARTED))


def refused(act: Callable[[], object], code: str, kind: type[FastnessError] = FastnessError) -> None:
    with pytest.raises(kind) as caught:
        act()
    assert caught.value.code == code


# --- rows that somebody else wrote -------------------------------------------------------------------------------------


def forgeries(house: SealedHouse) -> dict[str, Callable[[Transaction], object]]:
    """Each gives `user:mallory` something, without the key ring."""
    root = house.person("root", Role.ADMINISTRATOR)
    mallory = house.person("mallory", Role.VIEWER)
    narrow = house.key(
        mallory, actions=frozenset({Action.MODEL_READ}), models=frozenset({"digits"}), networks=("10.0.0.0/8",)
    )
    house.group("Keepers of the house", {Role.ADMINISTRATOR}, root)
    plain = house.group("Readers", {Role.VIEWER}, mallory)
    own = {"tenant": TENANT, "principal": MALLORY}
    k, seal = API_KEY.c, b"\0" * 32
    with house.records.read(ADMIN) as reading:
        (keepers,) = (group.id for group in rows.find_groups(reading) if group.name.startswith("Keepers"))
        roots = reading.execute(select(PRINCIPAL_ROLE.c.seal)).first()
        mine = reading.execute(select(API_KEY).where(k.key_id == mallory.key.key_id)).first()
    assert roots is not None
    assert mine is not None
    member = {**own, "group_id": keepers, "added_at": START}
    return {
        "a role": lambda tx: tx.execute(insert(PRINCIPAL_ROLE).values(**own, role="administrator")),
        "a role with a seal of zeros": lambda tx: tx.execute(insert(PRINCIPAL_ROLE).values(**own, role="administrator", seal=seal)),
        "a role with another's seal": lambda tx: tx.execute(insert(PRINCIPAL_ROLE).values(**own, role="administrator", seal=roots.seal)),
        "another's role moved": lambda tx: tx.execute(update(PRINCIPAL_ROLE).where(PRINCIPAL_ROLE.c.role == "administrator").values(principal=MALLORY)),
        "one's own role changed": lambda tx: tx.execute(update(PRINCIPAL_ROLE).where(PRINCIPAL_ROLE.c.principal == MALLORY).values(role="administrator")),
        "a group joined": lambda tx: tx.execute(insert(GROUP_MEMBER).values(**member, seal=seal)),
        "one's membership moved to another group": lambda tx: tx.execute(update(GROUP_MEMBER).where(GROUP_MEMBER.c.principal == MALLORY).values(group_id=keepers)),
        "one's group raised": lambda tx: tx.execute(update(GROUP).where(GROUP.c.id == plain).values(roles="administrator")),
        "a role on a model": lambda tx: tx.execute(insert(MODEL_GRANT).values(**own, role="operator", model="digits", granted_by="user:root", granted_at=START)),
        "a narrow key widened": lambda tx: tx.execute(update(API_KEY).where(k.key_id == narrow.key_id).values(actions=None)),
        "its models opened": lambda tx: tx.execute(update(API_KEY).where(k.key_id == narrow.key_id).values(models=None)),
        "its networks opened": lambda tx: tx.execute(update(API_KEY).where(k.key_id == narrow.key_id).values(networks=None)),
        "a key made another's": lambda tx: tx.execute(update(API_KEY).where(k.key_id == mallory.key.key_id).values(principal=root.id)),
        "a key that does not end": lambda tx: tx.execute(update(API_KEY).where(k.key_id == mallory.key.key_id).values(expires_at=1 << 62)),
        "a key with a faster rate": lambda tx: tx.execute(update(API_KEY).where(k.key_id == mallory.key.key_id).values(per_s=1e9)),
        "another kind of principal": lambda tx: tx.execute(update(PRINCIPAL).where(PRINCIPAL.c.id == MALLORY).values(kind="service")),
        "an old key under the digest of one's own": lambda tx: tx.execute(
            update(API_KEY).where(k.principal == root.id).values(digest=b"\1" * 32)
        ),
        "a public key": lambda tx: tx.execute(insert(PUBLIC_KEY).values(tenant=TENANT, keyid="ab" * 32, principal=root.id, pem=b"x", enrolled_at=START)),
    }  # fmt: skip


def gained(house: SealedHouse) -> set[object]:
    """What anybody could do by the snapshot, as words that compare."""
    return {
        (r.principal, r.tenant, r.kind, roles, r.actions, r.models, grants, r.networks, r.expires_at, r.limit)
        for r in house.credentials().keys.values()
        if not r.revoked
        for roles in [r.roles]
        for grants in [r.grants]
    }


@pytest.mark.parametrize("number", range(18))
def test_a_row_without_the_key_ring_gives_nothing_and_is_reported(house: SealedHouse, number: int) -> None:
    name, forge = list(forgeries(house).items())[number]
    before = gained(house)
    behind_the_back(house, forge)
    after = gained(house)
    for key in after - before:  # what is left out only ever takes away
        assert any(key[0] == old[0] and key[3] <= old[3] and key[4:] == old[4:] for old in before), name  # type: ignore[index]
    assert all(key[0] != MALLORY or Role.ADMINISTRATOR not in key[3] for key in after), name  # type: ignore[index]
    integrity.Watch(house.records).look(house.clock.now())
    with house.records.read(ADMIN) as reading:
        found = integrity.findings(reading)
    assert found[0].rule == "access-row-forged", name
    assert {finding.rule for finding in found[1:]} <= {"access-rows-doubtful"}, name
    reasons = [event.reason for event in house.told(EventKind.INTEGRITY_FAILED)]
    assert "access-forged" in reasons
    assert ("rows-doubtful" in reasons) == (len(found) > 1)
    with house.records.read(ADMIN) as reading:
        asked = (principals, keys, rows.find_groups, rows.find_members, rows.find_public_keys)
        with pytest.raises(Corrupt) as caught:
            for ask in asked:
                ask(reading)
    assert caught.value.code == "access-forged", name


def test_every_forgery_is_tried() -> None:
    house = SealedHouse()
    assert len(forgeries(house)) == 18
    house.records.close()


def test_a_planted_code_enrols_nobody(house: SealedHouse) -> None:
    root = house.person("root", Role.ADMINISTRATOR)
    values = {
        "code_digest": _code_digest("fse_planted"),
        "tenant": TENANT,
        "principal": root.id,
        "expires_at": later(START, 60),
    }
    behind_the_back(house, lambda tx: tx.execute(insert(ENROLMENT).values(**values, seal=b"\0" * 32)))
    signer = SoftwareSigner.create(lambda n: b"\7" * n)

    def redeem() -> None:
        with house.begin() as tx:
            enrol(tx, "fse_planted", signer.public_pem, house.pepper)

    refused(redeem, "access-forged", Corrupt)


def test_a_change_by_the_house_does_not_seal_what_somebody_else_wrote(house: SealedHouse) -> None:
    mallory = house.person("mallory", Role.VIEWER)
    narrow = house.key(mallory, actions=frozenset({Action.MODEL_READ}))
    behind_the_back(
        house, lambda tx: tx.execute(update(API_KEY).where(API_KEY.c.key_id == narrow.key_id).values(actions=None))
    )

    def revoke() -> None:
        with house.begin() as tx:
            revoke_key(tx, narrow.key_id)

    refused(revoke, "access-forged", Corrupt)


def test_rows_from_before_are_trusted_once_and_never_again(house: SealedHouse) -> None:
    house.person("root", Role.ADMINISTRATOR)
    mallory = house.person("mallory", Role.VIEWER)
    behind_the_back(
        house,
        lambda tx: [
            tx.execute(update(t).values(seal=None)) for t in (PRINCIPAL, PRINCIPAL_ROLE, API_KEY, PUBLIC_KEY, ENROLMENT)
        ],
    )
    assert house.credentials().keys == {}
    assert integrity.seal_once(house.records, house.ring, house.clock.now()) == 10
    assert len(house.credentials().keys) == 2
    forge = {"tenant": TENANT, "principal": mallory.id, "role": "administrator"}
    behind_the_back(
        house,
        lambda tx: [
            tx.execute(insert(PRINCIPAL_ROLE).values(**forge)),
            tx.execute(update(PRINCIPAL).values(seal=None)),
        ],
    )
    assert integrity.seal_once(house.records, house.ring, house.clock.now()) == 0
    assert house.credentials().keys == {}


def test_a_house_with_credentials_that_everybody_knows_does_not_start(house: SealedHouse) -> None:
    mallory = house.person("mallory", Role.ADMINISTRATOR)
    with house.records.read(SYSTEM_SCOPE) as reading:
        integrity.refuse_default_credentials(reading, house.pepper)
    (public,) = PUBLIC_KEYS
    behind_the_back(
        house,
        lambda tx: tx.execute(
            update(API_KEY).where(API_KEY.c.key_id == mallory.key.key_id).values(digest=house.pepper.digest(public))
        ),
    )
    with house.records.read(SYSTEM_SCOPE) as reading:
        refused(lambda: integrity.refuse_default_credentials(reading, house.pepper), "credentials-default", Conflict)


# --- keys --------------------------------------------------------------------------------------------------------------

FROM = {
    "10.1.2.3": True, "::ffff:10.1.2.3": True, "::ffff:a01:203": True, "2001:db8::7": True, "2001:db8::7%eth0": True,
    "11.1.2.3": False, "::ffff:11.1.2.3": False, "2001:db9::7": False, "::10.1.2.3": False, "10.1.2.3.4": False,
    "10.1.2": False, "010.1.2.3": False, "0x0a010203": False, "167838211": False, " 10.1.2.3": False, "10.1.2.3 ": False,
    "": False, "local": False, "127.0.0.1": False, "\x00": False, "10.1.2.3\x00": False, "testclient": False,
}  # fmt: skip


@pytest.mark.parametrize(("address", "allowed"), FROM.items())
def test_a_key_is_good_from_its_networks_alone(house: SealedHouse, address: str, allowed: bool) -> None:
    alice = house.person("alice", Role.VIEWER)
    key = house.key(alice, networks=("10.0.0.0/8", "2001:db8::/32"))
    credentials = house.credentials()
    if allowed:
        assert authenticate(header(key.text), credentials, START, address).bound
    else:
        with pytest.raises(Unauthenticated) as caught:
            authenticate(header(key.text), credentials, START, address)
        assert (caught.value.code, caught.value.audit_code) == ("key-unknown", "key-address")


def test_a_confined_key_is_refused_where_nobody_says_whence_it_comes(house: SealedHouse) -> None:
    key = house.key(house.person("alice"), networks=("0.0.0.0/0", "::/0"))
    with pytest.raises(Unauthenticated):
        authenticate(header(key.text), house.credentials(), START)
    assert authenticate(header(key.text), house.credentials(), START, "local").bound


def test_the_unix_socket_is_local(house: SealedHouse) -> None:
    four, six = (house.key(house.person(name), networks=(net,)) for name, net in (("a", "127.0.0.0/8"), ("b", "::1")))
    for key, address in itertools.product((four, six), ("", "local")):
        assert authenticate(header(key.text), house.credentials(), START, address).key_id == key.key_id


WIDER = {
    "all actions": (Bounds(actions=frozenset({Action.MODEL_READ})), {}),
    "another action": (Bounds(actions=frozenset({Action.MODEL_READ})), {"actions": frozenset({Action.MODEL_PUSH})}),
    "one action more": (
        Bounds(actions=frozenset({Action.MODEL_READ})), {"actions": frozenset({Action.MODEL_READ, Action.KEY_CREATE})},
    ),
    "all models": (Bounds(models=frozenset({"digits"})), {}),
    "another model": (Bounds(models=frozenset({"digits"})), {"models": frozenset({"faces"})}),
    "all addresses": (Bounds(networks=("10.0.0.0/8",)), {}),
    "a wider network": (Bounds(networks=("10.1.0.0/16",)), {"networks": ("10.0.0.0/8",)}),
    "another network": (Bounds(networks=("10.0.0.0/8",)), {"networks": ("10.2.0.0/16", "11.0.0.0/8")}),
    "the same network in another dress": (Bounds(networks=("10.0.0.0/8",)), {"networks": ("::/0",)}),
}  # fmt: skip


@pytest.mark.parametrize("name", WIDER)
def test_a_key_is_never_wider_than_the_credential_that_makes_it(house: SealedHouse, name: str) -> None:
    bounds, terms = WIDER[name]
    alice = house.person("alice", Role.ADMINISTRATOR)

    def make() -> None:
        with house.begin() as tx:
            issue_key(tx, alice.id, KeyTerms(LIMIT, later(START, 60), **terms), bounds, house.pepper)  # type: ignore[arg-type]

    refused(make, "key-wider", Forbidden)
    wide = house.key(alice)

    def rotate() -> None:
        with house.begin() as tx:
            rotate_key(tx, wide.key_id, 60, bounds, house.pepper)

    refused(rotate, "key-wider", Forbidden)
    with house.records.read(ADMIN) as reading:
        assert len(keys(reading)) == 2


def test_a_rotated_key_dies_and_has_one_successor(house: SealedHouse) -> None:
    alice = house.person("alice", Role.VIEWER)
    old = house.key(alice, actions=frozenset({Action.MODEL_READ}), networks=("10.0.0.0/8",))
    with house.begin() as tx:
        new = rotate_key(tx, old.key_id, 3600, Bounds(), house.pepper)
    both = house.credentials()
    for key in (old, new):
        found = authenticate(header(key.text), both, later(START, 3599), "10.0.0.1")
        assert found.principal.actions == {Action.MODEL_READ}
    with pytest.raises(Unauthenticated):
        authenticate(header(old.text), both, later(START, 3600), "10.0.0.1")

    def again(key_id: str = old.key_id, overlap: float = 60) -> None:
        with house.begin() as tx:
            rotate_key(tx, key_id, overlap, Bounds(), house.pepper)

    refused(again, "key-not-rotated", Conflict)  # a thief of the old key cannot branch off
    refused(lambda: again(new.key_id, 7 * 86_400 + 1), "key-overlap")
    refused(lambda: again(new.key_id, -1), "key-overlap")
    refused(lambda: again(new.key_id, float("nan")), "key-overlap")
    with house.begin() as tx:
        revoke_key(tx, new.key_id)
    refused(lambda: again(new.key_id), "key-not-rotated", Conflict)
    assert [event.details["successor"] for event in house.told(EventKind.KEY_ROTATED)] == [new.key_id]


# --- the last administrator --------------------------------------------------------------------------------------------


def endings(house: SealedHouse) -> dict[str, Callable[[Transaction], object]]:
    root = house.person("root", Role.ADMINISTRATOR)
    grouped = house.person("grouped")
    group = house.group("Keepers", {Role.ADMINISTRATOR}, grouped)
    with house.begin() as tx:
        standing.set_roles(tx, root.id, frozenset())  # the group's member is the last one now
    return {
        "deactivated": lambda tx: standing.deactivate(tx, grouped.id),
        "leaves": lambda tx: leaving.leave(tx, grouped.id, "x"),
        "taken out of the group": lambda tx: groups.remove_member(tx, group, grouped.id),
        "all taken out": lambda tx: groups.set_members(tx, group, frozenset(), groups.HOUSE),
        "the group stripped": lambda tx: groups.change_group(tx, group, roles=frozenset({Role.VIEWER})),
        "the group removed": lambda tx: groups.delete_group(tx, group),
    }


@pytest.mark.parametrize("number", range(6))
def test_the_last_administrator_stays(house: SealedHouse, number: int) -> None:
    name, end = list(endings(house).items())[number]

    def act() -> None:
        with house.begin() as tx:
            end(tx)

    refused(act, "last-administrator", Conflict)
    assert Role.ADMINISTRATOR in house.standing("user:grouped").roles, name
    house.person("second", Role.ADMINISTRATOR)
    act()


def test_an_inactive_administrator_is_none(house: SealedHouse) -> None:
    root, other = house.person("root", Role.ADMINISTRATOR), house.person("other", Role.ADMINISTRATOR)
    with house.begin() as tx:
        standing.deactivate(tx, other.id)

    def act() -> None:
        with house.begin() as tx:
            standing.set_roles(tx, root.id, frozenset({Role.VIEWER}))

    refused(act, "last-administrator", Conflict)


# --- other tenants -----------------------------------------------------------------------------------------------------


def test_no_id_of_another_tenant_is_reached(house: SealedHouse) -> None:
    house.person("root", Role.ADMINISTRATOR)
    alice = house.person("alice", Role.VIEWER)
    house.person("carol", Role.ADMINISTRATOR, scope=ACME)
    group = house.group("Readers", {Role.VIEWER}, alice)
    with house.begin() as tx:
        groups.grant(tx, alice.id, Role.OPERATOR, "digits")
    acts: list[Callable[[Transaction], object]] = [
        lambda tx: groups.add_member(tx, group, PrincipalId("user:carol")),
        lambda tx: groups.remove_member(tx, group, alice.id),
        lambda tx: groups.change_group(tx, group, roles=frozenset({Role.ADMINISTRATOR})),
        lambda tx: groups.delete_group(tx, group),
        lambda tx: groups.members(tx, group),
        lambda tx: groups.set_members(tx, group, frozenset(), groups.HOUSE),
        lambda tx: groups.grant(tx, alice.id, Role.OPERATOR, "faces"),
        lambda tx: groups.withdraw(tx, alice.id, Role.OPERATOR, "digits"),
        lambda tx: leaving.leave(tx, alice.id, "x"),
        lambda tx: leaving.take_back(tx, alice.id, "x"),
        lambda tx: rotate_key(tx, alice.key.key_id, 60, Bounds(), house.pepper),
        lambda tx: standing.set_roles(tx, alice.id, frozenset({Role.ADMINISTRATOR})),
    ]
    for act in acts:
        with pytest.raises(NotFound), house.begin(ACME) as tx:
            act(tx)
    here = house.standing("user:alice")
    assert (here.roles, here.grants, here.active) == ({Role.VIEWER}, {Grant(Role.OPERATOR, "digits")}, True)


def test_a_member_of_another_tenant_joins_no_group(house: SealedHouse) -> None:
    house.person("carol", scope=ACME)
    group = house.group("Readers", {Role.VIEWER})
    with pytest.raises(NotFound), house.begin() as tx:
        groups.set_members(tx, group, frozenset({PrincipalId("user:carol")}), groups.HOUSE)


def test_tenants_are_the_houses_own_business(house: SealedHouse) -> None:
    now = house.clock.now()
    for scope in (ACME, Scope(ACME.tenant, PrincipalId("system:fastness"))):
        refused(
            lambda s=scope: tenants.create_tenant(house.records, s, "new", "New", "eve", now), "tenant-house", Forbidden
        )
        refused(lambda s=scope: tenants.deactivate_tenant(house.records, s, TENANT, now), "tenant-house", Forbidden)
    refused(lambda: tenants.deactivate_tenant(house.records, ADMIN, TENANT, now), "tenant-house", Forbidden)
    refused(
        lambda: tenants.create_tenant(house.records, ADMIN, "default", "Mine", "eve", now), "tenant-exists", Conflict
    )
    tenants.create_tenant(house.records, ADMIN, "acme", "Acme", "carol", now)
    refused(lambda: tenants.create_tenant(house.records, ADMIN, "acme", "Acme", "eve", now), "tenant-exists", Conflict)
    assert tenants.deactivate_tenant(house.records, ADMIN, ACME.tenant, now) == 1
    refused(lambda: tenants.create_tenant(house.records, ADMIN, "acme", "Acme", "eve", now), "tenant-exists", Conflict)
    reply = house.scim("POST", "/Users", {"schemas": [USER], "userName": "eve"}, ACME)
    assert reply.status == 403


# --- SCIM --------------------------------------------------------------------------------------------------------------

MASS = {
    "roles": [{"value": "administrator"}],
    "entitlements": [{"value": "administrator"}],
    "groups": [{"value": "Keepers"}],
    "password": "letmein-letmein-1",
    "x509Certificates": [{"value": "MIIB"}],
    "grants": [{"role": "operator", "model": "digits"}],
    "tenant": "acme",
    "kind": "service",
    "principal": "user:root",
    "id": "00000000-0000-0000-0000-000000000000",
    "strength": 4,
    "direct": ["administrator"],
    "meta": {"version": 'W/"99"', "resourceType": "Group"},
    "urn:ietf:params:scim:schemas:extension:fastness:2.0:User": {"roles": ["administrator"]},
    ENTERPRISE: {"department": "Ops", "roles": ["administrator"]},
}


def test_nobody_gives_themselves_rights_by_an_attribute(house: SealedHouse) -> None:
    house.person("root", Role.ADMINISTRATOR)
    before = house.joiner(**MASS)
    path = f"/Users/{before['id']}"
    body = {"schemas": [USER], "userName": "erin@acme.example", **MASS}
    assert house.scim("PUT", path, body).status == 200
    for name, value in MASS.items():
        for op in ("add", "replace"):
            house.patch(path, {"op": op, "path": name, "value": value})
            house.patch(path, {"op": op, "value": {name: value}})
    found = house.principal_of(before["id"])
    assert (found.roles, found.grants, found.groups, found.kind) == (set(), set(), set(), PrincipalKind.USER)
    shown = house.scim("GET", path).body
    assert shown is not None
    assert not {"roles", "entitlements", "groups", "password", "grants", "tenant", "kind", "principal"} & shown.keys()
    assert shown["id"] == before["id"]
    with house.records.read(ACME) as reading:
        assert principals(reading) == []
    (created, *_) = [e for e in house.told(EventKind.DIRECTORY_CHANGED) if e.reason == "created"]
    assert "roles" in str(created.details["ignored"])


def test_no_personal_value_is_in_the_record(house: SealedHouse) -> None:
    made = house.joiner(
        "erin.secret@acme.example", displayName="Erin Secret", emails=[{"value": "erin.secret@x.example"}]
    )
    house.patch(f"/Users/{made['id']}", {"op": "replace", "path": "displayName", "value": "Erin Secret-Other"})
    for event in house.events():
        assert b"Erin" not in encode_event(event)
        assert b"@" not in encode_event(event)


def test_the_directory_service_never_reaches_the_houses_own(house: SealedHouse) -> None:
    root = house.person("root", Role.ADMINISTRATOR)
    own = house.group("Operators", {Role.OPERATOR}, root)
    erin = house.joiner()
    for path in (f"/Groups/{own}", "/Users/user:root", "/Users/root", f"/Users/{root.id}"):
        assert house.scim("GET", path).status == 404
        assert house.scim("DELETE", path).status == 404
        assert house.patch(path, {"op": "replace", "path": "displayName", "value": "x"}).status == 404
    taken = house.scim(
        "POST", "/Groups", {"schemas": [GROUP_SCHEMA], "displayName": "operators", "members": [{"value": erin["id"]}]}
    )
    assert (taken.status, taken.body and taken.body["scimType"]) == (409, "uniqueness")
    assert house.principal_of(erin["id"]).roles == set()
    assert house.joiner("root")["userName"] == "root"  # a user of that name is somebody else
    assert house.standing("user:root").roles == {Role.ADMINISTRATOR, Role.OPERATOR}
    provisioned = house.scim("POST", "/Groups", {"schemas": [GROUP_SCHEMA], "displayName": "Others"}).body
    assert provisioned is not None
    for group, source in ((own, groups.SCIM), (provisioned["id"], groups.HOUSE)):
        with pytest.raises(Forbidden), house.begin() as tx:
            groups.set_members(tx, group, frozenset({root.id}), source)


def test_scim_ids_of_another_tenant_do_not_exist(house: SealedHouse) -> None:
    erin = house.joiner()
    made = house.scim(
        "POST",
        "/Groups",
        {"schemas": [GROUP_SCHEMA], "displayName": "ML Operators", "members": [{"value": erin["id"]}]},
    ).body
    assert made is not None
    for path in (f"/Users/{erin['id']}", f"/Groups/{made['id']}"):
        assert house.scim("GET", path, scope=ACME).status == 404
        assert house.scim("DELETE", path, scope=ACME).status == 404
        assert house.patch(path, {"op": "replace", "path": "active", "value": False}, scope=ACME).status == 404
        body = {"schemas": [USER, GROUP_SCHEMA], "userName": "x", "displayName": "x"}
        assert house.scim("PUT", path, body, ACME).status == 404
    stolen = {"schemas": [GROUP_SCHEMA], "displayName": "ML Operators", "members": [{"value": erin["id"]}]}
    assert house.scim("POST", "/Groups", stolen, ACME).status == 400
    for path in ("/Users", "/Groups"):
        assert house.scim("GET", path, scope=ACME).body["totalResults"] == 0  # type: ignore[index]
    assert house.principal_of(erin["id"]).roles == {Role.OPERATOR}


def test_scim_does_not_take_the_last_administrator(house: SealedHouse) -> None:
    erin = house.joiner()
    made = house.scim(
        "POST", "/Groups", {"schemas": [GROUP_SCHEMA], "displayName": "Keepers", "members": [{"value": erin["id"]}]}
    ).body
    assert made is not None
    user, group = f"/Users/{erin['id']}", f"/Groups/{made['id']}"
    inactive = house.joiner("ghost", active=False)
    tries = [
        house.patch(user, {"op": "replace", "path": "active", "value": False}),
        house.scim("DELETE", user),
        house.scim("DELETE", group),
        house.patch(group, {"op": "remove", "path": "members"}),
        house.patch(group, {"op": "replace", "path": "members", "value": [{"value": inactive["id"]}]}),
        house.patch(group, {"op": "replace", "path": "displayName", "value": "Others"}),
    ]
    assert [reply.status for reply in tries] == [409] * 6
    assert house.principal_of(erin["id"]).roles == {Role.ADMINISTRATOR}
    shown = house.scim("GET", group).body
    assert shown is not None
    assert (shown["displayName"], len(shown["members"]), shown["meta"]["version"]) == ("Keepers", 1, 'W/"1"')


BOMBS = {
    "long": 'userName eq "' + "a" * 2000 + '"',
    "many": " or ".join(['userName eq "a"'] * 51),
    "deep": "(" * 20 + "active pr" + ")" * 20,
    "deep not": "not (" * 20 + "active pr" + ")" * 20,
    "brackets in brackets": 'emails[emails[type eq "x"]]',
    "no end": 'userName eq "x',
    "no value": "userName eq",
    "no operator": "userName",
    "unknown operator": 'userName like "x"',
    "regular expression": 'userName matches "(a+)+$"',
    "unknown attribute": 'password sw "a"',
    "unknown sub-attribute": 'emails.secret eq "a"',
    "internal column": 'user_key eq "a"',
    "sql": "userName eq 'x' or 1=1",
    "sql comment": 'userName eq "x" --',
    "two": 'userName eq "x" userName eq "y"',
    "empty brackets": "emails[]",
    "nul": 'userName eq "\x00"',
    "not without brackets": "not active pr",
    "object": 'userName eq {"a": 1}',
}


@pytest.mark.parametrize("name", BOMBS)
def test_filter_bombs_are_refused(house: SealedHouse, name: str) -> None:
    house.joiner()
    reply = house.scim("GET", "/Users", filter=BOMBS[name])
    assert (reply.status, reply.body and reply.body["scimType"]) == (400, "invalidFilter")


@pytest.mark.parametrize("text", ["x' or '1'='1", "'; drop table principal;--", '\\" or \\"1\\"=\\"1', "%", "_%", "*"])
@pytest.mark.parametrize("attribute", ["userName", "externalId", "id", "displayName"])
@pytest.mark.parametrize("op", ["eq", "sw"])
def test_sql_in_a_filter_is_text(house: SealedHouse, text: str, attribute: str, op: str) -> None:
    house.joiner()
    reply = house.scim("GET", "/Users", filter=f'{attribute} {op} "{text}"')
    assert (reply.status, reply.body and reply.body["totalResults"]) == (200, 0)
    assert len(house.credentials().keys) == 0
    assert house.scim("GET", "/Users").body["totalResults"] == 1  # type: ignore[index]


def test_a_filter_is_answered_in_linear_work() -> None:
    found = filters.parse_filter(" or ".join(['emails co "b"'] * 50), USERS)
    resource = {"emails": [{"value": "a" * 255}] * 16}
    assert not filters.matches(found, resource)


@pytest.mark.parametrize(
    "body",
    [
        None, [], "x", 7, {}, {"schemas": "x"}, {"schemas": [GROUP_SCHEMA], "userName": "x"}, {"schemas": [USER]},
        {"schemas": [USER], "userName": ""}, {"schemas": [USER], "userName": 7}, {"schemas": [USER], "userName": ["x"]},
        {"schemas": [USER], "userName": "x", "USERNAME": "y"}, {"schemas": [USER], "userName": "x\x00"},
        {"schemas": [USER], "userName": "x" * 300}, {"schemas": [USER], "userName": "x", "active": "maybe"},
        {"schemas": [USER], "userName": "x", "active": 1}, {"schemas": [USER], "userName": "x", "emails": "x"},
        {"schemas": [USER], "userName": "x", "emails": [{"value": str(n)} for n in range(17)]},
        {"schemas": [USER], "userName": "x", "name": {"givenName": {"a": 1}}}, {"schemas": [USER], "userName": "x", "name": []},
        {"schemas": [USER], "userName": "x", "emails": [{"value": "a", "primary": True}, {"value": "b", "primary": True}]},
    ],
)  # fmt: skip
def test_a_body_that_is_none_makes_nobody(house: SealedHouse, body: object) -> None:
    reply = house.scim("POST", "/Users", body)
    if body == {"schemas": [USER], "userName": "x", "name": []}:
        assert reply.status == 201  # an empty value is none
        return
    assert reply.status == 400
    assert house.events() == []


def test_a_patch_is_done_whole_or_not_at_all(house: SealedHouse) -> None:
    erin = house.joiner()
    path = f"/Users/{erin['id']}"
    reply = house.patch(
        path,
        {"op": "replace", "path": "displayName", "value": "Erin"},
        {"op": "replace", "path": "active", "value": False},
        {"op": "replace", "path": "nothing", "value": 1},
    )
    assert reply.status == 400
    assert house.scim("GET", path).body == erin
    many = [{"op": "add", "path": "nickName", "value": "e"}] * 101
    assert house.patch(path, *many).status == 400
    assert house.scim("PATCH", path, {"schemas": [PATCH], "Operations": "x"}).status == 400


def test_a_leaver_is_out_at_once_and_comes_back_without_old_credentials(house: SealedHouse) -> None:
    erin = house.joiner()
    principal = house.principal_of(erin["id"]).id
    with house.begin() as tx:
        key = issue_key(tx, principal, KeyTerms(LIMIT, later(START, 600)), Bounds(), house.pepper)
    assert authenticate(header(key.text), house.credentials(), START).principal.id == principal
    epoch = house.records.epoch("keys")
    path = f"/Users/{erin['id']}"
    assert house.patch(path, {"op": "replace", "value": {"active": False}}).status == 200
    assert house.records.epoch("keys") > epoch
    with pytest.raises(Unauthenticated):
        authenticate(header(key.text), house.credentials(), START)
    with house.records.read(ADMIN) as reading:
        assert sessions.sessions(reading, principal, START) == []
    assert house.told(EventKind.TOKEN_REVOKED)
    assert house.patch(path, {"op": "replace", "path": "active", "value": True}).status == 200
    assert house.standing(principal).active
    with pytest.raises(Unauthenticated):
        authenticate(header(key.text), house.credentials(), START)


def test_who_was_deleted_is_gone_and_their_successor_is_another(house: SealedHouse) -> None:
    first = house.joiner("erin")
    made = house.scim(
        "POST",
        "/Groups",
        {"schemas": [GROUP_SCHEMA], "displayName": "ML Operators", "members": [{"value": first["id"]}]},
    ).body
    assert made is not None
    principal = house.principal_of(first["id"])
    assert house.scim("DELETE", f"/Users/{first['id']}").status == 204
    assert house.scim("DELETE", f"/Users/{first['id']}").status == 404
    assert house.scim("GET", f"/Groups/{made['id']}").body.get("members") is None  # type: ignore[union-attr]
    second = house.joiner("erin")
    other = house.principal_of(second["id"])
    assert other.id != principal.id
    assert other.roles == set()
    assert not house.standing(principal.id).active


def test_nested_groups_are_refused(house: SealedHouse) -> None:
    erin = house.joiner()
    inner = house.scim("POST", "/Groups", {"schemas": [GROUP_SCHEMA], "displayName": "Inner"}).body
    assert inner is not None
    for member in (
        {"value": inner["id"]},
        {"value": inner["id"], "type": "Group"},
        {"value": erin["id"], "type": "Group"},
        {},
    ):
        body = {"schemas": [GROUP_SCHEMA], "displayName": "Outer", "members": [member, {"value": "nobody"}]}
        assert house.scim("POST", "/Groups", body).status == 400


def test_a_lost_update_is_noticed(house: SealedHouse) -> None:
    path = f"/Users/{house.joiner()['id']}"
    rename = {"op": "replace", "path": "displayName", "value": "Erin"}
    assert house.patch(path, rename, if_match='W/"1"').status == 200
    assert house.patch(path, rename, if_match='W/"1"').status == 412
    assert house.scim("DELETE", path, if_match='W/"1"').status == 412
    assert house.scim("DELETE", path, if_match="*").status == 204
