"""What passes from one step of a login to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from fastness.access.federation.providers import Known
from fastness.core.clock import Instant
from fastness.core.errors import Unauthenticated
from fastness.core.identity import PrincipalId, Strength


@dataclass(frozen=True, slots=True)
class Asker:
    """Who links an identity to themselves, and in which session they asked for it; both empty for a login."""

    principal: PrincipalId
    session: str


NOBODY = Asker(PrincipalId(""), "")


@dataclass(frozen=True, slots=True)
class Resumed:
    """A login whose browser came back; the code is not believed yet."""

    known: Known
    return_to: str
    fresh: bool
    code: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    said_issuer: str = ""
    alg: str = ""
    asker: Asker = NOBODY


@dataclass(frozen=True, slots=True)
class Proven:
    """Who the provider says it is, verified.

    Attributes:
        claims: of the id_token; no part of it says what the person may do here.
        authenticated_at: when the person logged in at the provider.
        token: the id_token, by which the provider knows again whom it is about.
    """

    known: Known
    subject: str
    strength: Strength
    authenticated_at: Instant
    return_to: str
    claims: Mapping[str, Any] = field(repr=False)
    token: str = field(default="", repr=False)
    asker: Asker = NOBODY


def refuse(audit_code: str) -> NoReturn:
    """Say no, and why only to the record."""
    raise Unauthenticated(
        "federation-refused", "the login by the provider failed", "Begin again, or ask an administrator.", audit_code
    ) from None


def refuse_identity(audit_code: str) -> NoReturn:
    """Say no to somebody whom the provider knows; all of them are told the same."""
    raise Unauthenticated(
        "identity-refused",
        "the provider knows you, but with that identity nobody comes in here",
        "Log in another way and link it under Security, or ask an administrator.",
        audit_code,
    ) from None
