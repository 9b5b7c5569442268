"""Passkeys (WebAuthn): registered and asserted on plain JSON, as browsers send it.

Only discoverable credentials with user verification are asked for and taken, so a passkey alone is two factors: the device,
and the finger or PIN that opens it. The origin and the domain are those of the settings, whatever a caller sends. A challenge
is 32 random bytes, good for five minutes, for one purpose and one ticket, credential or network, and removed when it is
answered, right or wrong. Attestation is not asked for: which make of device somebody uses is no concern here.

A signature counter that does not rise means that there may be a copy of the key; such an answer is refused and recorded.

Source: W3C Web Authentication Level 3, sections 7.1 and 7.2.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import msgspec
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import options_to_json_dict, parse_attestation_object
from webauthn.helpers.structs import (
    AttestationFormat,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from fastness.access.login import records
from fastness.access.login.desk import Client, Desk, Use, fresh
from fastness.access.login.records import PasskeyRow
from fastness.core.clock import later, uuid7
from fastness.core.errors import Conflict, Invalid, Limited
from fastness.core.identity import PrincipalId
from fastness.foundation.storage import Reading, Transaction

Json = Mapping[str, Any]
"""What a browser sends: an object of `PublicKeyCredential.toJSON()`."""

CHALLENGE_S = 300.0
_LONGEST = 65_536
_LONGEST_ID = 1023  # WebAuthn Level 3, section 7.1, step 25
_FORMATS = frozenset({AttestationFormat.NONE, AttestationFormat.PACKED})
_T = TypeVar("_T")


class Purpose(StrEnum):
    """What a challenge is for."""

    REGISTER = "register"
    LOGIN = "login"
    SECOND = "second"
    STEP_UP = "step-up"


@dataclass(frozen=True, slots=True)
class Expected:
    """What an answer has to be for.

    Attributes:
        principal: whose passkey; None where the passkey itself says it.
        binding: the digest of the ticket, credential or network that the challenge was made for.
    """

    purpose: Purpose
    principal: PrincipalId | None
    binding: bytes


class _ClientData(msgspec.Struct):
    challenge: str
    origin: str = ""
    crossOrigin: bool = False  # noqa: N815 - the name that browsers give it
    topOrigin: str | None = None  # noqa: N815


def bound_to(desk: Desk, credential: str) -> bytes:
    """What binds a challenge to a credential such as `session:ID` or `key:ID`."""
    return desk.digest(Use.CHALLENGE, "credential", credential)


def anybody(desk: Desk, client: Client) -> Expected:
    """What a login without a name has to be for."""
    return Expected(Purpose.LOGIN, None, desk.digest(Use.CHALLENGE, "network", desk.network(client)))


def registration_options(tx: Transaction, desk: Desk, principal: PrincipalId, binding: bytes) -> dict[str, Any]:
    """The argument of `navigator.credentials.create()`, for `PublicKeyCredential.parseCreationOptionsFromJSON()`."""
    challenge = _challenge(tx, desk, Expected(Purpose.REGISTER, principal, binding))
    options = generate_registration_options(
        rp_id=desk.settings.rp_id,
        rp_name=desk.settings.issuer,
        user_name=principal.partition(":")[2],
        user_id=_handle(tx, desk, principal),
        challenge=challenge,
        timeout=int(CHALLENGE_S * 1000),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=_described(tx, principal),
    )
    return options_to_json_dict(options)


def register(tx: Transaction, desk: Desk, expected: Expected, label: str, response: Json) -> str:
    """Keep the passkey that `response` made; its factor id. The challenge is used up either way, if the caller commits.

    Raises:
        Invalid: `passkey-refused`, it answers no challenge that is open for this principal, or not as it must.
        Conflict: `passkey-exists`.
    """
    assert_bounded(response)
    challenge = _taken(tx, desk, expected, response)
    if expected.principal is None or challenge is None:
        raise refused("the challenge is not open")
    data = _bytes_of(response, "attestationObject")
    if _parsed(lambda: parse_attestation_object(data)).fmt not in _FORMATS:
        raise refused("its attestation has a form that was not asked for")
    found = _parsed(
        lambda: verify_registration_response(
            credential=dict(response),
            expected_challenge=challenge,
            expected_rp_id=desk.settings.rp_id,
            expected_origin=desk.settings.origin,
            require_user_verification=True,
        )
    )
    if len(found.credential_id) > _LONGEST_ID:
        raise refused("its id is too long")
    factor, key, count = uuid7(tx.now, tx.events.entropy), found.credential_public_key, found.sign_count
    row = PasskeyRow(factor, expected.principal, label, found.credential_id, key, count, tx.now)
    try:
        records.add_passkey(tx, row)
    except Conflict as error:
        raise Conflict("passkey-exists", "this passkey is registered already") from error
    return factor


def assertion_options(tx: Transaction, desk: Desk, expected: Expected) -> dict[str, Any]:
    """The argument of `navigator.credentials.get()`, for `PublicKeyCredential.parseRequestOptionsFromJSON()`.

    Raises:
        Limited: `login-busy`, too many challenges are open.
    """
    challenge = _challenge(tx, desk, expected)
    options = generate_authentication_options(
        rp_id=desk.settings.rp_id,
        challenge=challenge,
        timeout=int(CHALLENGE_S * 1000),
        allow_credentials=_described(tx, expected.principal) if expected.principal else None,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json_dict(options)


def use(tx: Transaction, desk: Desk, expected: Expected, response: Json) -> tuple[PrincipalId, str]:
    """Whose passkey answered, and what is wrong with the answer, or nothing. The challenge is used up either way."""
    try:
        assert_bounded(response)
        challenge = _taken(tx, desk, expected, response)
        row = records.find_passkey(tx, _bytes_of(response, "", "rawId"))
        if challenge is None:
            return PrincipalId(""), "passkey-challenge"
        if row is None or (expected.principal is not None and row.principal != expected.principal):
            return PrincipalId(""), "passkey-unknown"
        handle = _handle_given(response)
        missing = handle is None and expected.principal is None
        if missing or (handle is not None and not hmac.compare_digest(handle, _handle(tx, desk, row.principal))):
            return PrincipalId(""), "passkey-handle"
        counter = _verified(desk, row, challenge, response)
    except Invalid:
        return PrincipalId(""), "passkey-wrong"
    if records.use_passkey(tx, row.id, counter) != 1:
        return row.principal, "passkey-counter"
    return row.principal, ""


def refused(why: str) -> Invalid:
    """The refusal of a passkey."""
    return Invalid("passkey-refused", f"this passkey is not taken: {why}", "Begin again, on this page.")


def assert_bounded(response: Json) -> None:
    """Return if `response` is an object of bearable size. Raises Invalid."""
    parts = response.get("response")
    if not isinstance(parts, Mapping) or len(response) + len(parts) > 40:
        raise refused("it is no response of a browser")
    if sum(len(value) for value in (*response.values(), *parts.values()) if isinstance(value, str)) > _LONGEST:
        raise refused("it is too long")


def _verified(desk: Desk, row: PasskeyRow, challenge: bytes, response: Json) -> int:
    """The counter of a good answer. The library compares counters too, but could not say that this was what was wrong."""
    return _parsed(
        lambda: verify_authentication_response(
            credential=dict(response),
            expected_challenge=challenge,
            expected_rp_id=desk.settings.rp_id,
            expected_origin=desk.settings.origin,
            credential_public_key=row.public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    ).new_sign_count


def _challenge(tx: Transaction, desk: Desk, expected: Expected) -> bytes:
    if expected.principal is None and records.count_challenges(tx) >= desk.settings.challenges_max:
        raise Limited("login-busy", "too many logins are open", "Try again in some minutes.", CHALLENGE_S / 5)
    challenge = fresh(tx.events.entropy)
    made_for = (expected.purpose.value, expected.binding)
    digest = desk.digest(Use.CHALLENGE, challenge.hex())
    records.add_challenge(tx, digest, expected.principal, made_for, later(tx.now, CHALLENGE_S))
    return challenge


def _taken(tx: Transaction, desk: Desk, expected: Expected, response: Json) -> bytes | None:
    """The challenge that `response` answers, used up by this; None if it was not open for what is expected."""
    data = _bytes_of(response, "clientDataJSON")
    client = _parsed(lambda: msgspec.json.decode(data, type=_ClientData))
    challenge = _decoded(client.challenge)
    digest = desk.digest(Use.CHALLENGE, challenge.hex())
    made_for = (expected.purpose.value, expected.binding)
    if records.take_challenge(tx, digest, expected.principal, made_for) != 1:
        return None
    if client.crossOrigin or client.topOrigin is not None:
        raise refused("it was made within a page of somebody else")
    return challenge


def _described(reading: Reading, principal: PrincipalId) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=row.credential_id) for row in records.find_passkeys(reading, principal)]


def _handle(reading: Reading, desk: Desk, principal: PrincipalId) -> bytes:
    """What a passkey calls its owner: the same for all of theirs, and it tells nobody who they are."""
    return desk.digest(Use.HANDLE, reading.scope.tenant, principal)


def _handle_given(response: Json) -> bytes | None:
    handle = response["response"].get("userHandle")
    return _decoded(handle) if isinstance(handle, str) and handle else None


def _bytes_of(response: Json, name: str, whole: str = "") -> bytes:
    value = response.get(whole) if whole else response["response"].get(name)
    if not isinstance(value, str):
        raise refused(f"it lacks {whole or name}")
    return _decoded(value)


def _decoded(text: str) -> bytes:
    return _parsed(lambda: base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True))


def _parsed(act: Callable[[], _T]) -> _T:
    """What `act` gives; whatever a parser of hostile bytes raises is a refusal, not a fault of the house."""
    try:
        return act()
    except Exception as error:  # the library lets errors of CBOR, X.509 and ciphers through
        raise refused("it is not as it must be") from error
