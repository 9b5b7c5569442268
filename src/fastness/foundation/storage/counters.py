"""The door to everything that counts, or remembers that something was used: memory, leases, rows, Redis."""

from fastness.foundation.storage.contracts import Counted, Exempt, SharedCounters, Tallies
from fastness.foundation.storage.counting import DURABLE, window_at
from fastness.foundation.storage.leases import Ask, Desk, LeasedCounters, LeaseReply, LeaseRequest
from fastness.foundation.storage.memory import MemoryCounters
from fastness.foundation.storage.redis_counters import Degraded, RedisCounters, RedisSeen, RedisSettings
from fastness.foundation.storage.seen import MemorySeen, RecordsSeen, Seen, once_in

USAGE = Exempt.USAGE
"""Writing down what was used decides nothing, so it asks for no event."""

__all__ = [
    "DURABLE",
    "USAGE",
    "Ask",
    "Counted",
    "Degraded",
    "Desk",
    "LeaseReply",
    "LeaseRequest",
    "LeasedCounters",
    "MemoryCounters",
    "MemorySeen",
    "RecordsSeen",
    "RedisCounters",
    "RedisSeen",
    "RedisSettings",
    "Seen",
    "SharedCounters",
    "Tallies",
    "once_in",
    "window_at",
]
