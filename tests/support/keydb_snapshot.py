"""What a stack's KeyDB shows to whoever reads keys and watermark together."""

import time
from dataclasses import dataclass
from datetime import datetime

import redis

from tests.support.eventually import eventually
from tests.support.stack import INTERVAL_S, Stack

BOUNDARIES_MAX = 10


@dataclass(frozen=True)
class Shown:
    """What KeyDB shows, read in one MULTI."""

    values: dict[str, str | None]
    boundary: datetime | None
    applied_at: datetime | None


def shown(keydb: "redis.Redis", *keys: str) -> Shown:
    """Return what KeyDB shows for `keys` now, with the tick it is of."""
    pipeline = keydb.pipeline(transaction=True)
    for key in keys:
        pipeline.get(key)
    pipeline.hmget("minutebook:watermark", ["boundary", "applied_at"])
    *values, times = pipeline.execute()
    boundary, applied_at = (datetime.fromisoformat(text) if text else None for text in times)
    return Shown(dict(zip(keys, values, strict=True)), boundary, applied_at)


def at_next_boundary(stack: Stack, *keys: str) -> dict[str, str | None]:
    """Return what KeyDB shows for `keys` at the next boundary: at that one, not a later one.

    If that went by without a tick, or before it was looked at, as on a machine that is busy with
    other things, it is the one after.
    """
    with stack.keydb() as keydb:
        for _ in range(BOUNDARIES_MAX):
            boundary = (time.time() // INTERVAL_S + 1) * INTERVAL_S
            seen = _reached(keydb, keys, boundary)
            if seen.boundary is not None and seen.boundary.timestamp() == boundary:
                return seen.values
    message = f"{BOUNDARIES_MAX} boundaries went by without a tick"
    raise AssertionError(message)


def _reached(keydb: "redis.Redis", keys: tuple[str, ...], boundary: float) -> Shown:
    """Wait until KeyDB shows this boundary, or a later one."""

    def probe() -> Shown | None:
        seen = shown(keydb, *keys)
        reached = seen.boundary is not None and seen.boundary.timestamp() >= boundary
        return seen if reached else None

    found = eventually(probe)
    assert found is not None
    return found
