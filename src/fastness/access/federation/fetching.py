"""Fetching from outside, without being led inside: for what providers publish, and nothing else.

An address is https, or http on the loopback by number where the operator allows that. Its name is resolved once; each
address that comes back must be one of the public internet, or of a network that the operator named; the connection goes
to the address that was checked, so that a name which resolves to something else a moment later gains nothing. There are
no redirections, no compression, no cookies, no proxies; size and time are bounded, the time of all together.

Source: OWASP SSRF Prevention Cheat Sheet; RFC 6890 (special-purpose addresses); RFC 6052 (addresses in addresses).
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from fastness.core.errors import Corrupt, Invalid, Unavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], list[str]]

LARGEST: Final = 262_144
# No user, no fragment, no backslash; what follows the host is sent as it is.
_URL = re.compile(
    r"(https?)://([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?([/?][!\"$-\[\]-~]{0,2048})?", re.ASCII
)
_NAME = re.compile(r"(?=.{1,253}\Z)(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*", re.ASCII)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _resolved(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


@dataclass(frozen=True, slots=True)
class Place:
    """An address that may be fetched from, as far as its text tells."""

    secure: bool
    host: str
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches.

    Attributes:
        loopback: whether this machine may be asked: for tests, and for providers that run beside the house.
        networks: private networks that may be asked, as CIDR.
        ca_file: certificates to trust in place of the system's; empty for the system's.
        timeout_s: of one exchange as a whole.
        resolve: name and port to addresses; the system's resolver.
    """

    loopback: bool = False
    networks: tuple[str, ...] = ()
    ca_file: str = ""
    timeout_s: float = 5.0
    resolve: Resolve = _resolved

    def __post_init__(self) -> None:
        try:
            for network in self.networks:
                ipaddress.ip_network(network)
        except ValueError as error:
            raise Invalid("network-malformed", f"not a network: {error}", "Write it like 10.20.0.0/16.") from error

    def get(self, url: str) -> bytes:
        """What `url` holds.

        Raises:
            Invalid: `address-refused`: the address is not one to fetch from.
            Unavailable: it does not answer, or not with 200.
            Corrupt: it answers with too much.
        """
        status, body = self._exchange("GET", url, b"", {})
        if status != 200:
            raise Unavailable("provider-answer", f"the provider answers with {status}", "Look at the provider.")
        return body

    def post(self, url: str, form: Mapping[str, str], authorization: str = "") -> tuple[int, bytes]:
        """Status and body of the answer to a form.

        Raises:
            Invalid, Unavailable, Corrupt: as `get`, but for the status.
        """
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if authorization:
            headers["Authorization"] = authorization
        return self._exchange("POST", url, urlencode(form).encode("ascii"), headers)

    def _exchange(self, method: str, url: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        place = read_address(url, loopback=self.loopback)
        address = self._checked(place)
        whole = {"Accept": "application/json", "Accept-Encoding": "identity", "Connection": "close"} | headers
        connection = self._connection(place, address)
        # The library's own timeout is that of one read; this ends the exchange as a whole.
        over = threading.Event()
        watch = threading.Timer(self.timeout_s, _hang_up, (connection, over))
        watch.daemon = True
        watch.start()
        try:
            connection.request(method, place.path, body or None, whole)
            answer = connection.getresponse()
            data = answer.read(LARGEST + 1)
            encoded = answer.getheader("Content-Encoding", "identity")
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable("provider-unreachable", "the provider does not answer", "Try again later.") from error
        finally:
            watch.cancel()
            connection.close()
        if over.is_set() or (len(data) <= LARGEST and answer.length):  # what was cut off looks whole to the library
            raise Unavailable("provider-unreachable", "the provider's answer broke off", "Try again later.")
        if len(data) > LARGEST or encoded != "identity":
            raise Corrupt("provider-answer", "the provider's answer is too large, or compressed")
        return answer.status, data

    def _checked(self, place: Place) -> str:
        """The address to connect to. Raises Invalid where the name leads to one that is not allowed."""
        try:
            found = self.resolve(place.host, place.port)
            addresses = [ipaddress.ip_address(text) for text in found]
        except (OSError, ValueError) as error:
            raise Unavailable("provider-unreachable", "the provider's name cannot be resolved") from error
        if not addresses or not all(self._allowed(address) for address in addresses):
            raise Invalid(
                "address-refused",
                "the provider's name leads to an address that is not of the public internet",
                "Name its network in the settings if it is meant.",
            )
        return str(addresses[0])

    def _allowed(self, address: Address) -> bool:
        inner = _inner(address)
        if inner is not None:
            return self._allowed(inner)
        if address.is_loopback:
            return self.loopback
        if any(address in ipaddress.ip_network(network) for network in self.networks):
            return True
        return address.is_global and not address.is_multicast

    def _connection(self, place: Place, address: str) -> http.client.HTTPConnection:
        if not place.secure:
            return _Plain(place, address, self.timeout_s)
        context = ssl.create_default_context(cafile=self.ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return _Secured(place, address, self.timeout_s, context)


def read_address(url: str, *, loopback: bool) -> Place:
    """The parts of an address to fetch from.

    Raises:
        Invalid: `address-refused`: another scheme, credentials, a fragment, or what is no name.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise _refused()
    secure, host, port = match[1] == "https", match[2].strip("[]").lower(), int(match[3] or 0)
    if port > 65_535 or not (_is_host(host) if secure else loopback and _is_inside(host)):
        raise _refused()
    rest = match[4] or "/"
    return Place(secure, host, port or (443 if secure else 80), rest if rest.startswith("/") else f"/{rest}")


def _is_host(host: str) -> bool:
    """Whether it is an address, or a name that no resolver would take for one."""
    return _numeric(host) is not None or (_NAME.fullmatch(host) is not None and not host.rpartition(".")[2].isdigit())


def _is_inside(host: str) -> bool:
    numeric = _numeric(host)
    return numeric is not None and numeric.is_loopback


def _numeric(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _refused() -> Invalid:
    return Invalid("address-refused", "not an https address to fetch from", "Use https, without user and fragment.")


class _Plain(http.client.HTTPConnection):
    """A connection to the address that was checked, whatever the name resolves to by now."""

    def __init__(self, place: Place, address: str, timeout_s: float) -> None:
        super().__init__(place.host, place.port, timeout=timeout_s)
        self._address = address

    def connect(self) -> None:
        """Connect to the checked address."""
        self.sock = socket.create_connection((self._address, self.port), self.timeout)


class _Secured(http.client.HTTPSConnection):
    """The same with TLS, whose certificate is that of the name."""

    def __init__(self, place: Place, address: str, timeout_s: float, context: ssl.SSLContext) -> None:
        super().__init__(place.host, place.port, timeout=timeout_s, context=context)
        self._address = address
        self._tls = context

    def connect(self) -> None:
        """Connect to the checked address, and check the certificate against the name."""
        plain = socket.create_connection((self._address, self.port), self.timeout)
        try:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


def _inner(address: Address) -> Address | None:
    """The IPv4 address inside an IPv6 one, by whatever way of putting it there."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour


def _hang_up(connection: http.client.HTTPConnection, over: threading.Event) -> None:
    over.set()
    sock = connection.sock
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
