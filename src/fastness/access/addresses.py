"""Whence a key may be used: networks in CIDR form, and addresses looked up in them in a microsecond.

Every address is 16 bytes, IPv4 as IPv4-mapped IPv6 (RFC 4291, section 2.5.5.2), so `10.0.0.1` and `::ffff:10.0.0.1` are one.
A network is its first and last address. A request over the Unix socket is local: it comes from `127.0.0.1` and from `::1`.
"""

from __future__ import annotations

import ipaddress
import socket

from fastness.core.errors import Invalid

LOCAL = "local"
"""The address of who comes over a Unix socket; the empty text says the same."""

MOST = 32
_MAPPED = b"\0" * 10 + b"\xff\xff"
_LOCAL = (_MAPPED + b"\x7f\0\0\x01", b"\0" * 15 + b"\x01")

Spans = tuple[tuple[bytes, bytes], ...]


def parse_networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The networks in their one way of being written, sorted, each once.

    Raises:
        Invalid: not an address or network, one with bits set behind its prefix, or too many.
    """
    if len(texts) > MOST:
        raise Invalid("key-networks", f"a key is confined to at most {MOST} networks")
    found = set()
    for text in texts:
        try:
            network = ipaddress.ip_network(text, strict=True)
        except ValueError as error:
            hint = "Write such as 10.0.0.0/8 or 2001:db8::/32, with no bits set behind the prefix."
            raise Invalid("key-networks", f"{text[:60]!r} is no network", hint) from error
        mapped = network.network_address.ipv4_mapped if network.version == 6 else None
        if mapped is not None and network.prefixlen >= 96:
            network = ipaddress.ip_network((mapped, network.prefixlen - 96))
        found.add(str(network))
    return tuple(sorted(found))


def spans(networks: tuple[str, ...]) -> Spans:
    """What `inside` looks an address up in."""
    return tuple(_span(network) for network in networks)


def _span(text: str) -> tuple[bytes, bytes]:
    network = ipaddress.ip_network(text)
    first, last = network.network_address.packed, network.broadcast_address.packed
    return (_MAPPED + first, _MAPPED + last) if network.version == 4 else (first, last)


def inside(address: str | None, allowed: Spans) -> bool:
    """Whether `address` lies in one of the networks. What is no address lies in none."""
    if address is None:
        return False
    packed = _LOCAL if address in {"", LOCAL} else _packed(address)
    for one in packed:  # on the hot path: a generator would take as long again
        for low, high in allowed:
            if low <= one <= high:
                return True
    return False


def _packed(address: str) -> tuple[bytes, ...]:
    try:
        if ":" in address:
            return (socket.inet_pton(socket.AF_INET6, address.partition("%")[0]),)
        return (_MAPPED + socket.inet_pton(socket.AF_INET, address),)
    except (OSError, ValueError):
        return ()


def within(narrow: tuple[str, ...], wide: tuple[str, ...]) -> bool:
    """Whether every address of `narrow` is one of `wide`; none at all stands for every address."""
    if not wide:
        return True
    outer = spans(wide)
    return bool(narrow) and all(any(low <= one and two <= high for low, high in outer) for one, two in spans(narrow))
