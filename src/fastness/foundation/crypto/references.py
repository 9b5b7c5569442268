"""Secrets that settings refer to, fetched where they are kept when they are used, and remembered for a while.

A changed value is seen when the time to live is over, or after `refresh`: no restart. While whoever keeps it does not answer, the last
good value serves on, for a bounded time; where it was deleted, or is denied us, it serves no more. Nothing shows a value: not an
error, a log line, a repr or a traceback with locals.

What it misses: copies that libraries make on the way cannot be wiped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from fastness.core.clock import SECOND, Clock, Instant
from fastness.core.errors import FastnessError, Invalid, TooLarge, Unavailable
from fastness.core.secrets import SecretBytes, SecretRef
from fastness.core.settings import InvalidSetting
from fastness.foundation.crypto.references_local import EnvironmentSecrets, FileSecrets
from fastness.foundation.crypto.references_remote import AwsSecrets, VaultSecrets

LARGEST_SECRET: Final = 64 << 10


@dataclass(frozen=True)
class SecretsSettings:
    """How secrets are fetched, and from where.

    Attributes:
        ttl_s: how long a value is used before it is asked for again.
        stale_s: how old a value may become while whoever keeps it does not answer; at least `ttl_s`.
        retry_s: how long to wait after a failure before asking again.
        timeout_s: for an answer of Vault or AWS.
        vault_url: of HashiCorp Vault, https:// or of this machine.
        vault_token: of Vault; a file that the Vault agent renews, for instance.
        vault_namespace, vault_ca: a namespace, and a PEM file of who signed Vault's certificate.
        vault_kv: version of the key-value engine, 1 or 2.
        aws_region, aws_endpoint: of AWS Secrets Manager; empty leaves it to the AWS configuration of the machine.
    """

    ttl_s: float = 300.0
    stale_s: float = 3600.0
    retry_s: float = 5.0
    timeout_s: float = 5.0
    vault_url: str = ""
    vault_token: SecretRef | None = None
    vault_namespace: str = ""
    vault_ca: str = ""
    vault_kv: int = 2
    aws_region: str = ""
    aws_endpoint: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.ttl_s <= self.stale_s < float("inf"):
            raise InvalidSetting("secrets.ttl_s", "is above 0 and at most stale_s")
        if not (0 < self.retry_s < float("inf") and 0 < self.timeout_s <= 60):
            raise InvalidSetting("secrets.retry_s", "is above 0, timeout_s above 0 and at most 60")
        if self.vault_kv not in {1, 2}:
            raise InvalidSetting("secrets.vault_kv", "is 1 or 2")
        if self.vault_token is not None and self.vault_token.backend not in {"file", "env"}:
            raise InvalidSetting("secrets.vault_token", "is kept in a file or in the environment")
        for name in ("vault_url", "aws_endpoint"):
            url = getattr(self, name)
            local = url.startswith(("http://127.0.0.1:", "http://localhost:", "http://[::1]:"))
            if url and (not (url.startswith("https://") or local) or "@" in url):
                raise InvalidSetting(
                    f"secrets.{name}", "begins with https://, or is of this machine, and holds no user"
                )


class Keeper(Protocol):
    """Who keeps secrets of one sort."""

    def read(self, reference: SecretRef, now: Instant) -> SecretBytes:
        """The value as it is now.

        Raises:
            NotFound: there is none.
            Forbidden: it may not be read, or is not kept safely.
            Unavailable: the keeper does not answer.
        """
        ...


class _Held:
    """A value and when it was read."""

    __slots__ = ("asked_at", "failure", "lock", "read_at", "value")

    def __init__(self) -> None:
        self.value: SecretBytes | None = None
        self.read_at = Instant(0)
        self.asked_at = Instant(0)
        self.failure: FastnessError | None = None
        self.lock = threading.Lock()


class Secrets:
    """The resolver of `secret://` references. Any thread may ask.

    Args:
        keepers: by the word after `secret://`.
    """

    def __init__(self, settings: SecretsSettings, keepers: Mapping[str, Keeper]) -> None:
        self._settings = settings
        self._keepers = dict(keepers)
        self._held: dict[SecretRef, _Held] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "Secrets(***)"

    def reveal(self, reference: SecretRef, now: Instant) -> SecretBytes:
        """A copy of the value, for the caller to wipe.

        Raises:
            NotFound, Forbidden, Invalid: there is none, it may not be read, or it is none (empty, too large).
            Unavailable: it cannot be fetched, and no value is held that is young enough (`secret-unreachable`).
        """
        with self._lock:
            held = self._held.setdefault(reference, _Held())
        with held.lock:
            if held.value is not None and self._is_young(held.read_at, now, self._settings.ttl_s):
                return SecretBytes(held.value.reveal())
            if held.failure is None or not self._is_young(held.asked_at, now, self._settings.retry_s):
                self._fetch(reference, held, now)
            if held.failure is not None and (
                held.value is None or not self._is_young(held.read_at, now, self._settings.stale_s)
            ):
                raise type(held.failure)(held.failure.code, held.failure.message, held.failure.hint)
            if held.value is None:
                raise Unavailable("secret-unreachable", f"{reference} is not there")
            return SecretBytes(held.value.reveal())

    def bound(self, reference: SecretRef, clock: Clock) -> Callable[[], SecretBytes]:
        """A function that reveals it, for who logs in somewhere again and again."""
        return lambda: self.reveal(reference, clock.now())

    def refresh(self, now: Instant) -> None:
        """Ask for every value again when it is next used; should nobody answer, those held serve on as before."""
        with self._lock:
            every = list(self._held.values())
        for held in every:
            with held.lock:
                if held.value is not None:
                    oldest = now - int(self._settings.ttl_s * SECOND) - 1
                    held.read_at = Instant(min(held.read_at, oldest))
                held.failure = None

    def _fetch(self, reference: SecretRef, held: _Held, now: Instant) -> None:
        held.asked_at = now
        try:
            value = self._checked(reference, now)
        except FastnessError as error:
            held.failure = type(error)(error.code, error.message, error.hint)
            if not isinstance(error, Unavailable):  # deleted, denied or no secret any more
                self._forget(held)
        else:
            held.failure = None
            self._forget(held)
            held.value, held.read_at = value, now

    def _checked(self, reference: SecretRef, now: Instant) -> SecretBytes:
        keeper = self._keepers.get(reference.backend)
        if keeper is None:
            raise Invalid("secret-keeper", f"nothing is set up that keeps {reference.backend} secrets")
        value = keeper.read(reference, now)
        if not len(value):
            raise Invalid("secret-empty", f"{reference} is empty")
        if len(value) > LARGEST_SECRET:
            value.wipe()
            raise TooLarge("secret-large", f"{reference} has more than {LARGEST_SECRET} bytes")
        return value

    @staticmethod
    def _forget(held: _Held) -> None:
        if held.value is not None:
            held.value.wipe()
            held.value = None

    @staticmethod
    def _is_young(since: Instant, now: Instant, life_s: float) -> bool:
        return 0 <= now - since < life_s * SECOND  # a clock that went back ends it


def open_secrets(settings: SecretsSettings, environment: Mapping[str, str]) -> Secrets:
    """The resolver with every keeper that the settings name.

    Args:
        environment: of the process; only names that are referred to are read.
    """
    keepers: dict[str, Keeper] = {"file": FileSecrets(LARGEST_SECRET), "env": EnvironmentSecrets(environment)}
    if settings.vault_url:
        local = Secrets(settings, keepers)
        token = settings.vault_token
        keepers["vault"] = VaultSecrets(
            settings.vault_url,
            None if token is None else lambda now: local.reveal(token, now),
            timeout_s=settings.timeout_s,
            namespace=settings.vault_namespace,
            ca=settings.vault_ca,
            kv=settings.vault_kv,
        )
    keepers["aws"] = AwsSecrets(settings.aws_region, settings.aws_endpoint, settings.timeout_s)
    return Secrets(settings, keepers)
