"""HTTP to Fastness: over TLS 1.3, or over the Unix socket of a house on this machine.

One connection, kept alive; not for several threads at once. A connection that failed is never used again.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import urlsplit

from fastness.core.errors import Invalid, Unavailable

Body = bytes | Iterable[bytes]
MAX_REPLY_BYTES = 256 << 20


class Reply(Protocol):
    """An answer; its body is read once, whole or line by line."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, with lower-case names."""
        ...

    def read(self) -> bytes:
        """The whole body."""
        ...

    def lines(self) -> Iterator[bytes]:
        """The body by line, as the lines arrive."""
        ...


class Transport(Protocol):
    """Something that carries a request to a house."""

    def send(self, method: str, path: str, headers: Mapping[str, str], body: Body | None = None) -> Reply:
        """Send one request.

        Raises:
            Unavailable: nobody answers.
        """
        ...

    def close(self) -> None:
        """Give back the connection."""
        ...


class HttpReply:
    """A reply read from a connection."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self._response = response

    def read(self) -> bytes:
        """The whole body.

        Raises:
            Unavailable: the connection broke, or the body is longer than this client takes.
        """
        try:
            body = self._response.read(MAX_REPLY_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable("connection-broken", "the connection broke while the answer was read") from error
        if len(body) > MAX_REPLY_BYTES:
            raise Unavailable("reply-too-large", f"the answer is longer than {MAX_REPLY_BYTES} bytes")
        return body

    def lines(self) -> Iterator[bytes]:
        """The body by line.

        Raises:
            Unavailable: the connection broke.
        """
        try:
            while line := self._response.readline(1 << 20):
                yield line
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable("connection-broken", "the connection broke while the answer was read") from error


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """By which a client shows who it is to TLS.

    Attributes:
        certificate: PEM file of the certificate, and of authorities between it and one that the house trusts.
        key: PEM file of its private key, unencrypted.
    """

    certificate: Path
    key: Path


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class HttpTransport:
    """A kept-alive connection to `https://…`, `http://…` (only to this machine) or a Unix socket.

    Args:
        target: a URL, or the path of a socket.
        ca: PEM file of the certificate authority; None takes those of the machine.
        timeout_s: for connecting and for each read.
        certificate: by which the client shows who it is; with `https://…` only.

    Raises:
        Invalid: the target is not understood, or plain http to another machine; or the certificate cannot be used.
    """

    def __init__(
        self,
        target: str | Path,
        ca: Path | None = None,
        timeout_s: float = 30.0,
        certificate: ClientCertificate | None = None,
    ) -> None:
        self.target = str(target)
        self._connection = _connection(target, ca, timeout_s, certificate)
        self._used = False

    def send(self, method: str, path: str, headers: Mapping[str, str], body: Body | None = None) -> HttpReply:
        """Send one request; a connection that the server closed meanwhile is opened anew, once.

        Raises:
            Unavailable: nobody answers, or the certificate is not trusted.
        """
        repeatable = self._used and (body is None or isinstance(body, bytes))
        try:
            return self._exchange(method, path, headers, body)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            self._connection.close()
            if not repeatable:
                raise self._unreachable(error) from error
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise self._unreachable(error) from error
        try:
            return self._exchange(method, path, headers, body)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise self._unreachable(error) from error

    def _exchange(self, method: str, path: str, headers: Mapping[str, str], body: Body | None) -> HttpReply:
        chunked = body is not None and not isinstance(body, bytes)
        # A server that refuses on the headers answers and closes before the body is sent: read its answer.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._connection.request(method, path, body, dict(headers), encode_chunked=chunked)
        reply = HttpReply(self._connection.getresponse())
        self._used = True
        return reply

    def _unreachable(self, error: Exception) -> Unavailable:
        if isinstance(error, ssl.SSLCertVerificationError):
            return Unavailable(
                "certificate-untrusted",
                f"the certificate of {self.target} is not trusted: {error.verify_message}",
                "Pass the house's tls/ca.pem as `ca`.",
            )
        if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
            return Unavailable(
                "certificate-refused",
                f"{self.target} ended the connection: {error.reason}",
                "It asks for a certificate of a caller that it knows, or the one that was sent is none.",
            )
        return Unavailable(
            "unreachable", f"nobody answers at {self.target}: {error}", "Is `fastness up` running there?"
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _connection(
    target: str | Path, ca: Path | None, timeout_s: float, certificate: ClientCertificate | None
) -> http.client.HTTPConnection:
    if certificate is not None and not str(target).startswith("https://"):
        raise Invalid("target-malformed", "a certificate is shown over TLS alone", "Give https://HOST:PORT.")
    if isinstance(target, Path) or "://" not in target:
        return _UnixConnection(Path(target), timeout_s)
    url = urlsplit(target)
    if url.scheme == "https" and url.hostname:
        context = _context(ca, certificate)
        return http.client.HTTPSConnection(url.hostname, url.port or 443, timeout=timeout_s, context=context)
    if url.scheme == "http" and url.hostname in ("127.0.0.1", "::1", "localhost"):
        return http.client.HTTPConnection(url.hostname, url.port or 80, timeout=timeout_s)
    raise Invalid("target-malformed", f"{target} is not a target", "Give https://HOST:PORT or the path of a socket.")


def _context(ca: Path | None, certificate: ClientCertificate | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
    except OSError as error:  # ssl.SSLError is one
        raise Invalid("ca-unreadable", f"{ca} holds no certificates that can be read", "Name a PEM file.") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if certificate is None:
        return context

    def no_password() -> str:
        raise Invalid("certificate-unusable", "the key of the certificate is encrypted", "Give an unencrypted one.")

    try:
        context.load_cert_chain(certificate.certificate, certificate.key, no_password)
    except OSError as error:
        text = f"the certificate and its key cannot be used: {error}"
        raise Invalid("certificate-unusable", text, "Give PEM files that belong together.") from error
    return context
