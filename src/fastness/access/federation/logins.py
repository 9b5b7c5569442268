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
import contextlib
import hashlib
import hmac
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from fastness.access.federation import idtokens, logouts, records, trial
from fastness.access.federation.discovery import Discovery, Endpoints
from fastness.access.federation.fetching import Fetcher
from fastness.access.federation.logouts import Ordered
from fastness.access.federation.parts import NOBODY, Asker, Proven, Resumed, refuse
from fastness.access.federation.providers import Authentication, Known, provider_of, providers
from fastness.access.federation.records import LoginRow, SessionRow
from fastness.access.federation.settings import FederationSettings
from fastness.access.federation.trial import Check
from fastness.access.oauth.parts import Hash
from fastness.access.tokens.jose import base64url, read_header, strict_object
from fastness.access.tokens.keys import Wrapping
from fastness.core.clock import Instant, later
from fastness.core.digests import BlobId
from fastness.core.errors import Corrupt, Forbidden, Invalid, NotFound, Unauthenticated, Unavailable
from fastness.core.events import EventKind
from fastness.core.identity import DEFAULT_TENANT, PrincipalId, Scope, TenantId
from fastness.core.secrets import SecretBytes, SecretRef
from fastness.foundation.crypto import KeyContext
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


class Federation:
    """Logs people in by external providers. Share one; it is safe between threads.

    Args:
        keyed: a key ring's `mac(Purpose.TOKENS)`.
        ring: unwraps the secrets that this house has with providers.
        redirect: where providers send browsers back to: one address for each provider, of which this is the part before
            its place (RFC 9700, section 4.4: mix-up).
    """

    def __init__(
        self, keyed: Hash, ring: Wrapping, fetcher: Fetcher, redirect: str, references: References = NO_REFERENCES
    ) -> None:
        self._hash = keyed
        self._ring = ring
        self._fetcher = fetcher
        self._redirect = redirect.rstrip("/")
        self._discovery = Discovery(fetcher)
        self._talks = threading.BoundedSemaphore(references.settings.at_once)
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
        with self._talking():
            return self._discovery.endpoints(known, now)

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
        with self._talking():
            endpoints = self._discovery.endpoints(known, now)
            if resumed.said_issuer not in ({provider.issuer} if endpoints.names_itself else {"", provider.issuer}):
                refuse("issuer-other")
            answer = self._redeemed(resumed, endpoints, self._secret(known, now))
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
        proven = idtokens.judged(claims, replace(resumed, alg=str(header["alg"])), access_token, age_s, now)
        return replace(proven, token=id_token)

    def ordered(self, known: Known, token: str, now: Instant) -> Ordered:
        """What a logout token of the provider orders.

        Raises:
            Unauthenticated: `federation-refused`; `audit_code` says why.
            Unavailable, Invalid, Corrupt: as `prove`.
        """
        data = token.encode("utf-8", "replace")
        try:
            header = read_header(data)
            with self._talking():
                keys = self._discovery.keys(known, header.get("kid"), now)
            return logouts.read(data, keys, known, now)
        except Unauthenticated as error:
            refuse(error.audit_code)

    def remember(self, tx: Transaction, proven: Proven, handle: str, expires_at: Instant) -> None:
        """Take down by which provider the session or ticket of this handle began."""
        provider, sid = proven.known.provider, proven.claims.get("sid", "")
        sid = sid if isinstance(sid, str) and len(sid) <= 255 else ""
        wrapped = self._ring.wrap(SecretBytes(proven.token.encode()), _token_context(tx.scope.tenant, provider.name))
        row = SessionRow(handle, provider.name, provider.issuer, proven.subject, sid, expires_at, wrapped)
        records.add_session(tx, row)

    def farewell(self, known: Known, row: SessionRow, return_to: str, now: Instant) -> str:
        """Where a browser goes to log out at the provider too; empty where the provider has no such place.

        Args:
            row: of the session that ended, from `logouts.leave`.
            return_to: an address of this house that is registered there.

        Raises:
            Unavailable, Invalid, Corrupt: as `prove`.
        """
        address = self.endpoints(known, now).end_session
        if not address or row.issuer != known.provider.issuer:
            return ""
        asked = {"client_id": known.provider.client_id, "post_logout_redirect_uri": return_to}
        if row.token is not None:
            token = self._ring.unwrap(row.token, _token_context(known.tenant, row.provider))
            asked["id_token_hint"] = bytes(token.reveal()).decode("ascii")
        return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}"

    def tried(self, known: Known, now: Instant) -> list[Check]:
        """Whether the provider does what is settled with it, asked anew; in words for who set it."""
        with self._talking():
            return trial.run(known, self._fetcher, lambda: self._secret(known, now))

    def _secret(self, known: Known, now: Instant) -> str:
        """The secret of this house with the provider. Raises Forbidden, NotFound, Unavailable, Invalid."""
        reference, secret = known.provider.secret_ref, known.secret
        if reference:
            self.references.require(known.tenant, reference)
            secret = self.references.reveal(SecretRef.parse(reference), now)
        return bytes(secret.reveal()).decode("utf-8", "replace").rstrip("\r\n" if reference else "")

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        """One of few conversations at a time: a provider that is slow keeps only so many threads busy."""
        if not self._talks.acquire(blocking=False):
            raise Unavailable("federation-busy", "too many logins are waiting for a provider", "Try again in a moment.")
        try:
            yield
        finally:
            self._talks.release()

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

    def _redeemed(self, resumed: Resumed, endpoints: Endpoints, secret: str) -> dict[str, Any]:
        known, provider = resumed.known, resumed.known.provider
        form = {
            "grant_type": "authorization_code",
            "code": resumed.code,
            "redirect_uri": self.redirect_for(known.tenant, provider.name),
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


def place_of(tenant: TenantId, name: str) -> str:
    """What stands for a provider in addresses: its name, and before it the tenant where that is not the house's own.

    No two providers share one, also not of two tenants: else a provider of one tenant could be taken for another's.
    """
    return name if tenant == DEFAULT_TENANT else f"{tenant}:{name}"


def read_place(place: str) -> tuple[TenantId, str]:
    """Tenant and name of the provider that an address stands for, whether there is one or not."""
    tenant, joined, name = place.rpartition(":")
    return (TenantId(tenant), name) if joined else (DEFAULT_TENANT, name)


def _token_context(tenant: TenantId, name: str) -> KeyContext:
    return KeyContext(tenant, BlobId(f"provider-token:{name}"), 0)


def note_failure(tx: Transaction, provider: str, reason: str) -> None:
    """Record that a login by a provider failed, and why."""
    tx.emit(tx.events.make(EventKind.AUTHENTICATION_FAILED, f"provider:{provider[:64]}", reason=reason))
