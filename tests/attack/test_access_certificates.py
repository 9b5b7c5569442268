"""Certificates that are bound to others, to nobody, by who does not hold their key, or that have ended.

Success rate of the attacks below: 0. The same over real connections: `test_mutual_tls.py`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fastness.access.directory.leaving import leave
from fastness.access.members import UNBOUND, Bounds, KeyTerms
from fastness.access.possession import (
    Kind,
    PossessionKeys,
    PossessionProjection,
    PossessionRow,
    found_keys,
    revoke_possession,
)
from fastness.access.possession.certificates import (
    Authority,
    bind_certificate,
    by_certificate,
    issue_certificate,
    spiffe_id,
)
from fastness.access.standing import deactivate, set_roles
from fastness.core.clock import Instant, SystemClock, later
from fastness.core.errors import Conflict, FastnessError, Forbidden, Invalid, NotFound, Unauthenticated
from fastness.core.identity import Action, PrincipalId, PrincipalKind, Role, Scope, Strength, TenantId
from fastness.core.limits import Limit
from fastness.foundation.crypto import CertificateAuthority, SealedKeyRing
from fastness.foundation.crypto.certificates import (
    certificate_request,
    new_private_key,
    read_certificate,
    read_request,
    thumbprint,
)
from tests.needs import need_tool
from tests.unit.access.house import ADMIN, TENANT, House

DOMAIN = "fastness.internal"
ROBOT, ALICE = PrincipalId("service:robot"), PrincipalId("user:alice")
ELSEWHERE = Scope(TenantId("elsewhere"), PrincipalId("user:root"))
DAY_S = 86_400


class Door:
    """A house with two principals, its authority, and another's."""

    def __init__(self) -> None:
        self.house = House()
        self.ring = SealedKeyRing.in_memory(os.urandom)
        self.authority = Authority(CertificateAuthority.create(self.ring, self.house.clock.now()), DOMAIN)
        self.foreign = CertificateAuthority.create(SealedKeyRing.in_memory(os.urandom), self.house.clock.now())
        self.house.person("robot", Role.DEVELOPER, kind=PrincipalKind.SERVICE)
        self.house.person("alice", Role.DEVELOPER)
        self.house.person("robot", Role.DEVELOPER, kind=PrincipalKind.SERVICE, scope=ELSEWHERE)
        self.private = new_private_key()

    def terms(self, days: float = 7, **more: Any) -> KeyTerms:
        return KeyTerms(Limit(10, 10), later(self.house.clock.now(), days * DAY_S), **more)

    def issued(
        self, principal: PrincipalId = ROBOT, request: bytes | None = None, maker: Bounds = UNBOUND, **terms: Any
    ) -> tuple[PossessionRow, bytes]:
        asked = certificate_request(self.private, "x") if request is None else request
        with self.house.begin() as tx:
            return issue_certificate(tx, self.authority, principal, asked, self.terms(**terms), maker)

    def bought(self, days: int = 5) -> bytes:
        """A certificate of another authority for our key."""
        return self.foreign.certify("spiffe://partner/x", self.public(), days, self.house.clock.now())

    def public(self) -> bytes:
        from fastness.foundation.crypto.certificates import public_of

        return public_of(read_request(certificate_request(self.private, "x"))[1])

    def bound(
        self,
        certificate: bytes,
        principal: PrincipalId = ROBOT,
        request: bytes | None = None,
        scope: Scope = ADMIN,
        **terms: Any,
    ) -> PossessionRow:
        proof = certificate_request(self.private, f"{scope.tenant}/{principal}") if request is None else request
        with self.house.begin(scope) as tx:
            return bind_certificate(tx, principal, (certificate, proof), self.terms(**terms), UNBOUND)

    def keys(self) -> PossessionKeys:
        with self.house.records.read(ADMIN) as reading:
            return PossessionProjection().load(reading)

    def why(self, identifier: str, address: str = "192.0.2.1") -> str:
        with pytest.raises(Unauthenticated) as caught:
            by_certificate(identifier, self.keys(), self.house.clock.now(), address)
        assert caught.value.code == "certificate-refused"
        return caught.value.audit_code


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.house.records.close()


def test_the_good_certificate_is_taken_so_the_others_are_not_refused_for_another_reason(door: Door) -> None:
    row, chain = door.issued()
    found = by_certificate(row.id, door.keys(), door.house.clock.now(), "192.0.2.1")
    who = found.principal
    assert (who.id, who.tenant, who.strength, who.certified) == (ROBOT, TENANT, Strength.SIGNED, True)
    assert who.roles == {Role.DEVELOPER}
    leaf = x509.load_pem_x509_certificate(chain)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [spiffe_id(DOMAIN, TENANT, ROBOT)]
    assert row.id == thumbprint(leaf.public_bytes(Encoding.DER))
    other = door.bound(door.bought())
    assert by_certificate(other.id, door.keys(), door.house.clock.now(), None).principal.id == ROBOT


def test_what_a_certificate_says_of_itself_decides_nothing(door: Door) -> None:
    """Issued by the house's own key with the name of somebody, and never given out."""
    uri = spiffe_id(DOMAIN, TENANT, ALICE)
    chain = door.authority.signs.certify(uri, door.public(), 1, door.house.clock.now())
    assert door.why(read_certificate(chain).thumbprint) == "certificate-unknown"
    for text in ("", "x", "certificate/x", "A" * 43):
        assert door.why(text) == "certificate-unknown"


def test_it_ends_with_the_certificate_and_with_the_terms(door: Door) -> None:
    issued, bound = door.issued(days=2)[0], door.bound(door.bought(days=3), days=30)
    assert bound.expires_at <= later(door.house.clock.now(), 3 * DAY_S)
    door.house.clock.advance(2 * DAY_S)
    assert door.why(issued.id) == "certificate-expired"
    by_certificate(bound.id, door.keys(), door.house.clock.now(), None)
    door.house.clock.advance(DAY_S)
    assert door.why(bound.id) == "certificate-expired"
    with pytest.raises(Invalid, match="key-lifetime"):
        door.bound(
            door.foreign.certify(
                "spiffe://partner/x", door.public(), 1, Instant(door.house.clock.now() - 2 * DAY_S * 10**9)
            )
        )


def test_it_ends_with_revocation_deactivation_and_leaving(door: Door) -> None:
    one, other = door.issued()[0], door.issued()[0]
    with door.house.begin() as tx:
        revoke_possession(tx, Kind.CERTIFICATE, one.id)
    assert door.why(one.id) == "certificate-revoked"
    by_certificate(other.id, door.keys(), door.house.clock.now(), None)
    with door.house.begin() as tx, pytest.raises(Conflict, match="certificate-revoked"):
        revoke_possession(tx, Kind.CERTIFICATE, one.id)
    with door.house.begin() as tx, pytest.raises(NotFound, match="certificate-unknown"):
        revoke_possession(tx, Kind.CERTIFICATE, "x")
    with door.house.begin() as tx:
        deactivate(tx, ROBOT)
    assert door.why(other.id) == "certificate-revoked"
    mine = door.issued(ALICE)[0]
    with door.house.begin() as tx:
        leave(tx, ALICE, "left")
    with door.house.records.read(ADMIN) as reading:
        assert all(row.revoked for row in found_keys(reading, Kind.CERTIFICATE) if row.principal == ALICE)
    assert door.why(mine.id) == "certificate-revoked"


def test_roles_are_those_of_now_and_rights_are_those_of_its_terms(door: Door) -> None:
    row, _ = door.issued(
        actions=frozenset({Action.MODEL_INFER}), models=frozenset({"digits"}), networks=("10.0.0.0/8",)
    )
    assert door.why(row.id) == "certificate-address"
    found = by_certificate(row.id, door.keys(), door.house.clock.now(), "10.1.2.3")
    assert found.principal.actions == frozenset({Action.MODEL_INFER})
    assert found.principal.models == frozenset({"digits"})
    assert found.limit == Limit(10, 10)
    with door.house.begin() as tx:
        set_roles(tx, ROBOT, frozenset({Role.VIEWER}))
    assert by_certificate(row.id, door.keys(), door.house.clock.now(), "10.1.2.3").principal.roles == {Role.VIEWER}


def test_no_credential_makes_a_wider_one(door: Door) -> None:
    narrow = Bounds(frozenset({Action.MODEL_INFER}), None, ("10.0.0.0/8",))
    for terms in ({}, {"actions": frozenset(Action)}, {"actions": narrow.actions, "networks": ("0.0.0.0/0",)}):
        with pytest.raises(Forbidden, match="key-wider"):
            door.issued(maker=narrow, **terms)
    door.issued(maker=narrow, actions=narrow.actions, networks=("10.1.0.0/16",))


def test_a_certificate_is_bound_by_who_holds_its_key_alone(door: Door) -> None:
    """Certificates are no secret: who binds somebody else's would be taken for them, or keep them out."""
    theirs, mine = door.bought(), new_private_key()
    for request in (
        certificate_request(mine, f"default/{ROBOT}"),  # another key
        certificate_request(door.private, f"elsewhere/{ROBOT}"),  # made for another tenant
        certificate_request(door.private, f"default/{ALICE}"),  # or for somebody else
        certificate_request(door.private, "x"),
    ):
        with pytest.raises(Invalid, match="certificate-unproven"):
            door.bound(theirs, request=request)
    forged = _flipped(certificate_request(door.private, f"default/{ROBOT}"))
    with pytest.raises(Invalid, match=r"request-forged|request-malformed"):
        door.bound(theirs, request=forged)


def test_a_certificate_belongs_to_one_principal_of_one_tenant(door: Door) -> None:
    row = door.bound(door.bought())
    certificate = x509.load_der_x509_certificate(row.public).public_bytes(Encoding.PEM)
    for principal, scope in ((ALICE, ADMIN), (ROBOT, ADMIN), (ROBOT, ELSEWHERE)):
        with pytest.raises(Conflict, match="certificate-taken"):
            door.bound(certificate, principal, scope=scope)
    with door.house.begin() as tx:
        revoke_possession(tx, Kind.CERTIFICATE, row.id)
    with pytest.raises(Conflict, match="certificate-taken"):  # revoked for good
        door.bound(certificate)
    with door.house.begin(ELSEWHERE) as tx, pytest.raises(NotFound):
        revoke_possession(tx, Kind.CERTIFICATE, row.id)


def test_what_is_not_given_out(door: Door) -> None:
    for principal, error in ((PrincipalId("user:nobody"), NotFound), (PrincipalId("service:alice"), NotFound)):
        with pytest.raises(error):
            door.issued(principal)
    for days in (0, 30.5, 400):
        with pytest.raises(Invalid):
            door.issued(days=days)
    large = ec.generate_private_key(ec.SECP384R1())
    pem = large.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505 - what is not taken
    weak = short.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for request in (
        b"",
        b"x",
        door.private,
        door.bought(),
        certificate_request(pem, "x"),
        certificate_request(weak, "x"),
    ):
        with pytest.raises(FastnessError):
            door.issued(request=request)
    for certificate in (b"", b"x", b"0" * 100_000, door.private):
        with pytest.raises(Invalid):
            door.bound(certificate)
    with door.house.begin() as tx:
        deactivate(tx, ROBOT)
    with pytest.raises(Conflict):
        door.issued()


def test_requests_as_openssl_makes_them(door: Door, tmp_path: Path) -> None:
    openssl = need_tool("openssl")
    key, request = tmp_path / "key", tmp_path / "request"
    for kind in (["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], ["ed25519"], ["rsa"]):
        subprocess.run([openssl, "genpkey", "-algorithm", *kind, "-out", str(key)], check=True, capture_output=True)
        subject = f"/CN=default\\/{ROBOT}"
        subprocess.run([openssl, "req", "-new", "-key", key, "-subj", subject, "-out", request], check=True)
        assert read_request(request.read_bytes())[0] == f"default/{ROBOT}"
        if kind != ["rsa"]:
            door.issued(request=request.read_bytes())
    certificate = tmp_path / "certificate"
    command = [openssl, "req", "-x509", "-key", key, "-subj", "/CN=partner", "-days", "10", "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    door.house.clock.advance((SystemClock().now() - door.house.clock.now()) / 1e9)
    row = door.bound(certificate.read_bytes(), request=request.read_bytes())
    assert row.principal == ROBOT


def _flipped(pem: bytes) -> bytes:
    lines = pem.split(b"\n")
    place = len(lines) - 4
    lines[place] = lines[place][:10] + (b"A" if lines[place][10:11] != b"A" else b"B") + lines[place][11:]
    return b"\n".join(lines)
