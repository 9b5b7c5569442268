"""Counters and seen keys in Redis, shared by every process and machine that names the same server.

Operations of one loop tick go out together: those of one tenant in one call of one script, all tenants in one round trip;
while one is under way the next ones gather. What a call holds is msgpack, so that its cost is mostly Redis's own. Keys carry
the tenant as hash tag, so that all of a call stands on one node of a cluster. The clock is that of Redis (TIME), whatever the
callers' say.

What it misses: a server that loses its data forgets rates, and caps until `raise_to` brings them back from the rows. An answer
that is lost on the way may have charged: a caller that was refused for it pays once for nothing.

Source: `counting` (GCRA, windows); Redis documentation, "Scripting with Lua" and "Cluster specification" (hash tags).
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

import msgspec

from fastness.core.clock import Entropy, Instant, system_entropy
from fastness.core.errors import Corrupt, FastnessError, Invalid, Unavailable
from fastness.core.limits import LARGEST, Charge, Charged, LimitKey, Rate, Tally, Window, key_part, tenant_of
from fastness.core.secrets import SecretBytes
from fastness.core.settings import InvalidSetting
from fastness.foundation.storage.contracts import Counted
from fastness.foundation.storage.counting import SECOND_US, checked, checked_use, life_ms
from fastness.foundation.storage.memory import MemoryCounters
from fastness.foundation.storage.redis_wire import bulk, command, reason_of

if TYPE_CHECKING:
    import redis
    import redis.asyncio
    import redis.asyncio.connection

_SCRIPT: Final = resources.files(__package__).joinpath("counters.lua").read_text("utf-8")
_WINDOWS: Final = tuple(Window)
_NUMBER: Final[Mapping[Window, int]] = {window: number for number, window in enumerate(_WINDOWS, 1)}
_MOST_IN_CALL: Final = 512
_MOST_DRAINED: Final = 1024
_NAMES_KEPT: Final = 16_384
_PREPARED_KEPT: Final = 4_096
_TAKE, _SETTLE, _RAISE = range(3)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[int]).decode


class Degraded(StrEnum):
    """What happens to a charge while Redis does not answer."""

    REFUSE = "refuse"
    LOCAL = "local"


@dataclass(frozen=True)
class RedisSettings:
    """Where the shared counters are.

    Attributes:
        url: redis://, rediss:// (TLS) or unix://; without user and password. Empty keeps the counters in memory.
        user: of Redis's access lists; empty is its default one.
        ca, certificate, key: PEM files: who signed the server's certificate (empty: the system's), and our own, if it asks for one.
        plaintext: allow redis:// to another machine.
        timeout_s: for each answer, and to connect.
        degraded: `refuse`, or `local`: each process counts alone, its share of each limit, while Redis does not answer.
        retry_s: how long after a failure it is asked again.
        max_waiting: operations that wait at most; further ones are handled as if Redis did not answer.
        prefix: of all keys.
    """

    url: str = ""
    user: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""
    plaintext: bool = False
    timeout_s: float = 0.25
    degraded: str = Degraded.REFUSE.value
    retry_s: float = 0.5
    max_waiting: int = 20_000
    prefix: str = "fst"

    def __post_init__(self) -> None:
        if self.url:
            self._check_url()
        if self.degraded not in set(Degraded):
            raise InvalidSetting("redis.degraded", f"is one of {', '.join(Degraded)}")
        if not (0 < self.timeout_s <= 60 and 0 < self.retry_s <= 60):
            raise InvalidSetting("redis.timeout_s", "and retry_s are above 0 and at most 60")
        if self.max_waiting < 1:
            raise InvalidSetting("redis.max_waiting", "is at least 1")
        if not (self.prefix.isascii() and self.prefix.isalnum()):
            raise InvalidSetting("redis.prefix", "is a plain word")

    def _check_url(self) -> None:
        try:
            parts = urlsplit(self.url)
            secret, host = parts.password or parts.username or parts.query, parts.hostname or ""
        except ValueError:  # its text may hold a password: neither shown nor chained
            raise InvalidSetting("redis.url", "is not a URL") from None
        if parts.scheme not in {"redis", "rediss", "unix"}:
            raise InvalidSetting("redis.url", "begins with redis://, rediss:// or unix://")
        if secret:
            raise InvalidSetting("redis.url", "holds no user, password or options; they have settings of their own")
        if parts.scheme == "redis" and not self.plaintext and not _is_local(host):
            raise InvalidSetting("redis.url", "leaves this machine unencrypted: use rediss://, or set redis.plaintext")


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


Password = Callable[[], SecretBytes]
"""Asked at each connection, so that a changed password needs no restart."""


class _Login:
    """The credentials as the client library asks for them."""

    def __init__(self, user: str, password: Password) -> None:
        self._user = user
        self._password = password

    def get_credentials(self) -> tuple[str, str] | tuple[str]:
        secret = self._password().reveal().decode()
        return (self._user, secret) if self._user else (secret,)

    async def get_credentials_async(self) -> tuple[str, str] | tuple[str]:
        return await asyncio.to_thread(self.get_credentials)


def _options(settings: RedisSettings, password: Password | None) -> dict[str, Any]:
    options: dict[str, Any] = {"socket_timeout": settings.timeout_s, "socket_connect_timeout": settings.timeout_s}
    if password is not None:
        options["credential_provider"] = _Login(settings.user, password)
    elif settings.user:
        options["username"] = settings.user
    if settings.url.startswith("rediss:"):
        options |= {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_min_version": 0x0303}
        named = {"ssl_ca_certs": settings.ca, "ssl_certfile": settings.certificate, "ssl_keyfile": settings.key}
        options |= {name: value for name, value in named.items() if value}
    return options


class _Waiting(msgspec.Struct, eq=False):
    """An operation that waits for its turn: its kind, whose it is, what it speaks of, and the rest of its message."""

    kind: int
    tenant: str
    keys: tuple[LimitKey, ...]
    message: tuple[object, ...]
    done: asyncio.Future[tuple[int, int, int]]


class _Prepared(NamedTuple):
    charges: tuple[Charge, ...]
    tenant: str
    keys: tuple[LimitKey, ...]
    message: msgspec.Raw


class _Link:
    """One server: what waits, the round trips, and whether it answers."""

    def __init__(
        self, settings: RedisSettings, password: Password | None, changed: Callable[[str], None] | None
    ) -> None:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        if not settings.url:
            raise Invalid("redis-url", "no Redis is named", "Set redis.url.")
        # An operation that was sent is never sent again by itself: it may have been done.
        options = _options(settings, password) | {"retry": Retry(NoBackoff(), 0), "retry_on_error": []}
        options["socket_timeout"] = None  # whole round trips are timed here
        self.client: redis.asyncio.Redis = Redis.from_url(settings.url, **options)
        self.degraded = ""
        self.script = _SCRIPT
        self.sha = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
        self._settings = settings
        self._changed = changed
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._open_again = 0.0
        self._connection: redis.asyncio.connection.AbstractConnection | None = None
        self._names: dict[LimitKey, bytes] = {}

    async def close(self) -> None:
        """Fail what waits, and close the connections."""
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._connection is not None:
            await self._connection.disconnect()
        await self.client.aclose()

    def ask(
        self, kind: int, tenant: str, keys: tuple[LimitKey, ...], *message: object
    ) -> asyncio.Future[tuple[int, int, int]]:
        """Time, place and wait of the script's answer, once it is there."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[tuple[int, int, int]] = loop.create_future()
        if (self._open_again and loop.time() < self._open_again) or len(self._waiting) >= self._settings.max_waiting:
            done.set_exception(_unreachable(self.degraded or "too many operations wait"))
            return done
        self._waiting.append(_Waiting(kind, tenant, keys, message, done))
        if self._task is None:
            self._task = loop.create_task(self._send())
        return done

    async def _send(self) -> None:
        """Send what waits until nothing does; one round trip at a time."""
        lot: list[_Waiting] = []
        try:
            while self._waiting:
                lot, self._waiting = self._waiting, []
                await self._round_trip(lot)
        except BaseException:
            self._fail([*lot, *self._waiting], _unreachable("stopped"))
            self._waiting = []
            raise
        finally:
            self._task = None

    async def _round_trip(self, lot: list[_Waiting]) -> None:
        calls = list(_calls(lot))
        sent = [self._arguments(call) for call in calls]
        try:
            answers = await self._execute([command(b"EVALSHA", self.sha.encode(), *each) for each in sent])
            lost = [place for place, answer in enumerate(answers) if _is_unknown_script(answer)]
            if lost:  # nothing of these was done
                again = await self._execute([command(b"EVAL", self.script.encode(), *sent[place]) for place in lost])
                for place, answer in zip(lost, again, strict=True):
                    answers[place] = answer
        except Exception as error:  # whatever the client raises, nobody waits for ever
            self._fail(lot, self._cease(error))
            return
        results = [_results(call, answer) for call, answer in zip(calls, answers, strict=True)]
        if not any(isinstance(result, Exception) for result in results):
            self._resume()
        for call, result in zip(calls, results, strict=True):
            if isinstance(result, Exception):
                self._fail(call, self._cease(result))
                continue
            for waiting, each in zip(call, result, strict=True):
                if not waiting.done.done():
                    waiting.done.set_result(each)

    async def _execute(self, commands: list[bytes]) -> list[Any]:
        """The answers to all commands, by one connection that is kept; errors of single ones are among them.

        Raises:
            TimeoutError: they were not there in time.
        """
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                if self._connection is None:
                    pool: Any = self.client.connection_pool  # its method has no types
                    self._connection = await pool.get_connection()
                connection = self._connection
                await connection.send_packed_command(commands, check_health=False)
                return [await _answer(connection) for _ in commands]
        except BaseException:
            if self._connection is not None:  # what it would answer next belongs to nobody
                await self._connection.disconnect(nowait=True)
            raise

    def _arguments(self, call: list[_Waiting]) -> tuple[int, list[bytes]]:
        """The number of keys, and what follows it: the keys, each once, and the operations, which name them by number.

        Lua counts from 1, and the first is the tenant's own.
        """
        numbers: dict[LimitKey, int] = {}
        operations = [
            (each.kind, [numbers.setdefault(key, len(numbers) + 2) for key in each.keys], *each.message)
            for each in call
        ]
        names = self._names
        changed = changed_key(self._settings.prefix, call[0].tenant)
        keys = [names.get(key) or self._name(key) for key in numbers]
        return 1 + len(keys), [bulk(changed.encode()), *keys, bulk(_encode(operations))]

    def _name(self, key: LimitKey) -> bytes:
        if len(self._names) >= _NAMES_KEPT:
            self._names.clear()
        name = self._names[key] = bulk(key_of(self._settings.prefix, key).encode())
        return name

    async def call(self, command: Callable[[], Any]) -> Any:
        if asyncio.get_running_loop().time() < self._open_again:
            raise _unreachable(self.degraded)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                answer = await command()
        except Exception as error:
            raise self._cease(error) from None
        self._resume()
        return answer

    def _cease(self, error: Exception) -> FastnessError:
        """Ask Redis no more for a while; the error for those who wait."""
        reason = reason_of(error)
        self._open_again = asyncio.get_running_loop().time() + self._settings.retry_s
        if not self.degraded:
            self.degraded = reason
            if self._changed is not None:
                self._changed(reason)
        return _unreachable(reason)

    def _resume(self) -> None:
        if self.degraded:
            self.degraded = ""
            if self._changed is not None:
                self._changed("")

    @staticmethod
    def _fail(lot: list[_Waiting], error: FastnessError) -> None:
        for waiting in lot:
            if not waiting.done.done():
                waiting.done.set_exception(error)


class RedisCounters:
    """`SharedCounters` in Redis, for one event loop.

    Args:
        password: for the server; None where it asks for none.
        local: counts while Redis does not answer, if the settings say so.
        changed: told when Redis ceases (with a reason) or begins again ("") to answer; to be recorded as an event.

    Raises:
        Invalid: the settings name no server.
    """

    def __init__(
        self,
        settings: RedisSettings,
        password: Password | None = None,
        local: MemoryCounters | None = None,
        changed: Callable[[str], None] | None = None,
        entropy: Entropy = system_entropy,
    ) -> None:
        if settings.degraded == Degraded.LOCAL and local is None:
            raise Invalid("redis-local", "the degraded mode `local` needs counters to fall back on")
        self._link = _Link(settings, password, changed)
        self._prefix = settings.prefix
        self._local = local if settings.degraded == Degraded.LOCAL else None
        self._prepared: dict[int, _Prepared] = {}
        self._word = entropy(16).hex().encode()

    @property
    def degraded(self) -> str:
        """Why Redis is not asked at the moment; empty while it answers."""
        return self._link.degraded

    async def take_all(self, charges: tuple[Charge, ...], now: Instant) -> Charged:
        """Take all charges if each passes, else none. `now` counts only while this process counts alone."""
        known = self._prepared.get(id(charges))
        if known is None:
            known = self._prepare(charges)
        try:
            at_us, place, wait = await self._link.ask(_TAKE, known.tenant, known.keys, known.message)
        except Unavailable:
            if self._local is None:
                raise
            return msgspec.structs.replace(self._local.charge(charges, now), local=True)
        if place < 0:
            raise _changed_outside(charges[wait - 1].key)
        return Charged(charges, place - 1 if place else None, float("inf") if wait < 0 else wait / SECOND_US, at_us)

    def _prepare(self, charges: tuple[Charge, ...]) -> _Prepared:
        """Charges as the script reads them; remembered, for a plan charges the same object again and again."""
        found = _Prepared(
            checked(charges),
            tenant_of(charges[0].key),
            tuple(charge.key for charge in charges),
            msgspec.Raw(_encode([_plain(charge, charge.cost) for charge in charges])),
        )
        if len(self._prepared) >= _PREPARED_KEPT:
            self._prepared.clear()
        self._prepared[id(charges)] = found  # which holds them, so that the id stays theirs
        return found

    async def settle_all(self, charged: Charged, used: tuple[int, ...]) -> None:
        """Count what was used in place of what was charged, where it was charged. What was refused stays as it is."""
        pairs = list(zip(charged.charges, checked_use(charged, used), strict=True))
        differing = [(charge, difference) for charge, difference in pairs if difference]
        if not differing or not charged.allowed:
            return
        if charged.local:
            if self._local is not None:
                self._local.correct(charged, used)
            return
        keys = tuple(charge.key for charge, _ in differing)
        changes = [_plain(charge, difference) for charge, difference in differing]
        _, place, wait = await self._link.ask(_SETTLE, tenant_of(keys[0]), keys, changes, charged.at_us)
        if place < 0:
            raise _changed_outside(differing[wait - 1][0].key)

    async def raise_to(self, counted: Counted) -> None:
        """Hold at least what `counted` says."""
        key, window, tally = counted
        message = (_NUMBER[window], tally.start_us, tally.used, tally.before)
        _, place, _ = await self._link.ask(_RAISE, tenant_of(key), (key,), *message)
        if place < 0:
            raise _changed_outside(key)

    async def generation(self) -> str:
        """A word that stands in Redis for as long as its data does."""
        name = f"{self._prefix}:generation"
        found: bytes = await self._link.call(lambda: self._link.client.set(name, self._word, nx=True, get=True))
        return (found or self._word).decode("utf-8", "replace")

    async def drain(self, tenant: str) -> list[Counted]:
        """What the tenant's caps of an hour or more hold that changed since this was last asked."""
        found: list[Counted] = []
        while names := await self._link.call(
            functools.partial(self._link.client.spop, changed_key(self._prefix, key_part(tenant)), _MOST_DRAINED)
        ):
            names = sorted(names)
            texts = await self._link.call(functools.partial(self._link.client.mget, names))
            counted = (_counted(_limit_key(name), text) for name, text in zip(names, texts, strict=True))
            found += [each for each in counted if each is not None]
        return found

    async def close(self) -> None:
        """Fail what waits, and close the connections."""
        await self._link.close()


class RedisSeen:
    """`Seen` in Redis. It waits for the server, so it is for threads and not for an event loop.

    Raises:
        Invalid: the settings name no server.
    """

    def __init__(self, settings: RedisSettings, password: Password | None = None) -> None:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        if not settings.url:
            raise Invalid("redis-url", "no Redis is named", "Set redis.url.")
        # Asked twice after a lost answer, a first time would be taken for a second: safe, but never by itself.
        options = _options(settings, password) | {"retry": Retry(NoBackoff(), 0), "retry_on_error": []}
        self._client: redis.Redis = Redis.from_url(settings.url, **options)
        self._prefix = settings.prefix

    def once(self, key: str, ttl_s: float, now: Instant) -> bool:  # noqa: ARG002 - Redis counts by its own clock
        """Whether `key` is seen for the first time in `ttl_s` seconds.

        Raises:
            Invalid: the time is not above 0, or longer than a year.
            Unavailable: Redis does not answer (`seen-unreachable`).
        """
        from redis.exceptions import RedisError

        name = f"{self._prefix}:seen:{hashlib.sha256(key.encode('utf-8', 'backslashreplace')).hexdigest()}"
        try:
            return bool(self._client.set(name, b"", nx=True, px=life_ms(ttl_s)))
        except (RedisError, OSError) as error:
            raise Unavailable(
                "seen-unreachable",
                f"it cannot be told whether this was used before ({reason_of(error)})",
                "Try again later.",
            ) from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def key_of(prefix: str, key: LimitKey) -> str:
    """The name of a counter in Redis: all of a tenant stand together on one node of a cluster."""
    kind, _, rest = key.partition(":")
    tenant, colon, name = rest.partition(":")
    return f"{prefix}:{{{tenant or kind}}}:{kind}{colon}{name}"


def _limit_key(name: bytes) -> LimitKey:
    head, _, rest = name.decode("utf-8", "replace").partition("}:")
    kind, _, more = rest.partition(":")
    return LimitKey(f"{kind}:{head.partition('{')[2]}:{more}")


def changed_key(prefix: str, tenant: str) -> str:
    """The name of the set of a tenant's counters that changed."""
    return f"{prefix}:{{{tenant}}}"


def _plain(charge: Charge, cost: int) -> tuple[int, ...]:
    limit = charge.limit
    if isinstance(limit, Rate):
        return cost, 0, limit.amount, limit.period_us, limit.burst
    return cost, _NUMBER[limit.window], limit.amount, int(limit.sliding), int(limit.stops)


def _calls(lot: list[_Waiting]) -> list[list[_Waiting]]:
    """Operations by tenant, in order, none so long that the server is held up."""
    by_tenant: dict[str, list[_Waiting]] = {}
    for waiting in lot:
        by_tenant.setdefault(waiting.tenant, []).append(waiting)
    return [
        operations[at : at + _MOST_IN_CALL]
        for operations in by_tenant.values()
        for at in range(0, len(operations), _MOST_IN_CALL)
    ]


async def _answer(connection: redis.asyncio.connection.AbstractConnection) -> Any:
    """The next answer; an error of the command is one."""
    from redis.exceptions import ResponseError

    try:
        return await connection.read_response(disable_decoding=True)
    except ResponseError as error:
        return error


def _results(call: list[_Waiting], answer: object) -> list[tuple[int, int, int]] | Exception:
    """Time, place and wait for each operation of a call; what went wrong, where the answer is none of our script's."""
    if isinstance(answer, Exception):
        return answer
    try:
        numbers = _decode(cast("bytes", answer))
        at_us, places, waits = numbers[0], numbers[1::2], numbers[2::2]
        if len(places) == len(waits) == len(call) and not (any(places) or any(waits)):
            return [(at_us, 0, 0)] * len(call)
        found = [(at_us, place, wait) for place, wait in zip(places, waits, strict=True)]
        fits = all(_is_place(place, wait, len(w.keys)) for w, (_, place, wait) in zip(call, found, strict=True))
    except (msgspec.MsgspecError, TypeError, ValueError, IndexError):
        fits, found = False, []
    return found if fits else ValueError("not an answer of the script")


def _is_place(place: int, wait: int, count: int) -> bool:
    return 0 <= place <= count or (place == -1 and 1 <= wait <= count)


def _counted(key: LimitKey, text: bytes | None) -> Counted | None:
    """What a stored counter says; None where it has ended, or is none of ours: charging it will tell."""
    parts = (text or b"").split(b":")
    if len(parts) != 5 or parts[0] != b"c" or not all(part.isdigit() and len(part) <= 16 for part in parts[1:]):
        return None
    window, start, used, before = map(int, parts[1:])
    if not 1 <= window <= len(_WINDOWS) or max(start, used, before) > LARGEST:
        return None
    return Counted(key, _WINDOWS[window - 1], Tally(start, used, before))


def _is_unknown_script(answer: object) -> bool:
    from redis.exceptions import NoScriptError

    return isinstance(answer, NoScriptError)


def _unreachable(reason: str) -> Unavailable:
    return Unavailable(
        "counters-unreachable",
        f"the shared counters do not answer ({reason}), so limits cannot be kept",
        "Try again in a moment; `redis.degraded` says what happens meanwhile.",
    )


def _changed_outside(key: LimitKey) -> Corrupt:
    return Corrupt(
        "counter-changed",
        f"the counter {key[:80]} holds what Fastness did not write",
        "Look who else writes to this Redis, then delete the key.",
    )
