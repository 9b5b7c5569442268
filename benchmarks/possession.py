"""What it costs to know who asks: by an API key, a client certificate, or a signature of the request.

Method: each is done again and again in one thread with what a gateway worker holds; medians of batches. A certificate is looked up by
its thumbprint, which was computed once for the connection. A signature is read, verified and looked up in the memory of nonces in this
process; in a house of several workers the question to that memory comes on top, one message over a Unix socket. Each request is
signed anew, outside of what is timed. "sign" is what the SDK spends.

Caveats: other load on the machine shows at once. The TLS handshake is not counted: it is once a connection.
"""

from __future__ import annotations

import hmac
import statistics
import time
from collections.abc import Callable

from fastness.access import Credentials, authenticate
from fastness.access.apikeys import mint
from fastness.access.credentials import KeyRecord
from fastness.access.possession import Nonces, PossessionKey, PossessionKeys, Shown, SignatureSettings, proofs
from fastness.access.possession.certificates import by_certificate
from fastness.access.possession.signatures import Head, Rule, open_request
from fastness.client import HttpTransport, RequestSigner, SignedTransport
from fastness.client.signing import content_digest
from fastness.core.clock import SystemClock, system_entropy
from fastness.core.identity import PrincipalId, PrincipalKind, Role, TenantId
from fastness.core.limits import Limit
from fastness.foundation.crypto import SoftwareSigner
from fastness.foundation.crypto.certificates import certificate_request, new_private_key, public_of, read_request
from fastness.foundation.storage import counters

_BODY = b"x" * 1024
_FOREVER = 1 << 62


def batches(act: Callable[[], object], size: int, count: int = 30) -> float:
    """Microseconds of one call, the median of batches."""
    found = []
    for _ in range(count):
        begun = time.perf_counter()
        for _ in range(size):
            act()
        found.append((time.perf_counter() - begun) / size * 1e6)
    return statistics.median(found)


def signed(private: bytes) -> tuple[float, float]:
    """Microseconds to sign a request and to open it."""
    public, signer = public_of(read_request(certificate_request(private, "x"))[1]), RequestSigner(private)
    key = _key(public)
    keys = PossessionKeys({}, {signer.keyid: key})
    work = SignedTransport(HttpTransport("http://localhost"), signer, "https://house")
    given = {"host": "house", "content-type": "application/json", "content-digest": content_digest(_BODY)}
    rule, nonces = Rule(SignatureSettings(), frozenset({"house"})), Nonces(counters.MemorySeen(), None, 5)

    def head() -> Head:
        fields = tuple((given | work.signed("POST", "/v2/models/digits/infer", given)).items())
        return Head("POST", "house", "/v2/models/digits/infer", "", fields)

    heads = iter([head() for _ in range(3000)])

    def open_one() -> None:
        now = SystemClock().now()
        found = open_request(next(heads), keys, rule, now, "192.0.2.1")
        assert nonces.once(found.nonce, now)
        found.check(_BODY)

    return batches(head, 50), batches(open_one, 100)


def _key(public: bytes = b"") -> PossessionKey:
    return PossessionKey(
        "id", PrincipalId("service:x"), PrincipalKind.SERVICE, TenantId("default"), frozenset({Role.DEVELOPER}),
        Limit(1, 1), _FOREVER, public,
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    now = SystemClock().now()
    key_id, text = mint(system_entropy)
    pepper = bytes(32)
    record = KeyRecord(
        key_id, PrincipalId("service:x"), PrincipalKind.SERVICE, TenantId("default"), frozenset({Role.DEVELOPER}), Limit(1, 1), _FOREVER
    )  # fmt: skip
    credentials = Credentials(pepper, {hmac.digest(pepper, text.encode(), "sha256"): record})
    header = f"Bearer {text}".encode()
    keys = PossessionKeys({"thumb": _key()})

    def by_key() -> None:
        authenticate(header, credentials, now, "192.0.2.1")

    def by_connection() -> None:
        found = by_certificate("thumb", keys, now, "192.0.2.1")
        proofs(found.principal, Shown("thumb", None, "192.0.2.1"), keys, now, demanded=False)

    print(f"API key                          {batches(by_key, 2000):8.1f} us")
    print(f"certificate                      {batches(by_connection, 2000):8.1f} us")
    for name, private in (
        ("Ed25519", SoftwareSigner.create(system_entropy).private_pem()),
        ("P-256", new_private_key()),
    ):
        sign_us, open_us = signed(private)
        print(f"signed request, {name:<8}  open {open_us:8.1f} us   sign {sign_us:8.1f} us")


if __name__ == "__main__":
    main()
