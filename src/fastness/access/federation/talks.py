"""Talking to providers: a few at a time, with the secret that this house has with each.

A provider that is slow keeps only so many threads busy; whoever comes beyond that is asked to try again.
"""

from __future__ import annotations

import base64
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from fastness.access.federation import trial
from fastness.access.federation.discovery import Discovery, Endpoints
from fastness.access.federation.fetching import Fetcher
from fastness.access.federation.parts import Resumed, refuse
from fastness.access.federation.providers import Authentication, Known
from fastness.access.federation.settings import FederationSettings
from fastness.access.federation.trial import Check
from fastness.access.tokens.jose import strict_object
from fastness.core.clock import Instant
from fastness.core.errors import Corrupt, Forbidden, NotFound, Unavailable
from fastness.core.identity import TenantId
from fastness.core.secrets import SecretBytes, SecretRef


@dataclass(frozen=True, slots=True)
class References:
    """The secrets that providers may be shown although the key ring does not keep them.

    Attributes:
        reveal: the secret behind a reference.
    """

    settings: FederationSettings
    reveal: Callable[[SecretRef, Instant], SecretBytes]

    def require(self, tenant: TenantId, reference: str) -> None:
        """Return if a provider of the tenant may have this one. Raises Forbidden, `provider-secret-reference`."""
        if not self.settings.permits(tenant, reference):
            hint = "Name it in federation.secrets of the settings, for providers of the house's own tenant, or give the secret."
            raise Forbidden("provider-secret-reference", "this reference may not be shown to providers", hint)


def _nothing(reference: SecretRef, _: Instant) -> SecretBytes:
    raise NotFound("secret-missing", f"there is no {reference}")


NO_REFERENCES: Final = References(FederationSettings(), _nothing)


class Talks:
    """Asks providers. Share one; it is safe between threads."""

    def __init__(self, fetcher: Fetcher, references: References) -> None:
        self._fetcher = fetcher
        self._free = threading.BoundedSemaphore(references.settings.at_once)
        self._references = references
        self.discovery = Discovery(fetcher)

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """One of few conversations at a time. Raises Unavailable, `federation-busy`."""
        if not self._free.acquire(blocking=False):
            raise Unavailable("federation-busy", "too many logins are waiting for a provider", "Try again in a moment.")
        try:
            yield
        finally:
            self._free.release()

    def redeem(self, resumed: Resumed, endpoints: Endpoints, redirect: str, now: Instant) -> dict[str, Any]:
        """What a code is good for, by the token endpoint.

        Raises:
            Unauthenticated: `federation-refused`: nothing.
            Unavailable, Invalid, Corrupt: the provider does not answer, or not as it is settled.
            Forbidden, NotFound: the secret with it may not be used, or is not there.
        """
        known, provider = resumed.known, resumed.known.provider
        secret = self.secret(known, now)
        form = {
            "grant_type": "authorization_code",
            "code": resumed.code,
            "redirect_uri": redirect,
            "code_verifier": resumed.verifier,
        }
        authorization = ""
        if provider.authentication is Authentication.BASIC:
            pair = f"{quote(provider.client_id, safe='')}:{quote(secret, safe='')}"
            authorization = "Basic " + base64.b64encode(pair.encode()).decode("ascii")
        else:
            form["client_id"] = provider.client_id
        if provider.authentication is Authentication.POST:
            form["client_secret"] = secret
        status, body = self._fetcher.post(endpoints.token, form, authorization)
        try:
            answer = strict_object(body)
        except ValueError as error:
            raise Corrupt("provider-answer", "the provider's answer cannot be read") from error
        if status != 200:
            refuse("code-refused")
        return answer

    def secret(self, known: Known, now: Instant) -> str:
        """The secret of this house with the provider. Raises Forbidden, NotFound, Unavailable, Invalid."""
        reference, secret = known.provider.secret_ref, known.secret
        if reference:
            self._references.require(known.tenant, reference)
            secret = self._references.reveal(SecretRef.parse(reference), now)
        return bytes(secret.reveal()).decode("utf-8", "replace").rstrip("\r\n" if reference else "")

    def tried(self, known: Known, now: Instant) -> list[Check]:
        """Whether the provider does what is settled with it, asked anew; in words for who set it."""
        with self.one():
            return trial.run(known, self._fetcher, lambda: self.secret(known, now))
