"""What the files that ask for packages have in common: one demand, as a fact.

A PACKAGE fact has the normalised name and, in its detail: `ecosystem` (PyPI or conda), `specifier`, and `origin`: index,
vcs, url, path, include (another file of demands), option (one that changes where packages come from or what is run), or
brought (the package itself lies there). Whatever has an address has it in `address`, without user and password.

Source: PEP 440, 503, 508, 735; pip documentation, "Requirements File Format".
"""

from __future__ import annotations

import re

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from fastness.models.scan.credentials import credentials_within
from fastness.models.scan.facts import Detail, Fact, FactKind

_SHOWN = 200
_USERINFO = re.compile(r"(?<=//)[^/@\s]*@")
_VCS = re.compile(r"(?:git|hg|svn|bzr)\+", re.IGNORECASE)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?://|(?=/))")
_PATH = re.compile(r"\.{0,2}[/\\]|\.{1,2}\Z|[A-Za-z]:[\\/]|~|file:", re.IGNORECASE)
_PACKAGE_FILE = re.compile(r"\.(?:whl|zip|tar|tgz|tar\.\w+|egg)(?:[#;\s]|\Z)", re.IGNORECASE)
_EGG = re.compile(r"[#&]egg=([A-Za-z0-9][A-Za-z0-9._-]*)")
_OLD = re.compile(
    r"([A-Za-z0-9][\w.-]{0,100})(?:\[[\w,. -]*\])?\s*((?:[<>=!~]{1,3}\s*[\w.*+!-]+\s*,?\s*){1,8})(?:;.*)?"
)
_BUILD = re.compile(r"=[^=<>!~,\s]+\Z")


def demand(name: str, offset: int, text: str) -> Fact | None:
    """The fact of one demand in the form of PEP 508, or of pip's addresses and paths; None where it is none of these.

    Args:
        name: of the file.
        text: without comments and options.
    """
    bare = text.strip()
    if _VCS.match(bare) or _ADDRESS.match(bare):
        return elsewhere(name, offset, bare)
    try:
        asked = Requirement(bare)
    except (InvalidRequirement, RecursionError):  # markers may nest as deep as they like
        return _odd(name, offset, bare)
    if asked.url is not None:
        return elsewhere(name, offset, asked.url, asked.name)
    return _fact(name, offset, asked.name, specifier=str(asked.specifier))


def _odd(name: str, offset: int, text: str) -> Fact | None:
    """Paths, what conda lists, and versions that older installers took."""
    if _PATH.match(text) or _PACKAGE_FILE.search(text):
        return _fact(name, offset, "", origin="path", address=text)
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*=[^=<>!~,\s]+=[^=<>!~,\s]+", text):
        return conda_demand(name, offset, text)
    match = _OLD.fullmatch(text)
    return None if match is None else _fact(name, offset, match[1], specifier=match[2].strip())


def elsewhere(name: str, offset: int, address: str, package: str = "") -> Fact:
    """The fact of a package that comes from an address or a path and not from an index."""
    egg = _EGG.search(address)
    origin = "vcs" if _VCS.match(address) else "path" if _PATH.match(address) else "url"
    return _fact(name, offset, package or (egg[1] if egg else ""), origin=origin, address=address)


def included(name: str, offset: int, location: str) -> Fact:
    """The fact that another file of demands is read."""
    return _fact(name, offset, "", origin="include", address=location)


def option(name: str, offset: int, flag: str, value: str) -> Fact:
    """The fact of an option for all packages."""
    return _fact(name, offset, flag, origin="option", address=value)


def brought(name: str, offset: int, package: str, version: str) -> Fact:
    """The fact that a package lies there itself."""
    return _fact(name, offset, package, origin="brought", specifier=f"=={version}")


def conda_demand(name: str, offset: int, text: str) -> Fact:
    """The fact of one demand in conda's form: name, version and build, with one sign of equality for a version that begins so."""
    channel, _, spec = text.strip().rpartition("::")
    match = re.match(r"([A-Za-z0-9_.-]+)\s*(.*)", spec)
    package, rest = (match[1], match[2].strip()) if match else (spec, "")
    rest = rest.partition(" ")[0] if re.match(r"\d", rest) else rest
    if re.fullmatch(r"={1,2}[^=<>!~,\s*|]+=[^=\s]+", rest):
        rest = _BUILD.sub("", rest)
    if re.fullmatch(r"=[^=<>!~,\s*|]+|\d[^=<>!~,\s*|]*", rest):
        rest = "==" + rest.lstrip("=")
    return _fact(name, offset, package, ecosystem="conda", specifier=rest, address=channel)


def secrets(name: str, offset: int, text: str) -> list[Fact]:
    """The facts of credentials in a text, such as the password of an index."""
    return [Fact(FactKind.CREDENTIAL, name, offset + at, kind) for kind, at in credentials_within(text)]


def _fact(name: str, offset: int, package: str, **detail: Detail) -> Fact:
    kept: dict[str, Detail] = {"ecosystem": "PyPI", "specifier": "", "origin": "index", "address": "", **detail}
    kept["address"] = _USERINFO.sub("***@", str(kept["address"]))[:_SHOWN]
    shown = package if kept["origin"] == "option" else canonicalize_name(package) if package else ""
    return Fact(FactKind.PACKAGE, name, offset, shown[:_SHOWN], kept)
