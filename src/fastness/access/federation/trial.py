"""Whether a provider does what is settled with it: asked step by step, and told in words for who set it.

Nothing is logged in and nothing is remembered. What it cannot tell: whether the client is registered there under this id,
secret and address; only a login shows that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fastness.access.federation.discovery import listed, read_document, read_keys
from fastness.access.federation.fetching import Fetcher
from fastness.access.federation.providers import Authentication, Known
from fastness.access.tokens.jose import strict_object
from fastness.core.errors import FastnessError

_BY_DEFAULT: Final = Authentication.BASIC.value  # OpenID Connect Discovery 1.0, section 3
_HINTS: Final = {
    "address-refused": "It has to be https and on the public internet, or in a network that federation.networks names.",
    "provider-answer": "Look whether the issuer is right: OpenID Connect wants ISSUER/.well-known/openid-configuration.",
    "provider-unreachable": "Look whether this machine reaches it, and whether its certificate is trusted (federation.ca_file).",
    "provider-document": "Settle the issuer letter by letter as the provider writes it, and name its other hosts.",
    "provider-keys": "Tell those who run the provider.",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        passed: whether logins work in this respect.
        hint: what to do where not.
    """

    name: str
    passed: bool
    message: str
    hint: str = ""


def run(known: Known, fetcher: Fetcher, secret: Callable[[], str]) -> list[Check]:
    """All checks, up to the first one that the others rest on.

    Args:
        secret: the secret of this house with the provider; raises where there is none.
    """
    provider = known.provider
    done = [_secret(known, secret)]
    address = f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration"
    try:
        data = fetcher.get(address)
        endpoints = read_document(provider, data, loopback=fetcher.loopback)
        document = strict_object(data)
    except FastnessError as error:
        return [*done, _failed("discovery", error, address)]
    done.append(Check("discovery", passed=True, message=f"{address} describes the issuer as settled"))
    done += [_pkce(document), _authentication(known, document), _named(endpoints.names_itself)]
    try:
        keys = read_keys(provider, fetcher.get(endpoints.keys))
    except FastnessError as error:
        return [*done, _failed("keys", error, endpoints.keys)]
    wanted = ", ".join(provider.algorithms)
    if not keys:
        hint = "Settle an algorithm that the provider signs with."
        return [*done, Check("keys", passed=False, message=f"none of its keys is for {wanted}", hint=hint)]
    return [*done, Check("keys", passed=True, message=f"{len(keys)} of its keys are for {wanted}"), _logout(document)]


def _secret(known: Known, secret: Callable[[], str]) -> Check:
    if known.provider.authentication is Authentication.NONE:
        return Check("secret", passed=True, message="none is used: the client is public")
    try:
        secret()
    except FastnessError as error:
        return Check("secret", passed=False, message=error.message, hint=error.hint)
    return Check("secret", passed=True, message="it is there")


def _pkce(document: dict[str, object]) -> Check:
    if "S256" in listed(document, "code_challenge_methods_supported", ""):
        return Check("pkce", passed=True, message="the provider holds PKCE (S256)")
    return Check("pkce", passed=True, message="the provider does not say whether it holds PKCE; it is sent in any case")


def _authentication(known: Known, document: dict[str, object]) -> Check:
    way = known.provider.authentication.value
    known_ways = listed(document, "token_endpoint_auth_methods_supported", _BY_DEFAULT)
    if way in known_ways or way == Authentication.NONE:
        return Check("authentication", passed=True, message=f"the token endpoint takes {way}")
    hint = f"Settle one of {', '.join(map(str, known_ways))}."[:400]
    return Check("authentication", passed=False, message=f"the token endpoint does not take {way}", hint=hint)


def _named(names_itself: bool) -> Check:  # noqa: FBT001 - the one thing that it is about
    told = (
        "names itself in its replies" if names_itself else "does not name itself in its replies; its address tells it"
    )
    return Check("issuer", passed=True, message=f"the provider {told}")


def _logout(document: dict[str, object]) -> Check:
    there = "end_session_endpoint" in document
    back = document.get("backchannel_logout_supported") is True
    told = {
        (True, True): "people can log out there too, and logouts there end sessions here",
        (True, False): "people can log out there too; it sends no logouts here",
        (False, True): "logouts there end sessions here; it has no page to log out",
        (False, False): "it has no page to log out, and sends no logouts here",
    }
    return Check("logout", passed=True, message=told[there, back])


def _failed(name: str, error: FastnessError, address: str) -> Check:
    return Check(name, passed=False, message=f"{address}: {error.message}", hint=_HINTS.get(error.code, error.hint))
