"""An outside reader of KeyDB: when does it show a boundary? One clock for all, the system's.

It sleeps to the boundary, then looks about every half millisecond until KeyDB shows it: as any
program that reads balances could. What is not there after `GIVE_UP_S` counts as that late.
"""

import time
from datetime import UTC, datetime
from statistics import median, quantiles

import redis

from bench.peers import null_tick
from bench.result import Row
from services.syncer import core
from services.syncer.projection import WATERMARK_KEY

POLL_EVERY_S = 0.0005
GIVE_UP_S = 0.48
"""Below half an interval of one second: then comes the null probe's turn."""

Seconds = list[float]


class Reader:
    """Looks at one KeyDB."""

    def __init__(self, client: "redis.Redis") -> None:
        """`client` decodes replies."""
        self._client = client

    def tick(self, boundary: int, give_up_s: float = GIVE_UP_S) -> float:
        """Return how many seconds after `boundary` the watermark shows it or a later one."""
        wanted = core.rfc3339(datetime.fromtimestamp(boundary, UTC))
        end = time.time() + max(0.0, boundary - time.time()) + give_up_s
        _sleep_to(boundary)
        while str(self._client.hget(WATERMARK_KEY, "boundary") or "") < wanted:
            if time.time() > end:
                break
            time.sleep(POLL_EVERY_S)
        return time.time() - boundary

    def null(self, boundary: int) -> float:
        """Return how many seconds after its boundary the null probe's SET is seen."""
        at = boundary + null_tick.OFFSET_S
        _sleep_to(at)
        while int(self._client.get(null_tick.KEY) or 0) < boundary:
            if time.time() > at + GIVE_UP_S:
                break
            time.sleep(POLL_EVERY_S)
        return time.time() - at


def row(name: str, seconds: Seconds) -> Row:
    """Return a row of a table: milliseconds."""
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else seconds * 99
    return {
        "what": name,
        "samples": len(seconds),
        "median ms": median(seconds) * 1000,
        "p90 ms": cuts[89] * 1000,
        "p99 ms": cuts[98] * 1000,
        "most ms": max(seconds) * 1000,
    }


def _sleep_to(at: float) -> None:
    time.sleep(max(0.0, at - time.time()))
