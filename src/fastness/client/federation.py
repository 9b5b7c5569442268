"""Calls about external OpenID providers, and who of their people is who here."""

from __future__ import annotations

import builtins
from urllib.parse import quote

from fastness.client.calls import Calls
from fastness.wire import federation


class ProviderCalls:
    """By whom people come in besides the house itself."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> builtins.list[federation.ProviderView]:
        """All providers, those out of use too."""
        return self._calls.all("/providers", federation.ProviderView)

    def show(self, name: str) -> federation.ProviderView:
        """What is settled with a provider."""
        return self._calls.call("GET", _provider(name), federation.ProviderView)

    def add(self, name: str, settings: federation.ProviderSettings, secret: str = "") -> federation.ProviderView:
        """Add a provider; the secret with it is kept encrypted, and shown to nobody."""
        request = federation.NewProviderRequest(name, settings, secret)
        return self._calls.call("POST", "/providers", federation.ProviderView, request)

    def change(self, name: str, settings: federation.ProviderSettings, secret: str = "") -> federation.ProviderView:
        """Settle anew what holds with a provider; without a secret the one that is kept stays."""
        request = federation.ProviderRequest(settings, secret)
        return self._calls.call("PUT", _provider(name), federation.ProviderView, request)

    def disable(self, name: str) -> None:
        """Let nobody in by a provider any more, and end the sessions that began by it."""
        self._calls.call("POST", f"{_provider(name)}/deactivation", None)

    def enable(self, name: str) -> None:
        """Let people in by a provider again."""
        self._calls.call("POST", f"{_provider(name)}/activation", None)

    def remove(self, name: str) -> None:
        """Forget a provider and who its people are here, and end their sessions."""
        self._calls.send("DELETE", _provider(name), None).read()

    def test(self, name: str) -> federation.ProviderTrial:
        """Ask a provider for what it publishes, and tell what is not as it is settled."""
        return self._calls.call("POST", f"{_provider(name)}/tests", federation.ProviderTrial)

    def identities(self, name: str) -> builtins.list[federation.IdentityView]:
        """Who of a provider's people is who here."""
        return self._calls.all(f"{_provider(name)}/identities", federation.IdentityView)

    def unlink(self, name: str, principal: str) -> None:
        """Forget who somebody is at a provider, and end the sessions that began by it."""
        self._calls.send("DELETE", f"{_provider(name)}/identities/{quote(principal, safe='')}", None).read()

    def own(self) -> builtins.list[federation.IdentityView]:
        """One's own identities at providers."""
        return self._calls.all("/identities", federation.IdentityView)

    def unlink_own(self, name: str) -> None:
        """Forget who one is at a provider, and end the sessions that began by it."""
        self._calls.send("DELETE", f"/identities/{quote(name, safe='')}", None).read()


def _provider(name: str) -> str:
    return f"/providers/{quote(name, safe='')}"
