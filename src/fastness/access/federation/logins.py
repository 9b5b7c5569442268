"""Logging in by an external provider: five steps, the first and the fourth of which talk to it.

1 `endpoints` (network) → 2 `begin` (transaction): the browser is sent to the provider → it comes back →
3 `resume` (transaction): the login that it began, used up → 4 `prove` (network): code for token, and the token verified
→ 5 `admit` (transaction): who that is here.

What begins is bound to the browser by a secret cookie, and to one reply by `state`; `nonce` and the PKCE verifier are
derived from the state under a key of the house, so that nothing stored would let anybody finish another's login.

Source: OpenID Connect Core 1.0, sections 3.1.2 and 3.1.3.7; RFC 9700, sections 2.1 and 4.4; RFC 9207.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlencode

import msgspec

from fastness.access.federation import idtokens, records
from fastness.access.federation.discovery import Endpoints
from fastness.access.federation.fetching import Fetcher
from fastness.access.federation.logouts import Leaving
from fastness.access.federation.parts import NOBODY, Asker, Proven, Resumed, refuse
from fastness.access.federation.providers import Known, provider_of, providers
from fastness.access.federation.records import LoginRow
from fastness.access.federation.talks import NO_REFERENCES, References, Talks
from fastness.access.oauth.parts import Hash
from fastness.access.tokens.jose import base64url, read_header
from fastness.access.tokens.keys import Wrapping
from fastness.core.clock import Instant, later
from fastness.core.errors import Invalid, Unauthenticated
from fastness.core.events import EventKind
from fastness.core.identity import DEFAULT_TENANT, PrincipalId, Scope, TenantId
from fastness.foundation.storage import Reading, Transaction

LOGIN_LIFE_S: Final = 600.0
FRESH_S: Final = 300
_STATE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_PATH = re.compile(r"/(?![/\\])[A-Za-z0-9._~/?&=%+-]{0,8200}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Begun:
    """A login that began.

    Attributes:
        location: where the browser is sent.
        browser: for a cookie (`__Host-`, HttpOnly, Secure, SameSite=Lax, ten minutes), and nowhere else.
    """

    location: str
    browser: str = field(repr=False)


class Federation:
    """Logs people in by external providers. Share one; it is safe between threads.

    Args:
        keyed: a key ring's `mac(Purpose.TOKENS)`.
        ring: unwraps the secrets that this house has with providers.
        redirect: where providers send browsers back to: one address for each provider, of which this is the part before
            its place (RFC 9700, section 4.4: mix-up).

    Attributes:
        talks: by which providers are asked, `leaving` by which people leave who came by one.
        references: the secrets that may be shown to providers.
    """

    def __init__(
        self, keyed: Hash, ring: Wrapping, fetcher: Fetcher, redirect: str, references: References = NO_REFERENCES
    ) -> None:
        self._hash = keyed
        self._ring = ring
        self._redirect = redirect.rstrip("/")
        self.talks = Talks(fetcher, references)
        self.leaving = Leaving(self.talks, ring)
        self.references = references

    def redirect_for(self, tenant: TenantId, name: str) -> str:
        """Where the provider sends browsers back to; to be registered there."""
        return f"{self._redirect}/{place_of(tenant, name)}/callback"

    def logout_for(self, tenant: TenantId, name: str) -> str:
        """Where the provider sends logout tokens; may be registered there."""
        return f"{self._redirect}/{place_of(tenant, name)}/logout"

    def known(self, reading: Reading, name: str, *, unused: bool = False) -> Known:
        """The provider with its secret. Raises NotFound, or Corrupt."""
        return provider_of(reading, self._ring, name, unused=unused)

    def endpoints(self, known: Known, now: Instant) -> Endpoints:
        """Step 1: where the provider is. Raises Invalid, Unavailable, Corrupt."""
        with self.talks.one():
            return self.talks.discovery.endpoints(known, now)

    def begin(
        self,
        tx: Transaction,
        known: Known,
        endpoints: Endpoints,
        return_to: str = "/",
        *,
        fresh: bool = False,
        asker: Asker = NOBODY,
    ) -> Begun:
        """Step 2: send the browser to the provider.

        Args:
            return_to: a path of this house, to go to afterwards.
            fresh: whether the person must log in anew, as for a step-up.
            asker: who links the identity to themselves by it.

        Raises:
            Invalid: `return-address`: it leads elsewhere.
        """
        if not _PATH.fullmatch(return_to):
            raise Invalid("return-address", "one returns to a path of this house", "Give a path such as /models.")
        provider, entropy = known.provider, tx.events.entropy
        state, browser = (base64url(entropy(32)).decode("ascii") for _ in range(2))
        whose = (asker.principal, asker.session)
        row = LoginRow(provider.name, self._digest("browser", browser), return_to, fresh, *whose)
        records.add_login(tx, self._digest("state", state), row, later(tx.now, LOGIN_LIFE_S))
        tx.emit(tx.events.make(EventKind.AUTHENTICATION_SUCCEEDED, f"provider:{provider.name}", action="login-began"))
        challenge = base64url(hashlib.sha256(self._derived("verifier", state).encode()).digest()).decode("ascii")
        asked = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": self.redirect_for(known.tenant, provider.name),
            "scope": " ".join(("openid", *provider.scopes)),
            "state": state,
            "nonce": self._derived("nonce", state),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        if fresh or provider.max_age_s:
            asked["max_age"] = str(0 if fresh else provider.max_age_s)
        if fresh:
            asked["prompt"] = "login"
        if provider.strong_acr:
            asked["acr_values"] = " ".join(provider.strong_acr)
        mark = "&" if "?" in endpoints.authorization else "?"
        return Begun(f"{endpoints.authorization}{mark}{urlencode(asked)}", browser)

    def scope_of(self, reading: Reading, parameters: Mapping[str, str]) -> Scope:
        """In whose name step 3 is made: the tenant of the login that the state began."""
        state = parameters.get("state", "")
        tenant = records.tenant_of(reading, self._digest("state", state)) if _STATE.fullmatch(state) else None
        return Scope(tenant or DEFAULT_TENANT, PrincipalId(""))

    def resume(self, tx: Transaction, place: str, parameters: Mapping[str, str], browser: str) -> Resumed | None:
        """Step 3: the login that this browser began, used up. None where there is none: refuse, and commit.

        Args:
            place: of the provider, in the path that the browser came back to.
            parameters: of the query, each once.
            browser: the value of the cookie.
        """
        state = parameters.get("state", "")
        digest = self._digest("state", state) if _STATE.fullmatch(state) else b""
        row = records.find_login(tx, digest)
        reason = "state-unknown"
        if row is not None and records.use_login(tx, digest) == 1:
            if not hmac.compare_digest(row.browser_digest, self._digest("browser", browser)):
                reason = "browser-other"
            elif place_of(tx.scope.tenant, row.provider) != place:
                reason = "provider-other"
            elif row.provider not in {provider.name for provider in providers(tx)}:
                reason = "provider-disabled"
            elif "error" in parameters or not parameters.get("code"):
                reason = "provider-refused"
            else:
                return self._resumed(tx, row, parameters)
        note_failure(tx, place, reason)
        return None

    def prove(self, resumed: Resumed, now: Instant) -> Proven:
        """Step 4: the code for a token, and the token verified.

        Raises:
            Unauthenticated: `federation-refused`; `audit_code` says why.
            Unavailable: the provider does not answer.
            Invalid, Corrupt: it is not where or what it is settled to be.
            Forbidden, NotFound: the secret with it may not be used, or is not there.
        """
        known, provider = resumed.known, resumed.known.provider
        with self.talks.one():
            endpoints = self.talks.discovery.endpoints(known, now)
            if resumed.said_issuer not in ({provider.issuer} if endpoints.names_itself else {"", provider.issuer}):
                refuse("issuer-other")
            answer = self.talks.redeem(resumed, endpoints, self.redirect_for(known.tenant, provider.name), now)
            id_token, access_token = answer.get("id_token"), answer.get("access_token")
            if not isinstance(id_token, str) or not isinstance(access_token, str):
                refuse("id-token-missing")
            data = id_token.encode("utf-8", "replace")
            try:
                header = read_header(data)
                keys = self.talks.discovery.keys(known, header.get("kid"), now)
                claims = idtokens.verify(data, keys, provider, now)
            except Unauthenticated as error:
                refuse(error.audit_code)
        age_s = FRESH_S if resumed.fresh else provider.max_age_s
        proven = idtokens.judged(claims, replace(resumed, alg=str(header["alg"])), access_token, age_s, now)
        return replace(proven, token=id_token)

    def _resumed(self, tx: Transaction, row: LoginRow, parameters: Mapping[str, str]) -> Resumed:
        state = parameters["state"]
        tx.emit(tx.events.make(EventKind.AUTHENTICATION_SUCCEEDED, f"provider:{row.provider}", action="login-resumed"))
        return Resumed(
            provider_of(tx, self._ring, row.provider),
            row.return_to,
            row.fresh,
            parameters["code"],
            self._derived("nonce", state),
            self._derived("verifier", state),
            parameters.get("iss", ""),
            asker=Asker(PrincipalId(row.principal), row.session),
        )

    def _digest(self, use: str, text: str) -> bytes:
        return self._hash.digest(msgspec.json.encode([f"federation-{use}", text.encode("utf-8", "surrogatepass")]))

    def _derived(self, use: str, state: str) -> str:
        return base64url(self._digest(use, state)).decode("ascii")


def place_of(tenant: TenantId, name: str) -> str:
    """What stands for a provider in addresses: its name, and before it the tenant where that is not the house's own.

    No two providers share one, also not of two tenants: else a provider of one tenant could be taken for another's.
    """
    return name if tenant == DEFAULT_TENANT else f"{tenant}:{name}"


def read_place(place: str) -> tuple[TenantId, str]:
    """Tenant and name of the provider that an address stands for, whether there is one or not."""
    tenant, joined, name = place.rpartition(":")
    return (TenantId(tenant), name) if joined else (DEFAULT_TENANT, name)


def note_failure(tx: Transaction, provider: str, reason: str) -> None:
    """Record that a login by a provider failed, and why."""
    tx.emit(tx.events.make(EventKind.AUTHENTICATION_FAILED, f"provider:{provider[:64]}", reason=reason))
