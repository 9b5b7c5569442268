"""Routes of external OpenID providers, and of who of their people is who here."""

from __future__ import annotations

import msgspec
from litestar import Controller, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from fastness.access.directory import groups
from fastness.access.federation import Provider, identities, logouts, providers
from fastness.access.login import factors
from fastness.app import House
from fastness.core.clock import rfc3339
from fastness.core.errors import Invalid
from fastness.core.identity import Action, PrincipalId, Resource, TenantId
from fastness.core.secrets import SecretBytes
from fastness.foundation.storage import Transaction
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.paging import Page
from fastness.interfaces.api.routes import WRITE, guarded, own
from fastness.wire import federation as wire

AFTER_LOGOUT = "/console/login"


class ProviderRoutes(Controller):
    """By whom people come in besides this house itself."""

    path = "/providers"
    tags = ("federation",)

    @get("/", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def providers(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[wire.ProviderView]]:
        """All providers of the tenant, those out of use too."""
        doors.allow(caller, Action.ACCESS_READ, Resource("access", "providers"))
        with house.records.read(caller.scope) as reading:
            found = providers.all_providers(reading)
        return page.of((_shown(house, caller.scope.tenant, one) for one in found), lambda view: view.name)

    @post("/", sync_to_thread=True, opt=guarded(Action.PROVIDER_CHANGE, WRITE))
    def add(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        data: JSONBody[wire.NewProviderRequest],
    ) -> wire.ProviderView:
        """Add a provider. It takes a second factor."""
        doors.allow(caller, Action.PROVIDER_CHANGE, Resource("access", "providers"))
        provider = _settled(house, caller, data.name, data.settings)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            _require_groups(tx, provider)
            providers.add_provider(tx, house.keyring, provider, _secret(data.secret))
            return _shown(house, caller.scope.tenant, providers.one_provider(tx, data.name))

    @get("/{provider:str}", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def show(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        provider: FromPath[str],
    ) -> wire.ProviderView:
        """What is settled with a provider."""
        doors.allow(caller, Action.ACCESS_READ, Resource("provider", provider))
        with house.records.read(caller.scope) as reading:
            return _shown(house, caller.scope.tenant, providers.one_provider(reading, provider))

    @put("/{provider:str}", sync_to_thread=True, opt=guarded(Action.PROVIDER_CHANGE, WRITE))
    def change(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        provider: FromPath[str],
        data: JSONBody[wire.ProviderRequest],
    ) -> wire.ProviderView:
        """Settle anew what holds with a provider. It takes a second factor."""
        doors.allow(caller, Action.PROVIDER_CHANGE, Resource("provider", provider))
        with house.records.read(caller.scope) as reading:
            providers.one_provider(reading, provider)
        wanted = _settled(house, caller, provider, data.settings)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            _require_groups(tx, wanted)
            providers.change_provider(tx, house.keyring, wanted, _secret(data.secret))
            return _shown(house, caller.scope.tenant, providers.one_provider(tx, provider))

    @post(
        "/{provider:str}/deactivation", status_code=204, sync_to_thread=True, opt=guarded(Action.PROVIDER_CHANGE, WRITE)
    )  # fmt: skip
    def disable(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        provider: FromPath[str],
    ) -> None:
        """Let nobody in by a provider any more, and end the sessions that began by it. It takes a second factor."""
        doors.allow(caller, Action.PROVIDER_CHANGE, Resource("provider", provider))
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            providers.disable_provider(tx, provider)
            logouts.end(tx, "provider-disabled", provider=provider)

    @post(
        "/{provider:str}/activation", status_code=204, sync_to_thread=True, opt=guarded(Action.PROVIDER_CHANGE, WRITE)
    )  # fmt: skip
    def enable(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        provider: FromPath[str],
    ) -> None:
        """Let people in by a provider again. It takes a second factor."""
        doors.allow(caller, Action.PROVIDER_CHANGE, Resource("provider", provider))
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            providers.enable_provider(tx, provider)

    @delete("/{provider:str}", sync_to_thread=True, opt=guarded(Action.PROVIDER_CHANGE, WRITE))
    def remove(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        provider: FromPath[str],
    ) -> None:
        """Forget a provider and who its people are here, and end their sessions. It takes a second factor."""
        doors.allow(caller, Action.PROVIDER_CHANGE, Resource("provider", provider))
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            providers.remove_provider(tx, provider)
            logouts.end(tx, "provider-removed", provider=provider)

    @post("/{provider:str}/tests", status_code=200, sync_to_thread=True, opt=guarded(Action.PROVIDER_CHANGE, WRITE))
    def test(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        provider: FromPath[str],
    ) -> wire.ProviderTrial:
        """Ask a provider for what it publishes, and tell what is not as it is settled. It takes a second factor."""
        doors.allow(caller, Action.PROVIDER_CHANGE, Resource("provider", provider))
        with house.records.read(caller.scope) as reading:
            known = house.federation.known(reading, provider, unused=True)
        found = house.federation.talks.tried(known, house.clock.now())
        checks = tuple(wire.ProviderCheck(one.name, one.passed, one.message, one.hint) for one in found)
        return wire.ProviderTrial(all(one.passed for one in found), checks)

    @get("/{provider:str}/identities", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def identities(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        provider: FromPath[str],
        page: NamedDependency[Page],
    ) -> Response[list[wire.IdentityView]]:
        """Who of a provider's people is who here."""
        doors.allow(caller, Action.ACCESS_READ, Resource("provider", provider))
        with house.records.read(caller.scope) as reading:
            issuer = providers.one_provider(reading, provider).provider.issuer
            found = identities.identities(reading, issuer=issuer)
        return page.of(map(shown_identity, found), lambda view: view.principal)

    @delete(
        "/{provider:str}/identities/{principal:str}", sync_to_thread=True, opt=guarded(Action.PROVIDER_CHANGE, WRITE)
    )
    def unlink(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        provider: FromPath[str],
        principal: FromPath[str],
    ) -> None:
        """Forget who somebody is at a provider, and end the sessions that began by it. It takes a second factor."""
        doors.allow(caller, Action.PROVIDER_CHANGE, Resource("provider", provider))
        unlink(house, caller, provider, PrincipalId(principal))


class IdentityRoutes(Controller):
    """Who one is at external providers."""

    path = "/identities"
    tags = ("federation",)

    @get("/", sync_to_thread=True, opt=own())
    def identities(
        self, house: NamedDependency[House], caller: NamedDependency[Caller], page: NamedDependency[Page]
    ) -> Response[list[wire.IdentityView]]:
        """The caller's identities at providers; they are linked in the console, where a browser can go there."""
        with house.records.read(caller.scope) as reading:
            found = identities.identities(reading, caller.principal.id)
        return page.of(map(shown_identity, found), lambda view: view.issuer)

    @delete("/{provider:str}", sync_to_thread=True, opt=own(WRITE))
    def unlink(self, house: NamedDependency[House], caller: NamedDependency[Caller], provider: FromPath[str]) -> None:
        """Forget who the caller is at a provider, and end the sessions that began by it. It takes a second factor."""
        unlink_own(house, caller, provider)


def unlink_own(house: House, caller: Caller, provider: str) -> None:
    """Forget who the caller is at a provider. Raises Forbidden (`step-up-required`), NotFound."""
    factors.require_fresh(caller.principal, house.clock.now())
    unlink(house, caller, provider, caller.principal.id)


def unlink(house: House, caller: Caller, provider: str, principal: PrincipalId) -> None:
    """Forget who a principal is at a provider. Raises NotFound."""
    with house.records.begin(caller.scope, house.clock.now()) as tx:
        identities.unlink(tx, providers.one_provider(tx, provider).provider, principal)


def shown_identity(identity: identities.Identity) -> wire.IdentityView:
    """An identity as it is shown."""
    linked_at = rfc3339(identity.linked_at)
    return wire.IdentityView(identity.provider, identity.issuer, identity.subject, identity.principal, linked_at)


def _settled(house: House, caller: Caller, name: str, settings: wire.ProviderSettings) -> Provider:
    """What is to be settled.

    Raises:
        Invalid: it is not what can be settled.
        Forbidden: `provider-secret-reference`: no provider of this tenant may be shown that secret.
    """
    try:
        provider = msgspec.convert({"name": name, **msgspec.to_builtins(settings)}, Provider)
    except msgspec.ValidationError as error:
        raise Invalid("provider-malformed", f"this is nothing that can be settled: {error}") from error
    if provider.secret_ref:
        house.federation.references.require(caller.scope.tenant, provider.secret_ref)
    return provider


def _secret(text: str) -> SecretBytes | None:
    if len(text) > 1024 or not text.isprintable():
        raise Invalid("provider-secret", "a secret is up to 1024 printable characters", "Give it as the provider does.")
    return SecretBytes(text.encode()) if text else None


def _require_groups(tx: Transaction, provider: Provider) -> None:
    """Return if the groups of the house that are named are there, and not another directory's. Raises NotFound, Forbidden."""
    for group in sorted({one for given in provider.memberships.values() for one in given}):
        groups.one_group(tx, group, groups.HOUSE)


def _shown(house: House, tenant: TenantId, standing: providers.Standing) -> wire.ProviderView:
    provider, federation = standing.provider, house.federation
    settings = msgspec.to_builtins(provider)
    del settings["name"], settings["settled_by"]
    return wire.ProviderView(
        provider.name,
        standing.enabled,
        federation.redirect_for(tenant, provider.name),
        federation.logout_for(tenant, provider.name),
        f"{house.desk.settings.origin}{AFTER_LOGOUT}",
        msgspec.convert(settings, wire.ProviderSettings),
    )


FEDERATION = (ProviderRoutes, IdentityRoutes)
