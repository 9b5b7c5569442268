"""Messages of the control plane about external OpenID providers, and who of their people is who here."""

from __future__ import annotations

from typing import Annotated

import msgspec

from fastness.wire.control import Message
from fastness.wire.shapes import Name, RoleName, described

AUTHENTICATIONS = ("none", "client_secret_basic", "client_secret_post")
ALGORITHMS = ("ES256", "EdDSA", "Ed25519", "RS256")
AuthenticationName = Annotated[str, described(enum=list(AUTHENTICATIONS))]
AlgorithmName = Annotated[str, described(enum=list(ALGORITHMS))]
Issuer = Annotated[str, described(format="uri", maxLength=512)]


class ProviderSettings(Message, frozen=True, kw_only=True):
    """What is settled with a provider.

    Attributes:
        issuer: its `iss`, letter by letter.
        client_id: who this house is there.
        secret_ref: `secret://…`, where the secret with it is kept, in place of one that is sent.
        hosts: hosts besides the issuer's that its endpoints may be on.
        scopes: asked for besides `openid`.
        max_age_s: how long ago a person may have logged in there; 0 for providers that do not say when that was.
        strong_acr, strong_amr: values of `acr` and `amr` that count as a second factor; none counts where none stands.
        required: claims that somebody must have to come into this tenant, and their values.
        claim: tells people apart at their first login; never an address of mail.
        people: value of that claim to principal.
        provision: whether whoever the provider knows becomes a principal, named by `name_claim`.
        groups: group of the provider to roles, which are its to give and to take from now on.
        memberships: group of the provider to ids of groups of the house, likewise.
    """

    issuer: Issuer
    client_id: str
    authentication: AuthenticationName = "client_secret_basic"
    secret_ref: str = ""
    hosts: tuple[str, ...] = ()
    algorithms: tuple[AlgorithmName, ...] = ("ES256", "RS256")
    scopes: tuple[str, ...] = ()
    max_age_s: int = 28_800
    strong_acr: tuple[str, ...] = ()
    strong_amr: tuple[str, ...] = ()
    required: dict[str, str] = msgspec.field(default_factory=dict)
    claim: str = "sub"
    people: dict[str, str] = msgspec.field(default_factory=dict)
    provision: bool = False
    name_claim: str = "preferred_username"
    groups_claim: str = ""
    groups: dict[str, tuple[RoleName, ...]] = msgspec.field(default_factory=dict)
    memberships: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)


class NewProviderRequest(Message, frozen=True):
    """Adds a provider; the secret with it is kept encrypted and shown to nobody."""

    name: Name
    settings: ProviderSettings
    secret: str = ""


class ProviderRequest(Message, frozen=True):
    """Settles anew what holds with a provider; without a secret the one that is kept stays."""

    settings: ProviderSettings
    secret: str = ""


class ProviderView(Message, frozen=True):
    """A provider without its secret.

    Attributes:
        redirect_uri: to be registered at the provider, as `redirect_uris`.
        logout_uri: the same, as `backchannel_logout_uri`.
        after_logout_uri: the same, as `post_logout_redirect_uris`.
    """

    name: str
    enabled: bool
    redirect_uri: str
    logout_uri: str
    after_logout_uri: str
    settings: ProviderSettings


class ProviderCheck(Message, frozen=True):
    """One thing that was looked at, and what to do where it is not as it should be."""

    name: str
    passed: bool
    message: str
    hint: str = ""


class ProviderTrial(Message, frozen=True):
    """Whether a provider does what is settled with it."""

    passed: bool
    checks: tuple[ProviderCheck, ...]


class IdentityView(Message, frozen=True):
    """An identity at a provider, and who that is here; without a name no provider of that issuer is left."""

    provider: str
    issuer: str
    subject: str
    principal: str
    linked_at: str
