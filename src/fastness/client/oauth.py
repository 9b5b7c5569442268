"""Calls about OAuth 2 clients and waiting devices, and how a program gets tokens of a person (RFC 8628)."""

from __future__ import annotations

import builtins
from urllib.parse import quote, urlencode

import msgspec

from fastness.client.calls import Calls
from fastness.client.transport import Transport
from fastness.core.errors import Unauthenticated, Unavailable
from fastness.wire import oauth

CLI = "fastness-cli"
_DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
_FAILED = 400
_WAITING = {"authorization_pending": 0.0, "slow_down": 5.0, "temporarily_unavailable": 5.0}


class ClientCalls:
    """Programs that ask for tokens, and devices that ask to be let in."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> builtins.list[oauth.ClientView]:
        """All clients, ended ones too."""
        return self._calls.all("/clients", oauth.ClientView)

    def create(self, request: oauth.ClientRequest) -> oauth.ClientReply:
        """Make a client; the reply holds its secret, once."""
        return self._calls.call("POST", "/clients", oauth.ClientReply, request)

    def renew(self, client: str) -> oauth.ClientReply:
        """Another secret for a client."""
        return self._calls.call("POST", f"/clients/{quote(client, safe='')}/secret", oauth.ClientReply)

    def put_keys(self, client: str, keys: oauth.ClientKeys) -> None:
        """Other public keys for a client that proves itself by keys."""
        self._calls.call("PUT", f"/clients/{quote(client, safe='')}/keys", None, keys)

    def disable(self, client: str) -> None:
        """End a client and all its tokens."""
        self._calls.call("POST", f"/clients/{quote(client, safe='')}/deactivation", None)

    def ask_device(self, code: str) -> oauth.DeviceView:
        """What the device that shows this code asks for; it takes a second factor."""
        return self._calls.call("POST", "/devices/questions", oauth.DeviceView, oauth.DeviceCode(code))

    def answer_device(self, code: str, *, granted: bool) -> None:
        """Let a device in, or send it away; it takes a second factor."""
        self._calls.call("POST", "/devices/answers", None, oauth.DeviceAnswer(code, granted))


class Waiting(msgspec.Struct, frozen=True):
    """A device that waits for a person."""

    device_code: str
    user_code: str
    verification_uri: str
    expires_in: float
    interval: float = 5.0
    verification_uri_complete: str = ""


class Tokens(msgspec.Struct, frozen=True):
    """What a person let a program have."""

    access_token: str
    expires_in: float
    refresh_token: str = ""
    scope: str = ""


class _Refusal(msgspec.Struct, frozen=True):
    error: str
    error_description: str = ""


class TokenCalls:
    """The endpoints under `/oauth`, for the command line's own client."""

    def __init__(self, transport: Transport, tenant: str = "") -> None:
        self._transport = transport
        self._always = {"client_id": CLI, **({"tenant": tenant} if tenant else {})}

    def begin(self, scope: str = "") -> Waiting:
        """Ask to be let in by a person."""
        data = self._send("device_authorization", {"scope": scope} if scope else {})
        return msgspec.json.decode(data, type=Waiting)

    def poll(self, waiting: Waiting) -> Tokens | float:
        """The tokens, or by how many seconds longer to wait each time from now on.

        Raises:
            Unauthenticated: a person said no, or the code has expired.
        """
        try:
            data = self._send("token", {"grant_type": _DEVICE, "device_code": waiting.device_code})
        except Unauthenticated as error:
            if error.code in _WAITING:
                return _WAITING[error.code]
            raise
        return msgspec.json.decode(data, type=Tokens)

    def refresh(self, refresh_token: str) -> Tokens:
        """New tokens for a refresh token, which works once."""
        data = self._send("token", {"grant_type": "refresh_token", "refresh_token": refresh_token})
        return msgspec.json.decode(data, type=Tokens)

    def revoke(self, token: str) -> None:
        """Give a token back, and all that came from it."""
        self._send("revoke", {"token": token, "token_type_hint": "refresh_token"})

    def _send(self, name: str, form: dict[str, str]) -> bytes:
        body = urlencode({**self._always, **form}).encode()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        reply = self._transport.send("POST", f"/oauth/{name}", headers, body)
        data = reply.read()
        if reply.status < _FAILED:
            return data
        try:
            refusal = msgspec.json.decode(data, type=_Refusal)
        except msgspec.MsgspecError as error:
            raise Unavailable("reply-malformed", "the house gave an answer that this client does not know") from error
        hint = "Log in again: fastness login."
        raise Unauthenticated(refusal.error, refusal.error_description or refusal.error.replace("_", " "), hint)
