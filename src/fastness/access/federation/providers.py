"""External OpenID providers, as an administrator set them: who they are, and whom of theirs we take for whom.

Nothing of a provider's word is taken that these settings do not name: not its other hosts, not its algorithms, not its
groups. Each change is an event with the digest of the whole, to be held against what was reviewed. The secret that this
house has with a provider is wrapped by the key ring for exactly that provider, or stays where a reference says.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from fastness.access.federation import records
from fastness.access.federation.fetching import read_address
from fastness.access.federation.records import ProviderRow
from fastness.access.sealing.records import Seen
from fastness.access.tokens.jose import EXTERNAL
from fastness.access.tokens.keys import Wrapping
from fastness.core.digests import BlobId, parse_name
from fastness.core.errors import Conflict, Corrupt, Invalid, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.identity import PrincipalId, Role, TenantId
from fastness.core.secrets import SecretBytes, SecretRef
from fastness.foundation.crypto import KeyContext, WrappedKey
from fastness.foundation.storage import Reading, Transaction

_PERSON = re.compile(r"user:[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)
_WORD = re.compile(r"[a-z0-9_.:/-]{1,128}", re.ASCII | re.IGNORECASE)
_ADDRESSES: Final = frozenset({"email", "email_verified"})
_MOST: Final = 1000
_LONGEST: Final = 255


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
        max_age_s: how long ago a person may have logged in there; it then has to say when that was (`auth_time`). 0 for
            providers that cannot say it: their logins never count as just made.
        strong_acr, strong_amr: values of `acr` and `amr` that mean a second factor was given.
        required: claims that somebody must have to come into this tenant, and their values, such as
            {"hd": "example.org"}; of a claim that is a list, one of its entries.
        claim: which claim tells people apart at their first login: `sub`, or one that the provider does not let its
            users change. Never an address of mail: addresses change hands.
        people: value of that claim to principal.
        provision: whether whoever the provider knows, and has what is required, becomes a principal, named by
            `name_claim`. Otherwise only those come in who are named in `people`, or have linked themselves.
        groups_claim: the claim with a person's groups; empty takes neither roles nor groups from the provider.
        groups: group to roles. Roles that stand here are the provider's to give and to take; others are left alone.
        memberships: group to ids of groups of the house, which are likewise the provider's to give and to take.
        secret_ref: where the secret of this house with the provider is kept; empty where the key ring keeps it.
        settled_by: who settled this last: nobody gives themselves roles or groups by a provider.
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
    required: dict[str, str] = {}
    claim: str = "sub"
    people: dict[str, PrincipalId] = {}
    provision: bool = False
    name_claim: str = "preferred_username"
    groups_claim: str = ""
    groups: dict[str, tuple[Role, ...]] = {}
    memberships: dict[str, tuple[str, ...]] = {}
    secret_ref: str = ""
    settled_by: str = ""

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True)
class Known:
    """A provider, and the secret that this house has with it; not printed. It is empty where a reference names it."""

    tenant: TenantId
    provider: Provider
    secret: SecretBytes

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of what is settled."""
        return _digest(_document(self.provider))


class Standing(NamedTuple):
    """A provider of the tenant, and whether people may come in by it."""

    provider: Provider
    enabled: bool


def set_provider(tx: Transaction, ring: Wrapping, provider: Provider, secret: SecretBytes | None) -> str:
    """Settle what holds with a provider, new or not; the digest of it.

    Args:
        secret: of the client there; None where it has none, or `secret_ref` says where it is kept.

    Raises:
        Invalid: a secret is missing, or one too many.
    """
    given = (secret is not None) + bool(provider.secret_ref)
    if given != (provider.authentication is not Authentication.NONE):
        hint = "Give a secret or a reference to one, unless the client is public (authentication none)."
        raise Invalid("provider-secret", "a provider has one secret exactly if one is used to authenticate", hint)
    wrapped = None if secret is None else ring.wrap(secret, _context(tx.scope.tenant, provider.name))
    return _put(tx, provider, wrapped)


def add_provider(tx: Transaction, ring: Wrapping, provider: Provider, secret: SecretBytes | None) -> str:
    """A new provider; the digest of what is settled.

    Raises:
        Conflict: `provider-exists`.
        Invalid: as `set_provider`.
    """
    if records.find_providers(tx, provider.name):
        hint = "Change it, or choose another name."
        raise Conflict("provider-exists", f"there is a provider {provider.name} already", hint)
    return set_provider(tx, ring, provider, secret)


def change_provider(tx: Transaction, ring: Wrapping, provider: Provider, secret: SecretBytes | None) -> str:
    """Settle anew what holds with a provider that there is; the digest of it. It is in use from then on as it was before.

    Args:
        secret: None keeps the one that the key ring holds, unless the provider is asked elsewhere from now on.

    Raises:
        NotFound: there is none of that name.
        Invalid: a secret is missing, or one too many.
        Corrupt: somebody changed the records.
    """
    row = _row(tx, provider.name)
    before = _read(row)
    kept = row.secret if provider.authentication is not Authentication.NONE and not provider.secret_ref else None
    if secret is not None or kept is None:
        digest = set_provider(tx, ring, provider, secret)
    elif (before.issuer, before.hosts) != (provider.issuer, provider.hosts):
        hint = "Give it again: nobody is to have a secret sent to another place without knowing it."
        raise Invalid("provider-secret", "the secret was given for another issuer or other hosts", hint)
    else:
        digest = _put(tx, provider, kept)
    if row.disabled:
        records.put_provider(tx, records.find_providers(tx, provider.name)[0]._replace(disabled=True))
    return digest


def disable_provider(tx: Transaction, name: str) -> None:
    """Let nobody in by this provider any more.

    Raises:
        NotFound: there is no such provider in use.
    """
    _switch(tx, name, disabled=True)


def enable_provider(tx: Transaction, name: str) -> None:
    """Let people in by this provider again.

    Raises:
        NotFound: there is no such provider out of use.
    """
    _switch(tx, name, disabled=False)


def remove_provider(tx: Transaction, name: str) -> Provider:
    """Forget a provider, and who its people are here unless another provider of the tenant has the same issuer.

    Raises:
        NotFound: there is none of that name.
        Corrupt: somebody changed the records.
    """
    provider = _read(_row(tx, name))
    records.remove_provider(tx, name)
    left = {standing.provider.issuer for standing in all_providers(tx)}
    forgotten = 0 if provider.issuer in left else records.remove_identities(tx, provider.issuer)
    details: dict[str, Detail] = {"issuer": provider.issuer, "unlinked": forgotten}
    tx.emit(tx.events.make(EventKind.PROVIDER_CHANGED, f"provider:{name}", reason="removed", details=details))
    return provider


def providers(reading: Reading) -> list[Provider]:
    """The providers in use in the tenant, by name.

    Raises:
        Corrupt: somebody changed the records.
    """
    return [standing.provider for standing in all_providers(reading) if standing.enabled]


def all_providers(reading: Reading) -> list[Standing]:
    """The providers of the tenant by name, those out of use too. Raises Corrupt."""
    return [Standing(_read(row), not row.disabled) for row in records.find_providers(reading)]


def offered(reading: Reading) -> list[str]:
    """The names of the providers in use in the tenant, for a page that everybody sees: forged ones are left out."""
    found = []
    for row in records.find_providers(reading, seen=Seen()):
        with suppress(Corrupt):
            found += [] if row.disabled else [_read(row).name]
    return found


def one_provider(reading: Reading, name: str) -> Standing:
    """A provider of the tenant, in use or not. Raises NotFound, Corrupt."""
    row = _row(reading, name)
    return Standing(_read(row), not row.disabled)


def provider_of(reading: Reading, ring: Wrapping, name: str, *, unused: bool = False) -> Known:
    """A provider in use, with its secret.

    Args:
        unused: also one that is out of use, to be tried.

    Raises:
        NotFound: there is none of that name in the tenant.
        Corrupt: somebody changed the records.
    """
    row, tenant = _row(reading, name), reading.scope.tenant
    if row.disabled and not unused:
        raise _unknown(name)
    secret = SecretBytes(b"") if row.secret is None else ring.unwrap(row.secret, _context(tenant, row.name))
    return Known(tenant, _read(row), secret)


def _row(reading: Reading, name: str) -> ProviderRow:
    found = records.find_providers(reading, name)
    if not found:
        raise _unknown(name)
    return found[0]


def _put(tx: Transaction, provider: Provider, wrapped: WrappedKey | None) -> str:
    document = _document(msgspec.structs.replace(provider, settled_by=tx.scope.principal))
    records.put_provider(tx, ProviderRow(provider.name, document, wrapped, disabled=False))
    details: dict[str, Detail] = {"issuer": provider.issuer, "digest": _digest(document)}
    tx.emit(tx.events.make(EventKind.PROVIDER_CHANGED, f"provider:{provider.name}", details=details))
    return _digest(document)


def _switch(tx: Transaction, name: str, *, disabled: bool) -> None:
    row = _row(tx, name)
    if row.disabled == disabled:
        raise _unknown(name)
    records.put_provider(tx, row._replace(disabled=disabled))
    reason = "disabled" if disabled else "enabled"
    tx.emit(tx.events.make(EventKind.PROVIDER_CHANGED, f"provider:{name}", reason=reason))


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
    if not all(_WORD.fullmatch(word) for word in words) or not 0 <= provider.max_age_s <= 604_800:
        raise Invalid("provider-words", "a scope, claim or age of the provider is malformed")
    _check_people(provider)


def _check_people(provider: Provider) -> None:
    if not all(_PERSON.fullmatch(principal) for principal in provider.people.values()):
        raise Invalid("provider-people", "people are taken for principals such as user:alice, and for no other kind")
    if _ADDRESSES & {provider.claim, provider.name_claim}:
        hint = "Use sub, or a claim that the provider gives to one person for good."
        raise Invalid("provider-claim", "nobody is known by an address of mail: addresses change hands", hint)
    if bool(provider.groups or provider.memberships) != bool(provider.groups_claim):
        raise Invalid("provider-groups", "groups need the claim that holds them, and the other way round")
    if not all(_WORD.fullmatch(name) and 0 < len(value) <= _LONGEST for name, value in provider.required.items()):
        raise Invalid("provider-words", "a required claim of the provider is malformed")
    lists = [list(one) for one in (provider.people, provider.groups, provider.memberships, provider.required)]
    if any(len(one) > _MOST or any(len(key) > _LONGEST for key in one) for one in lists):
        raise Invalid(
            "provider-large", f"a provider has at most {_MOST} people and groups, named by at most {_LONGEST}"
        )
    if provider.secret_ref:
        SecretRef.parse(provider.secret_ref)


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
