"""The rows of client certificates and signing keys."""

from __future__ import annotations

import os

from fastness.foundation.crypto import CertificateAuthority, SealedKeyRing, SoftwareSigner
from fastness.foundation.crypto.certificates import certificate_request, new_private_key, public_of, read_request
from fastness.wire import possession
from tests.unit.interfaces.api.rows import Route, encoded
from tests.unit.interfaces.api.town import Town, refused

ROBOT = "service:robot"
_KEY = new_private_key()
CERTIFICATE = possession.CertificateRequest(ROBOT, "mesh", certificate_request(_KEY, "x").decode(), days=1)
SIGNING_KEY = possession.SigningKeyRequest(ROBOT, "signs", SoftwareSigner.create(os.urandom).public_pem.decode())


def fresh() -> possession.SigningKeyRequest:
    return possession.SigningKeyRequest(ROBOT, "signs", SoftwareSigner.create(os.urandom).public_pem.decode())


def _issued(town: Town) -> None:
    calls = town.client("admin").certificates
    made = calls.create(CERTIFICATE)
    assert made.chain.count("BEGIN CERTIFICATE") == 2
    (view,) = [one for one in town.client("auditor").certificates.list() if one.id == made.certificate_id]
    assert (view.principal, view.name, view.revoked, view.keyid) == (ROBOT, "mesh", False, "")
    wrong = possession.CertificateRequest(ROBOT, "mesh", "x")
    assert refused(lambda: calls.create(wrong)).code == "request-malformed"
    long = possession.CertificateRequest(ROBOT, "mesh", CERTIFICATE.request, days=31)
    assert refused(lambda: calls.create(long)).code == "certificate-days"
    fast = possession.CertificateRequest(ROBOT, "mesh", CERTIFICATE.request, per_s=1e6)
    assert refused(lambda: calls.create(fast)).code == "key-rate"


def _bound(town: Town) -> None:
    partner = CertificateAuthority.create(SealedKeyRing.in_memory(os.urandom), town.house.clock.now())
    public = public_of(read_request(certificate_request(_KEY, "x"))[1])
    certificate = partner.certify("spiffe://partner/x", public, 5, town.house.clock.now()).decode()
    calls, proof = town.client("admin").certificates, certificate_request(_KEY, f"default/{ROBOT}").decode()
    wanted = possession.CertificateRequest(ROBOT, "partner", proof, certificate)
    assert calls.create(wanted).chain == ""
    assert refused(lambda: calls.create(wanted)).code == "certificate-taken"
    unproven = possession.CertificateRequest(ROBOT, "partner", CERTIFICATE.request, certificate)
    assert refused(lambda: calls.create(unproven)).code == "certificate-unproven"


def _given(town: Town) -> None:
    _issued(town)
    _bound(town)


def _revoked(town: Town) -> None:
    calls = town.client("admin").certificates
    made = calls.create(CERTIFICATE)
    calls.revoke(made.certificate_id)
    assert next(one for one in calls.list() if one.id == made.certificate_id).revoked
    assert refused(lambda: calls.revoke(made.certificate_id)).code == "certificate-revoked"
    assert refused(lambda: calls.revoke("x")).code == "certificate-unknown"


def _registered(town: Town) -> None:
    calls, wanted = town.client("admin").signing_keys, fresh()
    made = calls.add(wanted)
    assert made.keyid == f"default/{made.signing_key_id}"
    (view,) = [one for one in town.client("auditor").signing_keys.list() if one.id == made.signing_key_id]
    assert (view.principal, view.keyid, view.revoked) == (ROBOT, made.keyid, False)
    assert refused(lambda: calls.add(wanted)).code == "signing-key-taken"
    assert refused(lambda: calls.add(possession.SigningKeyRequest(ROBOT, "x", "x"))).code == "key-malformed"


def _ended(town: Town) -> None:
    calls = town.client("admin").signing_keys
    made = calls.add(fresh())
    calls.revoke(made.signing_key_id)
    assert next(one for one in calls.list() if one.id == made.signing_key_id).revoked
    assert refused(lambda: calls.revoke("x")).code == "signing-key-unknown"


POSSESSION_ROUTES = {
    "GET /certificates": Route("/certificates", None, "operator", "access.read", "access:certificates", _issued),
    "POST /certificates": Route(
        "/certificates", encoded(CERTIFICATE), "operator", "key.create", f"principal:{ROBOT}", _given
    ),
    "DELETE /certificates/{certificate_id}": Route(
        "/certificates/x", None, "operator", "key.revoke", "certificate:x", _revoked
    ),
    "GET /signing-keys": Route("/signing-keys", None, "operator", "access.read", "access:signing-keys", _registered),
    "POST /signing-keys": Route(
        "/signing-keys", encoded(SIGNING_KEY), "operator", "key.create", f"principal:{ROBOT}", _registered
    ),
    "DELETE /signing-keys/{signing_key_id}": Route(
        "/signing-keys/x", None, "operator", "key.revoke", "signing-key:x", _ended
    ),
}  # fmt: skip
