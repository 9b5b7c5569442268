"""Addresses that loading or using a model asks: the machine's own, its network's and other schemes are attacks.

Misses: a public name that resolves to a private address; no name is resolved here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.facts import FactKind, Facts, found
from fastness.models.scan.rules import MAPS

INSIDE = Rule(
    "url-inside", "It asks an address inside of the machine or its network", Severity.HIGH,
    "Whoever loads the model asks on the attacker's behalf: files, cloud credentials and inner services answer.",
    "Do not load it. A model has no reason to ask such an address.", {**MAPS, "cwe": "CWE-918"},
)  # fmt: skip
OUTSIDE = Rule(
    "url-outside", "It asks an address while it is loaded or used", Severity.MEDIUM,
    "What is fetched is not covered by the scan, may change at any time, and tells who uses the model.",
    "Fetch it once, store it with the model, and scan it there.", {**MAPS, "cwe": "CWE-829"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (INSIDE, OUTSIDE)

_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*):")
_REMOTE = {"http", "https", "ftp", "ftps", "git", "git+https", "git+http", "git+ssh", "s3", "gs", "hf", "wss", "ws", "ssh",
           "hdfs", "abfs", "abfss", "wasbs", "az", "dbfs", "models", "runs", "mlflow-artifacts", "sftp"}  # fmt: skip
_HOSTS = {"http", "https", "ftp", "ftps", "ws", "wss", "git+http", "git+https"}
_INNER_NAMES = re.compile(
    r"(?:^|\.)(?:localhost|localdomain|local|internal|intranet|lan|home\.arpa)$|^metadata(?:\.|$)|^instance-data(?:\.|$)"
)
_QUAD = re.compile(r"(?<![0-9])([0-9]{1,3}(?:[.-][0-9]{1,3}){3})(?![0-9])")
_NUMBER = re.compile(r"0x[0-9a-f]{1,16}|[0-9]{1,20}")


@dataclass(frozen=True)
class Urls:
    """Judges addresses that are asked; those that are only mentioned are nobody's business."""

    name: ClassVar[str] = "urls"
    wants: ClassVar[AbstractSet[FactKind]] = frozenset({FactKind.URL})

    def check(self, facts: Facts) -> Iterator[Finding]:
        """One finding for each address that loading or using the model asks."""
        for fact in facts.of(FactKind.URL):
            if fact.detail.get("runs") == "never":
                continue
            shown = ascii(_without_secrets(fact.name)[:120])
            if fact.detail.get("runs") == "mention":
                told = found(INSIDE, fact.source, fact.offset, f"a description mentions {shown}", url=shown)
                yield replace(told, severity=Severity.MEDIUM)
            elif is_inside(fact.name):
                yield found(INSIDE, fact.source, fact.offset, f"asks {shown}", url=shown)
            else:
                yield found(OUTSIDE, fact.source, fact.offset, f"asks {shown}", url=shown)


def is_inside(url: str) -> bool:
    """Whether an address leads to the machine itself, to its network, or through a scheme that reads files."""
    match = _SCHEME.match(url)
    if match is None or match[1].lower() not in _REMOTE:
        return True
    bucket = match[1].lower() not in _HOSTS
    return any(_host_is_inside(spelled, bucket=bucket) for spelled in {url.strip(), url.strip().replace("\\", "/")})


def _host_is_inside(url: str, *, bucket: bool) -> bool:
    """Browsers and libraries differ in what a backslash is, so that both spellings are asked for."""
    try:
        host = unquote((urlsplit(url).hostname or "").rstrip(".")).lower()
    except ValueError:
        return True
    if bucket and "." not in host:
        return False  # the name of a bucket or a run, not of a host
    return not host or bool(_INNER_NAMES.search(host)) or any(not _is_public(address) for address in _addresses(host))


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    inner = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
    return bool(inner.is_global) and not inner.is_multicast


def _addresses(host: str) -> Iterator[IPv4Address | IPv6Address]:
    """Those that a host is, in any spelling, or carries in its name for a service that resolves to it."""
    with suppress(ValueError):
        yield ip_address(host.partition("%")[0])
    parts = host.split(".")
    if len(parts) <= 4 and all(_NUMBER.fullmatch(part) for part in parts):
        yield from _packed(
            [int(part, 16 if part[:2] == "0x" else 8 if part[0] == "0" and _octal(part) else 10) for part in parts]
        )
    for quad in _QUAD.findall(host):
        numbers = [int(part) for part in re.split(r"[.-]", quad)]
        if all(number < 256 for number in numbers):
            yield IPv4Address(bytes(numbers))


def _octal(part: str) -> bool:
    return len(part) > 1 and not set(part) & set("89")


def _packed(numbers: list[int]) -> Iterator[IPv4Address]:
    """As inet_aton reads `127.1` and `2130706433`: the last number fills what is left."""
    *first, last = numbers
    room = 1 << 8 * (4 - len(first))
    if all(number < 256 for number in first) and last < room:
        value = last
        for at, number in enumerate(first):
            value |= number << 8 * (3 - at)
        yield IPv4Address(value)


def _without_secrets(url: str) -> str:
    """The address without what stands before `@` and behind `?`, where passwords and keys stand."""
    return re.sub(r"//[^/@]*@", "//***@", url.partition("?")[0])


CHECK = Urls
