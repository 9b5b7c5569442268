"""External OpenID providers, as an administrator set them: who they are, and whom of theirs we take for whom.

Nothing of a provider's word is taken that these settings do not name: not its other hosts, not its algorithms, not its
groups. Each change is an event with the digest of the whole, to be held against what was reviewed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from fastness.access.federation import records
from fastness.access.federation.fetching import read_address
from fastness.access.federation.records import ProviderRow
from fastness.access.tokens.jose import EXTERNAL
from fastness.access.tokens.keys import Wrapping
from fastness.core.digests import BlobId, parse_name
from fastness.core.errors import Corrupt, Invalid, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.identity import PrincipalId, Role, TenantId
from fastness.core.secrets import SecretBytes
from fastness.foundation.crypto import KeyContext
from fastness.foundation.storage import Reading, Transaction

_PERSON = re.compile(r"user:[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)
_WORD = re.compile(r"[a-z0-9_.:/-]{1,128}", re.ASCII | re.IGNORECASE)
EMAIL: Final = "email"


class Authentication(StrEnum):
    """How this house proves itself to the provider's token endpoint."""

    NONE = "none"
    BASIC = "client_secret_basic"
    POST = "client_secret_post"


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is settled with a provider.

    Attributes:
        name: how it is called here.
        issuer: its `iss`, letter by letter.
        client_id: who this house is there.
        hosts: hosts besides the issuer's that its endpoints may be on.
        algorithms: with which it may sign.
        scopes: asked for besides `openid`.
        max_age_s: how long ago a person may have logged in there; it then says when that was.
        strong_acr, strong_amr: values of `acr` and `amr` that mean a second factor was given.
        claim: which claim tells people apart at their first login: `sub`, or one that the provider does not let its
            users change. `email` counts only with `email_verified`.
        people: value of that claim to principal.
        provision: whether whoever the provider knows becomes a principal, named by `name_claim`.
        groups_claim: the claim with a person's groups; empty takes no roles from the provider.
        groups: group to roles. Roles that stand here are the provider's to give and to take; others are left alone.
    """

    name: str
    issuer: str
    client_id: str
    authentication: Authentication = Authentication.BASIC
    hosts: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ("ES256", "RS256")
    scopes: tuple[str, ...] = ()
    max_age_s: int = 28_800
    strong_acr: tuple[str, ...] = ()
    strong_amr: tuple[str, ...] = ()
    claim: str = "sub"
    people: dict[str, PrincipalId] = {}
    provision: bool = False
    name_claim: str = "preferred_username"
    groups_claim: str = ""
    groups: dict[str, tuple[Role, ...]] = {}

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True)
class Known:
    """A provider, and the secret that this house has with it; not printed."""

    tenant: TenantId
    provider: Provider
    secret: SecretBytes

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of what is settled."""
        return _digest(_document(self.provider))


def set_provider(tx: Transaction, ring: Wrapping, provider: Provider, secret: SecretBytes | None) -> str:
    """Settle what holds with a provider, new or not; the digest of it.

    Args:
        secret: of the client there; None where it has none.

    Raises:
        Invalid: a secret is missing, or one too many.
    """
    if (secret is None) != (provider.authentication is Authentication.NONE):
        raise Invalid("provider-secret", "a provider has a secret exactly if one is used to authenticate")
    wrapped = None if secret is None else ring.wrap(secret, _context(tx.scope.tenant, provider.name))
    document = _document(provider)
    records.put_provider(tx, ProviderRow(provider.name, document, wrapped, disabled=False))
    details: dict[str, Detail] = {"issuer": provider.issuer, "digest": _digest(document)}
    tx.emit(tx.events.make(EventKind.PROVIDER_CHANGED, f"provider:{provider.name}", details=details))
    return _digest(document)


def disable_provider(tx: Transaction, name: str) -> None:
    """Let nobody in by this provider any more.

    Raises:
        NotFound: there is no such provider in use.
    """
    found = [row for row in records.find_providers(tx, name) if not row.disabled]
    if not found:
        raise _unknown(name)
    records.put_provider(tx, found[0]._replace(disabled=True))
    tx.emit(tx.events.make(EventKind.PROVIDER_CHANGED, f"provider:{name}", reason="disabled"))


def providers(reading: Reading) -> list[Provider]:
    """The providers in use in the tenant, by name.

    Raises:
        Corrupt: somebody changed the records.
    """
    return [_read(row) for row in records.find_providers(reading) if not row.disabled]


def provider_of(reading: Reading, ring: Wrapping, name: str) -> Known:
    """A provider in use, with its secret.

    Raises:
        NotFound: there is none of that name in the tenant.
        Corrupt: somebody changed the records.
    """
    found = [row for row in records.find_providers(reading, name) if not row.disabled]
    if not found:
        raise _unknown(name)
    row, tenant = found[0], reading.scope.tenant
    secret = SecretBytes(b"") if row.secret is None else ring.unwrap(row.secret, _context(tenant, row.name))
    return Known(tenant, _read(row), secret)


def unlink(tx: Transaction, provider: Provider, principal: PrincipalId) -> None:
    """Forget which identity of the provider a principal is; the next login links it anew.

    Raises:
        NotFound: it is linked to none.
    """
    if records.remove_identity(tx, provider.issuer, principal) != 1:
        raise NotFound("identity-unknown", f"{principal[:80]} is not linked to {provider.name}")
    details: dict[str, Detail] = {"provider": provider.name}
    tx.emit(
        tx.events.make(
            EventKind.DIRECTORY_CHANGED, f"principal:{principal}", reason="identity-unlinked", details=details
        )
    )


def _check(provider: Provider) -> None:
    parse_name(provider.name)
    place = read_address(provider.issuer, loopback=True)
    if provider.issuer.endswith("/.well-known/openid-configuration") or "?" in place.path or len(provider.issuer) > 512:
        raise Invalid("provider-issuer", "an issuer is an https address without a query", "Give what stands in `iss`.")
    if not provider.client_id or not provider.client_id.isprintable() or len(provider.client_id) > 256:
        raise Invalid("provider-client", "a provider needs the id that this house has there")
    if not provider.algorithms or not set(provider.algorithms) <= set(EXTERNAL):
        raise Invalid("provider-algorithms", f"choose from {', '.join(EXTERNAL)}")
    words = (*provider.scopes, provider.claim, provider.name_claim, *filter(None, [provider.groups_claim]))
    if not all(_WORD.fullmatch(word) for word in words) or not 0 < provider.max_age_s <= 604_800:
        raise Invalid("provider-words", "a scope, claim or age of the provider is malformed")
    _check_people(provider)


def _check_people(provider: Provider) -> None:
    if not all(_PERSON.fullmatch(principal) for principal in provider.people.values()):
        raise Invalid("provider-people", "people are taken for principals such as user:alice, and for no other kind")
    if bool(provider.groups) != bool(provider.groups_claim):
        raise Invalid("provider-groups", "groups need the claim that holds them, and the other way round")
    if not provider.people and not provider.provision:
        raise Invalid("provider-nobody", "this provider would let nobody in", "Name people, or set provision.")


def _document(provider: Provider) -> str:
    return msgspec.json.encode(provider, order="deterministic").decode("utf-8")


def _digest(document: str) -> str:
    return hashlib.sha256(document.encode()).hexdigest()


def _read(row: ProviderRow) -> Provider:
    try:
        return msgspec.json.decode(row.document, type=Provider)
    except (msgspec.MsgspecError, Invalid) as error:
        hint = "Somebody changed the database: compare it with the ledger, and restore a backup."
        raise Corrupt("access-changed", "the records of federation hold a provider that is none", hint) from error


def _context(tenant: TenantId, name: str) -> KeyContext:
    return KeyContext(tenant, BlobId(f"provider:{name}"), 0)


def _unknown(name: str) -> NotFound:
    return NotFound("provider-unknown", f"there is no provider {name[:64]!r}")
