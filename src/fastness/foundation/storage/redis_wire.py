"""How calls of a script are written for Redis, and what its client's errors mean.

The client library packs each argument by itself, which costs more than all else of a call with hundreds of keys; here the
parts are kept as they are sent.

Source: Redis serialization protocol specification (RESP2), "Sending commands to a Redis server".
"""

from __future__ import annotations


def command(word: bytes, script: bytes, keys: int, rest: list[bytes]) -> bytes:
    """A call of a script (EVAL, or EVALSHA with its digest) as Redis reads it.

    Args:
        keys: how many of `rest` are keys.
        rest: keys and arguments, each from `bulk`.
    """
    head = (b"*%d\r\n" % (3 + len(rest)), bulk(word), bulk(script), bulk(b"%d" % keys))
    return b"".join((*head, *rest))


def bulk(data: bytes) -> bytes:
    """One argument."""
    return b"$%d\r\n%b\r\n" % (len(data), data)


def reason_of(error: BaseException) -> str:
    """What kind of failure it was; never the server's own words, which may hold what was sent."""
    from redis import exceptions

    kinds = (
        (exceptions.AuthenticationError, "authentication"),
        (exceptions.NoPermissionError, "permission"),
        (exceptions.TimeoutError, "timeout"),
        (TimeoutError, "timeout"),
        (exceptions.BusyLoadingError, "loading"),
        (exceptions.ReadOnlyError, "read-only"),
        (exceptions.OutOfMemoryError, "memory"),
        (exceptions.ConnectionError, "connection"),
        (OSError, "connection"),
        (exceptions.ResponseError, "refused"),
    )
    whole = (error.__cause__, error)  # the library wraps what went wrong while it connected
    return next((word for kind, word in kinds if any(isinstance(each, kind) for each in whole)), "failure")
