"""The cookies of a session and of a known device.

Both have the prefix `__Host-`: a browser takes them over TLS alone, for this host alone, and no other host of the domain
can set one of this name. A port is no boundary for cookies: what else answers under the same name has to be trusted.

Source: RFC 6265bis, section 4.1.3.2.
"""

from __future__ import annotations

from typing import Any, Final

from fastness.access.login import sessions
from fastness.core.errors import Unauthenticated

SESSION: Final = "__Host-fastness"
DEVICE: Final = "__Host-fastness-device"
FEDERATED: Final = "__Host-fastness-oidc"
"""By this a browser is known that comes back from a provider: it is sent along when another site leads here (Lax)."""
FEDERATED_OVER: Final = f"{FEDERATED}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax"
FORGOTTEN: Final = f"{SESSION}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict"
_LONGEST = 512
_DAY_S = 86_400


def read_cookie(scope: Any, name: str) -> str:
    """The value of a cookie; empty without one.

    Raises:
        Unauthenticated: `cookie-twice`: which of two counts would be for others to choose.
    """
    values = [
        value
        for header, line in scope["headers"]
        if bytes(header).lower() == b"cookie"
        for part in bytes(line).decode("latin-1").split(";")
        for key, joined, value in [part.strip().partition("=")]
        if joined and key == name
    ]
    if len(values) > 1:
        raise Unauthenticated("cookie-twice", f"the cookie {name} came twice", "Delete the cookies of this site.")
    return values[0][:_LONGEST] if values else ""


def session_cookies(made: sessions.NewSession, device_days: int) -> list[str]:
    """What a browser is to keep of a session: until it is closed, and the device for longer."""
    kept = [f"{SESSION}={made.cookie}; Path=/; Secure; HttpOnly; SameSite=Strict"]
    if made.device:
        age = device_days * _DAY_S
        kept.append(f"{DEVICE}={made.device}; Path=/; Max-Age={age}; Secure; HttpOnly; SameSite=Strict")
    return kept
