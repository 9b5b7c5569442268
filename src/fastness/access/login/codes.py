"""Codes that people type: those of authenticator apps (TOTP), and recovery codes.

A code of an app has six digits of SHA-1 over a counter of 30 seconds, for that is what all apps do; the one before and the
one after are taken too. The counter of the last code is kept and only ever raised, in one statement, so that no code works
twice, not even for two who send it at once. A recovery code has 80 random bits and works once.

Source: RFC 6238 (TOTP), sections 4 and 5.2; RFC 4226, section 4 (seeds of 160 bits); the otpauth address is Google's.
"""

from __future__ import annotations

import base64
import hmac
import re
from dataclasses import dataclass, field

from pyotp.totp import TOTP

from fastness.access.login import records
from fastness.access.login.desk import Desk, Use, fresh
from fastness.access.login.records import TotpRow
from fastness.core.clock import SECOND, Entropy, Instant, uuid7
from fastness.core.errors import Invalid
from fastness.core.identity import PrincipalId, TenantId
from fastness.core.secrets import SecretBytes
from fastness.foundation.storage import Transaction

RECOVERY_CODES = 10
_SEED_BYTES = 20
_STEP_S = 30
_WINDOW = (-1, 0, 1)
_CODE = re.compile(r"[0-9]{6}", re.ASCII)
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_MISREAD = str.maketrans("oil", "011", "- ")
_RECOVERY = re.compile(rf"[{_ALPHABET}]{{16}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class App:
    """An authenticator app that is being set up; printing it does not show the seed.

    Attributes:
        factor: names it from now on.
        uri: `otpauth://…`, to be shown once, as text or as a QR code.
    """

    factor: str
    seed: SecretBytes = field(repr=False)
    uri: str = field(repr=False)

    @property
    def secret(self) -> str:
        """The seed in base 32, for who cannot scan."""
        return _base32(self.seed)

    def counter(self, code: str, now: Instant) -> int:
        """The counter of a first code, which proves that the app has the seed and the right time.

        Raises:
            Invalid: `code-wrong`.
        """
        found = matching(self.seed, code, now, 0)
        if found is None:
            raise code_wrong()
        return found


def new_app(desk: Desk, account: tuple[TenantId, PrincipalId], now: Instant, entropy: Entropy) -> App:
    """A new seed for an account, and how an app takes it in."""
    tenant, principal = account
    seed = SecretBytes(fresh(entropy)[:_SEED_BYTES])
    name = f"{principal.partition(':')[2]}@{tenant}"
    uri = TOTP(_base32(seed)).provisioning_uri(name=name, issuer_name=desk.settings.issuer)
    return App(uuid7(now, entropy), seed, uri)


def matching(seed: SecretBytes, code: str, now: Instant, last: int) -> int | None:
    """The counter above `last` of which `code` is the code now; None if there is none. All are computed, whatever fits."""
    given = code.replace(" ", "")
    well_formed = _CODE.fullmatch(given) is not None
    totp, current = TOTP(_base32(seed)), now // SECOND // _STEP_S
    counters = [current + step for step in _WINDOW if current + step >= 0]
    fits = [
        c for c in counters if hmac.compare_digest(totp.generate_otp(c).encode(), given[:16].encode("utf-8", "replace"))
    ]
    return next((c for c in fits if c > last), None) if well_formed else None


def use_totp(tx: Transaction, desk: Desk, principal: PrincipalId, code: str) -> str:
    """Use up a code of one of the principal's apps; what is wrong with it, or nothing."""
    why = "totp-wrong"
    for row in records.find_totp(tx, principal):
        if not row.confirmed:
            continue
        seed = desk.unwrap(row.seed, tx.scope.tenant, row.id)
        counter = matching(seed, code, tx.now, -1)
        unused = matching(seed, code, tx.now, row.last_counter)
        seed.wipe()
        if unused is not None and records.use_counter(tx, row.id, unused) == 1:
            return ""
        why = "totp-replayed" if counter is not None else why
    return why


def store_app(tx: Transaction, desk: Desk, whose: tuple[PrincipalId, str], app: App, counter: int | None) -> None:
    """Write an app, its seed encrypted for it alone; confirmed if `counter` is that of its first code."""
    principal, label = whose
    wrapped = desk.wrap(app.seed, tx.scope.tenant, app.factor)
    row = TotpRow(
        app.factor, principal, label, wrapped, tx.now, counter is not None, -1 if counter is None else counter
    )
    records.add_totp(tx, row)


def new_recovery(tx: Transaction, desk: Desk, principal: PrincipalId) -> tuple[str, ...]:
    """Ten fresh recovery codes, to be shown once; all older ones are void."""
    codes = tuple(_recovery(tx.events.entropy) for _ in range(RECOVERY_CODES))
    records.put_recovery(tx, principal, [_recovery_digest(desk, tx.scope.tenant, principal, code) for code in codes])
    return codes


def use_recovery(tx: Transaction, desk: Desk, principal: PrincipalId, code: str) -> str:
    """Use up a recovery code; what is wrong with it, or nothing. Reading errors of o, i and l are mended."""
    digest = _recovery_digest(desk, tx.scope.tenant, principal, code)
    return "" if records.use_recovery(tx, principal, digest) == 1 else "recovery-wrong"


def code_wrong() -> Invalid:
    """The refusal of a first code."""
    return Invalid(
        "code-wrong", "the code is not right", "Check the clock of the device; type the code that it shows now."
    )


def _recovery(entropy: Entropy) -> str:
    number = int.from_bytes(fresh(entropy)[:10])
    text = "".join(_ALPHABET[number >> shift & 31] for shift in range(75, -5, -5))
    return "-".join(text[at : at + 4] for at in range(0, 16, 4))


def _recovery_digest(desk: Desk, tenant: TenantId, principal: PrincipalId, code: str) -> bytes:
    text = code[:64].lower().translate(_MISREAD)
    return desk.digest(Use.RECOVERY, tenant, principal, text if _RECOVERY.fullmatch(text) else "")


def _base32(seed: SecretBytes) -> str:
    return base64.b32encode(seed.reveal()).decode("ascii")
