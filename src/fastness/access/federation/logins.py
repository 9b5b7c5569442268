"""Logging in by an external provider: five steps, the first and the fourth of which talk to it.

1 `endpoints` (network) → 2 `begin` (transaction): the browser is sent to the provider → it comes back →
3 `resume` (transaction): the login that it began, used up → 4 `prove` (network): code for token, and the token verified
→ 5 `admit` (transaction): who that is here.

What begins is bound to the browser by a secret cookie, and to one reply by `state`; `nonce` and the PKCE verifier are
derived from the state under a key of the house, so that nothing stored would let anybody finish another's login.

Source: OpenID Connect Core 1.0, sections 3.1.2 and 3.1.3.7; RFC 9700, sections 2.1 and 4.4; RFC 9207.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from fastness.access.federation import idtokens, records
from fastness.access.federation.discovery import Discovery, Endpoints
from fastness.access.federation.fetching import Fetcher
from fastness.access.federation.parts import Proven, Resumed, refuse
from fastness.access.federation.providers import Authentication, Known, Provider, provider_of
from fastness.access.federation.records import LoginRow
from fastness.access.oauth.parts import Hash
from fastness.access.tokens.jose import base64url, read_header, strict_object
from fastness.access.tokens.keys import Wrapping
from fastness.core.clock import Instant, later
from fastness.core.errors import Corrupt, Invalid, Unauthenticated
from fastness.core.events import EventKind
from fastness.core.identity import DEFAULT_TENANT, PrincipalId, Scope
from fastness.foundation.storage import Reading, Transaction

LOGIN_LIFE_S: Final = 600.0
FRESH_S: Final = 300
_STATE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_PATH = re.compile(r"/(?![/\\])[A-Za-z0-9._~/?&=%-]{0,500}", re.ASCII)


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
            its name (RFC 9700, section 4.4: mix-up).
    """

    def __init__(self, keyed: Hash, ring: Wrapping, fetcher: Fetcher, redirect: str) -> None:
        self._hash = keyed
        self._ring = ring
        self._fetcher = fetcher
        self._redirect = redirect.rstrip("/")
        self._discovery = Discovery(fetcher)

    def redirect_for(self, provider: Provider) -> str:
        """Where the provider sends browsers back to; to be registered there."""
        return f"{self._redirect}/{quote(provider.name)}"

    def known(self, reading: Reading, name: str) -> Known:
        """The provider with its secret. Raises NotFound, or Corrupt."""
        return provider_of(reading, self._ring, name)

    def endpoints(self, known: Known, now: Instant) -> Endpoints:
        """Step 1: where the provider is. Raises Invalid, Unavailable, Corrupt."""
        return self._discovery.endpoints(known, now)

    def begin(
        self, tx: Transaction, known: Known, endpoints: Endpoints, return_to: str = "/", *, fresh: bool = False
    ) -> Begun:
        """Step 2: send the browser to the provider.

        Args:
            return_to: a path of this house, to go to afterwards.
            fresh: whether the person must log in anew, as for a step-up.

        Raises:
            Invalid: `return-address`: it leads elsewhere.
        """
        if not _PATH.fullmatch(return_to):
            raise Invalid("return-address", "one returns to a path of this house", "Give a path such as /models.")
        provider, entropy = known.provider, tx.events.entropy
        state, browser = (base64url(entropy(32)).decode("ascii") for _ in range(2))
        row = LoginRow(provider.name, self._digest("browser", browser), return_to, fresh)
        records.add_login(tx, self._digest("state", state), row, later(tx.now, LOGIN_LIFE_S))
        tx.emit(tx.events.make(EventKind.AUTHENTICATION_SUCCEEDED, f"provider:{provider.name}", action="login-began"))
        challenge = base64url(hashlib.sha256(self._derived("verifier", state).encode()).digest()).decode("ascii")
        asked = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": self.redirect_for(provider),
            "scope": " ".join(("openid", *provider.scopes)),
            "state": state,
            "nonce": self._derived("nonce", state),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "max_age": str(0 if fresh else provider.max_age_s),
        }
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

    def resume(self, tx: Transaction, name: str, parameters: Mapping[str, str], browser: str) -> Resumed | None:
        """Step 3: the login that this browser began, used up. None where there is none: refuse, and commit.

        Args:
            name: the provider in the path that the browser came back to.
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
            elif row.provider != name:
                reason = "provider-other"
            elif "error" in parameters or not parameters.get("code"):
                reason = "provider-refused"
            else:
                return self._resumed(tx, row, parameters)
        note_failure(tx, name, reason)
        return None

    def prove(self, resumed: Resumed, now: Instant) -> Proven:
        """Step 4: the code for a token, and the token verified.

        Raises:
            Unauthenticated: `federation-refused`; `audit_code` says why.
            Unavailable: the provider does not answer.
            Invalid, Corrupt: it is not where or what it is settled to be.
        """
        known, provider = resumed.known, resumed.known.provider
        endpoints = self._discovery.endpoints(known, now)
        if resumed.said_issuer not in ({provider.issuer} if endpoints.names_itself else {"", provider.issuer}):
            refuse("issuer-other")
        answer = self._redeemed(resumed, endpoints)
        id_token, access_token = answer.get("id_token"), answer.get("access_token")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            refuse("id-token-missing")
        data = id_token.encode("utf-8", "replace")
        try:
            header = read_header(data)
            keys = self._discovery.keys(known, header.get("kid"), now)
            claims = idtokens.verify(data, keys, provider, now)
        except Unauthenticated as error:
            refuse(error.audit_code)
        age_s = FRESH_S if resumed.fresh else provider.max_age_s
        return idtokens.judged(claims, replace(resumed, alg=str(header["alg"])), access_token, age_s, now)

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
        )

    def _redeemed(self, resumed: Resumed, endpoints: Endpoints) -> dict[str, Any]:
        provider, secret = resumed.known.provider, bytes(resumed.known.secret.reveal()).decode("utf-8")
        form = {
            "grant_type": "authorization_code",
            "code": resumed.code,
            "redirect_uri": self.redirect_for(provider),
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

    def _digest(self, use: str, text: str) -> bytes:
        return self._hash.digest(msgspec.json.encode([f"federation-{use}", text.encode("utf-8", "surrogatepass")]))

    def _derived(self, use: str, state: str) -> str:
        return base64url(self._digest(use, state)).decode("ascii")


def note_failure(tx: Transaction, provider: str, reason: str) -> None:
    """Record that a login by a provider failed, and why."""
    tx.emit(tx.events.make(EventKind.AUTHENTICATION_FAILED, f"provider:{provider[:64]}", reason=reason))
