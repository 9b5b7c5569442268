"""Sign requests with a key of one's own, so that nothing secret is sent and nothing on the way can be changed or sent again.

Each request is signed over method, authority, path, query, the fields that change what it means, and the digest of its body. A
body that comes in pieces is gone through twice, so it has to be a list or bytes, no generator.

Source: RFC 9421 (HTTP Message Signatures), sections 2 and 3.1; RFC 9530 (Content-Digest).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from fastness.client.transport import Body, Reply, Transport
from fastness.core.clock import SECOND, Clock, SystemClock
from fastness.core.errors import Invalid

TAG: Final = "fastness"
_DERIVED: Final = ("@method", "@authority", "@path", "@query")
_COVERED: Final = frozenset(
    {
        "authorization", "content-type", "content-digest", "content-encoding", "idempotency-key", "if-match",
        "inference-header-content-length",
    }
)  # fmt: skip
_PORTS: Final = {"https": 443, "http": 80}


class RequestSigner:
    """A private key, Ed25519 or ECDSA P-256, and the name under which its public half is registered.

    Args:
        private_pem: unencrypted PKCS #8 or SEC 1.
        tenant: whose principal signs.

    Attributes:
        keyid: `TENANT/ID`, as `fastness access signing-key list` shows it.

    Raises:
        Invalid: not such a key.
    """

    def __init__(self, private_pem: bytes, tenant: str = "default") -> None:
        try:
            key = load_pem_private_key(private_pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Invalid("key-malformed", "not an unencrypted private key in PEM") from error
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        identifier = base64.urlsafe_b64encode(hashlib.sha256(public).digest()).rstrip(b"=").decode()
        self.keyid = f"{tenant}/{identifier}"
        self._sign: Callable[[bytes], bytes]
        if isinstance(key, Ed25519PrivateKey):
            self._sign = key.sign
        elif isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
            self._sign = _ecdsa(key)
        else:
            raise Invalid("key-unsupported", "requests are signed by Ed25519 or ECDSA P-256 keys")

    @classmethod
    def from_file(cls, path: str | Path, tenant: str = "default") -> RequestSigner:
        """The key in a file.

        Raises:
            Invalid: it cannot be read, or holds no such key.
        """
        try:
            return cls(Path(path).read_bytes(), tenant)
        except OSError as error:
            raise Invalid("key-unreadable", f"the signing key cannot be read: {error}") from error

    def sign(self, base: bytes) -> bytes:
        """The signature of a signature base."""
        return self._sign(base)


class SignedTransport:
    """A transport that signs what it sends.

    Args:
        transport: carries it.
        url: where that leads, as in `HttpTransport`; a Unix socket is `http://localhost`.
    """

    def __init__(self, transport: Transport, signer: RequestSigner, url: str, clock: Clock | None = None) -> None:
        parts = urlsplit(url if "://" in url else "http://localhost")
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        own = parts.port is None or parts.port == _PORTS.get(parts.scheme)
        self._authority = host if own else f"{host}:{parts.port}"
        self._transport = transport
        self._signer = signer
        self._clock = clock or SystemClock()

    def send(self, method: str, path: str, headers: Mapping[str, str], body: Body | None = None) -> Reply:
        """Sign and send one request.

        Raises:
            Invalid: the body comes in pieces that can be gone through once only.
            Unavailable: nobody answers.
        """
        fields = {name.lower(): value for name, value in headers.items()}
        if body is not None:
            fields["content-digest"] = content_digest(body)
        return self._transport.send(method, path, fields | self.signed(method, path, fields), body)

    def signed(self, method: str, path: str, fields: Mapping[str, str]) -> dict[str, str]:
        """The fields to add to a request with these fields, whose names are lower case."""
        where, mark, query = path.partition("?")
        derived = {
            "@method": method,
            "@authority": self._authority,
            "@path": where,
            "@query": f"?{query}" if mark else "?",
        }
        named = [name for name in fields if name in _COVERED or name.startswith("fastness-")]
        covered = " ".join(f'"{name}"' for name in (*_DERIVED, *named))
        created = self._clock.now() // SECOND
        nonce = secrets.token_urlsafe(18)
        described = f'({covered});created={created};nonce="{nonce}";keyid="{self._signer.keyid}";tag="{TAG}"'
        lines = [f'"{name}": {value}' for name, value in derived.items()]
        lines += [f'"{name}": {fields[name].strip()}' for name in named]
        lines.append(f'"@signature-params": {described}')
        signature = base64.b64encode(self._signer.sign("\n".join(lines).encode("ascii"))).decode()
        return {"signature-input": f"{TAG}={described}", "signature": f"{TAG}=:{signature}:"}

    def close(self) -> None:
        """Give back the connection."""
        self._transport.close()


def content_digest(body: Body) -> str:
    """The value of Content-Digest for `body`.

    Raises:
        Invalid: it can be gone through once only.
    """
    pieces: Iterable[bytes] = (body,) if isinstance(body, bytes) else body
    if not isinstance(pieces, Collection):
        raise Invalid("body-unsignable", "a body has to be known whole to be signed", "Give bytes, or a list of them.")
    hashed = hashlib.sha256()
    for piece in pieces:
        hashed.update(piece)
    return f"sha-256=:{base64.b64encode(hashed.digest()).decode()}:"


def _ecdsa(key: ec.EllipticCurvePrivateKey) -> Callable[[bytes], bytes]:
    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)  # RFC 9421, section 3.3.4

    return sign
