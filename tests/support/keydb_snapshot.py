"""What a stack's KeyDB shows to whoever reads keys and watermark together."""

import time
from dataclasses import dataclass
from datetime import datetime

import redis

from tests.support.eventually import eventually
from tests.support.stack import INTERVAL_S, Stack


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
    """Return what KeyDB shows for `keys` at the next boundary: at that one, not a later one."""
    boundary = (time.time() // INTERVAL_S + 1) * INTERVAL_S
    with stack.keydb() as keydb:

        def probe() -> Shown | None:
            seen = shown(keydb, *keys)
            reached = seen.boundary is not None and seen.boundary.timestamp() >= boundary
            return seen if reached else None

        seen = eventually(probe, 2 * INTERVAL_S + 5)
    assert seen is not None
    assert seen.boundary is not None
    assert seen.boundary.timestamp() == boundary, "a boundary went by without a tick"
    return seen.values
