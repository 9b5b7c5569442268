from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.access import Policies, authenticate, decide, enrol, keys, principals, standing
from fastness.access.addresses import inside, parse_networks, spans, within
from fastness.access.directory import groups, leaving, tenants, use
from fastness.access.members import UNBOUND, KeyTerms, issue_key, rotate_key
from fastness.access.reviews import reports
from fastness.access.reviews.rights import Rights
from fastness.core.clock import Instant, later
from fastness.core.errors import Conflict, Invalid, NotFound
from fastness.core.events import EventKind
from fastness.core.identity import SYSTEM_SCOPE, Action, Grant, PrincipalId, PrincipalKind, Resource, Role, Scope
from fastness.foundation.crypto import SoftwareSigner
from fastness.foundation.storage.tables import EVENTS
from tests.unit.access.house import ADMIN, START, TENANT, Person
from tests.unit.access.sealed import ACME, LIMIT, SealedHouse

POLICIES = Policies.shipped()
DAY = 86_400.0


@pytest.fixture
def house() -> Iterator[SealedHouse]:
    made = SealedHouse()
    yield made
    made.records.close()


def header(text: str) -> bytes:
    return f"Bearer {text}".encode()


def test_the_roles_of_a_group_are_held_while_one_belongs_to_it(house: SealedHouse) -> None:
    alice = house.person("alice", Role.VIEWER)
    group = house.group("Ops", {Role.OPERATOR, Role.VIEWER}, alice)

    def roles() -> frozenset[Role]:
        return authenticate(header(alice.key.text), house.credentials(), START).principal.roles

    assert roles() == {Role.VIEWER, Role.OPERATOR}
    with house.begin() as tx:
        groups.change_group(tx, group, name="Operations", roles=frozenset({Role.APPROVER}))
    assert roles() == {Role.VIEWER, Role.APPROVER}
    with house.begin() as tx:
        standing.set_roles(tx, alice.id, frozenset())  # what a group gives is not a role of one's own
    assert roles() == {Role.APPROVER}
    with house.begin() as tx:
        groups.remove_member(tx, group, alice.id)
    assert roles() == frozenset()
    changes = [(event.reason, event.resource) for event in house.told(EventKind.GROUP_CHANGED)]
    assert changes == [(reason, f"group:{group}") for reason in ("created", "joined", "changed", "left")]


def test_a_role_on_a_model_counts_there_and_nowhere_else(house: SealedHouse) -> None:
    alice = house.person("alice")
    with house.begin() as tx:
        groups.grant(tx, alice.id, Role.DEVELOPER, "digits")
    who = authenticate(header(alice.key.text), house.credentials(), START).principal
    assert (who.roles, who.grants) == (frozenset(), {Grant(Role.DEVELOPER, "digits")})
    context = {"tenant": str(TENANT)}
    asked = {
        m: decide(who, Action.MODEL_INFER, Resource("model", m), context, POLICIES).allow for m in ("digits", "faces")
    }
    assert asked == {"digits": True, "faces": False}
    with pytest.raises(Conflict), house.begin() as tx:
        groups.grant(tx, alice.id, Role.DEVELOPER, "digits")
    for role in (Role.ADMINISTRATOR, Role.AUDITOR, Role.SECURITY_OFFICER):
        with pytest.raises(Invalid), house.begin() as tx:
            groups.grant(tx, alice.id, role, "digits")
    with house.begin() as tx:
        groups.withdraw(tx, alice.id, Role.DEVELOPER, "digits")
    assert house.standing("user:alice").grants == frozenset()
    with pytest.raises(NotFound), house.begin() as tx:
        groups.withdraw(tx, alice.id, Role.DEVELOPER, "digits")


def test_every_change_of_groups_moves_the_snapshot(house: SealedHouse) -> None:
    alice = house.person("alice")
    epochs = [house.records.epoch("keys")]
    with house.begin() as tx:
        group = groups.create_group(tx, "Ops", frozenset({Role.OPERATOR}))
        groups.add_member(tx, group, alice.id)
    epochs.append(house.records.epoch("keys"))
    with house.begin() as tx:
        groups.grant(tx, alice.id, Role.DEVELOPER, "digits")
    epochs.append(house.records.epoch("keys"))
    with house.begin() as tx:
        groups.delete_group(tx, group)
    epochs.append(house.records.epoch("keys"))
    assert epochs == sorted(set(epochs))
    with house.records.read(ADMIN) as reading:
        assert groups.groups(reading) == []


def test_groups_have_names_of_their_own(house: SealedHouse) -> None:
    group = house.group("Ops", {Role.VIEWER})
    for name, kind in (("OPS", Conflict), ("", Invalid), ("x" * 129, Invalid), ("a\nb", Invalid)):
        with pytest.raises(kind), house.begin() as tx:
            groups.create_group(tx, name, frozenset())
    with house.begin() as tx:
        groups.change_group(tx, group, name="ops")
    assert house.group("Ops", {Role.VIEWER}, scope=ACME) != group


def test_a_tenant_begins_with_an_administrator_and_ends_with_everybody(house: SealedHouse) -> None:
    now = house.clock.now()
    enrolment = tenants.create_tenant(house.records, ADMIN, "acme", "Acme Ltd", "carol", now)
    signer = SoftwareSigner.create(lambda size: b"\x05" * size)
    with house.begin(ACME) as tx:
        who, key = enrol(tx, enrolment.code, signer.public_pem, house.pepper)
    assert (who.tenant, who.roles) == ("acme", {Role.ADMINISTRATOR})
    with house.records.read(ADMIN) as reading:
        assert [(t.id, t.name, t.created_by, t.active) for t in tenants.tenants(reading)] == [
            ("acme", "Acme Ltd", "user:root", True)
        ]
        assert principals(reading) == []
    house.person("dora", scope=ACME)
    assert tenants.deactivate_tenant(house.records, ADMIN, ACME.tenant, now) == 2
    assert tenants.deactivate_tenant(house.records, ADMIN, ACME.tenant, now) == 0
    assert all(record.revoked for record in house.credentials().keys.values())
    assert key.text
    with pytest.raises(NotFound):
        tenants.deactivate_tenant(house.records, ADMIN, ACME.tenant.__class__("nobody"), now)


def test_leaving_ends_everything_that_was_issued(house: SealedHouse) -> None:
    house.person("root", Role.ADMINISTRATOR)
    alice = house.person("alice", Role.VIEWER)
    with house.begin() as tx:
        leaving.leave(tx, alice.id, "left the company")
    with house.records.read(ADMIN) as reading:
        assert [key.revoked for key in keys(reading) if key.principal == alice.id] == [True]
    kinds = [event.kind for event in house.events()[-4:]]
    assert kinds == [
        EventKind.PRINCIPAL_DEACTIVATED, EventKind.KEY_REVOKED, EventKind.KEY_REVOKED, EventKind.TOKEN_REVOKED,
    ]  # fmt: skip
    with house.begin() as tx:
        leaving.take_back(tx, alice.id, "came back")
    assert house.standing("user:alice").active
    assert all(record.revoked for record in house.credentials().keys.values() if record.principal == alice.id)


def test_a_key_has_the_terms_it_was_given_and_hands_them_on(house: SealedHouse) -> None:
    alice = house.person("alice")
    terms = KeyTerms(
        LIMIT,
        later(START, 600),
        "ci",
        frozenset({Action.MODEL_READ}),
        frozenset({"digits"}),
        ("::ffff:10.0.0.0/104", "::1"),
    )
    with house.begin() as tx:
        key = issue_key(tx, alice.id, terms, UNBOUND, house.pepper)
        successor = rotate_key(tx, key.key_id, 0, UNBOUND, house.pepper)
    with house.records.read(ADMIN) as reading:
        one, two = (next(k for k in keys(reading) if k.key_id == made.key_id) for made in (key, successor))
    assert one.networks == two.networks == ("10.0.0.0/8", "::1/128")
    assert (one.successor, two.successor, one.expires_at) == (successor.key_id, "", START)
    assert (one.actions, one.models, one.limit, one.name) == (two.actions, two.models, two.limit, two.name)
    assert two.expires_at == later(START, 600)
    (created, _) = house.told(EventKind.KEY_CREATED)[1:]
    assert created.details["networks"] == "10.0.0.0/8 ::1/128"
    who = authenticate(header(successor.text), house.credentials(), START, "10.0.0.9").principal
    assert (who.actions, who.models) == ({Action.MODEL_READ}, {"digits"})


@pytest.mark.parametrize(
    "terms",
    [
        {"networks": ("10.0.0.1/8",)}, {"networks": ("nowhere",)}, {"networks": ("10.0.0.0/33",)}, {"networks": ("",)},
        {"networks": tuple(f"10.0.{n}.0/24" for n in range(33))}, {"actions": frozenset()}, {"models": frozenset()},
        {"models": frozenset({"../x"})}, {"models": frozenset(f"m{n}" for n in range(65))},
    ],
)  # fmt: skip
def test_terms_out_of_range_are_refused(house: SealedHouse, terms: dict[str, object]) -> None:
    alice = house.person("alice")
    with pytest.raises(Invalid):
        house.key(alice, **terms)


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
NETWORKS = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)), st.tuples(st.ip_addresses(v=6), st.integers(0, 128))
).map(lambda pair: ipaddress.ip_network(pair, strict=False))


@given(ADDRESSES, st.lists(NETWORKS, max_size=4))
def test_the_look_up_of_addresses_agrees_with_the_library(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network],
) -> None:
    parsed = spans(parse_networks(tuple(map(str, networks))))
    mapped = (
        address.ipv4_mapped
        if address.version == 6
        else ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)
    )
    forms = [address, *([mapped] if mapped is not None else [])]
    expected = any(form in network for network in networks for form in forms if form.version == network.version)
    assert inside(str(address), parsed) == expected


@given(st.lists(NETWORKS, max_size=3), st.lists(NETWORKS, max_size=3), ADDRESSES)
def test_what_is_within_lets_nobody_else_in(
    narrow: list[ipaddress.IPv4Network], wide: list[ipaddress.IPv4Network], address: ipaddress.IPv4Address
) -> None:
    one, two = (parse_networks(tuple(map(str, nets))) for nets in (narrow, wide))
    if within(one, two) and two and inside(str(address), spans(one)):
        assert inside(str(address), spans(two))


def used(house: SealedHouse, person: Person, action: Action, resource: str, **details: str) -> None:
    with house.records.begin(Scope(TENANT, person.id), house.clock.now()) as tx:
        tx.emit(tx.events.make(EventKind.REQUEST_ALLOWED, resource, action=action, details=dict(details)))


def number(house: SealedHouse) -> None:
    """Have the log take up what waits, as the sequencer does."""
    with house.records.begin_unrecorded(SYSTEM_SCOPE, START, _exempt()) as tx:
        rows = list(tx.execute(EVENTS.select().order_by(EVENTS.c.seq)))
        for place, row in enumerate(rows):
            if row.idx is None:
                tx.execute(EVENTS.update().where(EVENTS.c.seq == row.seq).values(idx=place))


def _exempt() -> object:
    from fastness.foundation.storage.contracts import Exempt

    return Exempt.SEQUENCER


def test_last_use_is_learnt_from_the_log_once(house: SealedHouse) -> None:
    alice = house.person("alice", Role.DEVELOPER)
    used(house, alice, Action.MODEL_INFER, "model:digits/3", key=alice.key.key_id)
    house.clock.advance(60)
    used(house, alice, Action.MODEL_READ, "model:faces", key=alice.key.key_id)
    number(house)
    assert use.learn_use(house.records, house.clock.now(), 3) == 3
    assert use.learn_use(house.records, house.clock.now(), 30) == 2
    assert use.learn_use(house.records, house.clock.now(), 30) == 0
    with house.records.read(ADMIN) as reading:
        found = use.last_uses(reading)
    assert found == {
        (alice.id, f"key:{alice.key.key_id}"): later(START, 60), (alice.id, "action:model.infer"): START,
        (alice.id, "action:model.infer@digits"): START, (alice.id, "action:model.read"): later(START, 60),
        (alice.id, "action:model.read@faces"): later(START, 60),
    }  # fmt: skip
    with house.records.read(ACME) as reading:
        assert use.last_uses(reading) == {}


def test_reports_tell_what_nobody_uses(house: SealedHouse) -> None:
    root = house.person("root", Role.ADMINISTRATOR)
    alice = house.person("alice", Role.DEVELOPER, Role.OPERATOR)
    house.person("bob", Role.VIEWER)
    with house.begin() as tx:
        groups.grant(tx, alice.id, Role.PUBLISHER, "digits")
        issue_key(tx, root.id, KeyTerms(LIMIT, later(START, 900 * DAY), "long"), UNBOUND, house.pepper)
    house.clock.advance(80 * DAY)
    used(house, root, Action.ACCESS_READ, "access:principals", key=root.key.key_id)
    used(house, alice, Action.MODEL_INFER, "model:digits", key=alice.key.key_id)
    number(house)
    while use.learn_use(house.records, house.clock.now()):
        pass
    now = later(START, 89.5 * DAY)
    with house.records.read(ADMIN) as reading:
        early = reports.findings(reading, POLICIES, now, reports.Thresholds(dormant=85, unused=85))
        who = {reach.principal: reach for reach in reports.who_can(reading, POLICIES, now)}
    told = {(finding.rule, finding.where) for finding in early.findings}
    keyed = {name: f"key:{person.key.key_id}" for name, person in (("root", root), ("alice", alice))}
    assert ("access-dormant-principal", "principal:user:bob") in told
    assert ("access-dormant-principal", "principal:user:alice") not in told
    assert ("access-unused-role", "principal:user:alice") in told
    assert ("access-key-ending", keyed["alice"]) in told
    assert ("access-dormant-key", keyed["alice"]) not in told
    assert sum(rule == "access-key-long-lived" for rule, _ in told) == 1
    unused = [f.message for f in early.findings if f.rule == "access-unused-role" and f.where == "principal:user:alice"]
    assert unused == ["user:alice used operator last never", "user:alice used publisher of digits last never"]
    assert Action.MODEL_DEPLOY in who[alice.id].actions
    assert who[alice.id].on_models == {"digits": {Action.MODEL_PUSH, Action.MODEL_PULL, Action.MODEL_DELETE}}
    assert who[PrincipalId("user:bob")].actions == {Action.MODEL_READ, Action.SYSTEM_READ}
    assert {rule.id for rule in reports.RULES} >= {rule for rule, _ in told if rule.startswith("access-")}


def test_toxic_combinations_through_groups_and_models_are_found(house: SealedHouse) -> None:
    alice = house.person("alice", Role.PUBLISHER)
    house.group("Approvers", {Role.APPROVER}, alice)
    with house.begin() as tx:
        groups.grant(tx, alice.id, Role.OPERATOR, "digits")
    with house.records.read(ADMIN) as reading:
        found = reports.findings(reading, POLICIES, START)
    assert sum(finding.rule == "duties-conflict" for finding in found.findings) >= 2


def test_every_action_can_be_asked_about_and_is_somebodys() -> None:
    rights = Rights(POLICIES, TENANT, START)
    by_role = {role: rights.permitted(PrincipalKind.USER, frozenset({role})) for role in Role}
    assert frozenset(Action) - frozenset().union(*by_role.values()) <= {
        Action.TOKEN_DELEGATE,
        Action.DIRECTORY_PROVISION,
    }
    assert rights.permitted(PrincipalKind.USER, frozenset()) == frozenset()
    assert Action.MODEL_APPROVE not in rights.permitted(PrincipalKind.SERVICE, frozenset({Role.APPROVER}))


def test_an_instant_before_anything_was_used_is_not_idle() -> None:
    assert not reports._idle(None, START, Instant(START + 1), 90)
