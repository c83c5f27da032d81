"""The tick message: a boundary in time, published by the ticker and consumed by the syncer."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from prometheus_client import Gauge

INTERVAL_S = Gauge("minutebook_tick_interval_seconds", "From one boundary to the next.")
LATENESS_BUCKETS_S = (
    -5.0, -1.0, -0.1, -0.01,
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0,
    15.0, 60.0,
)  # fmt: skip
"""From a boundary to what was done about it. Too early is possible: two clocks are compared."""


class MalformedTick(ValueError):
    """The body is not a tick; it is dropped, since the next boundary brings another."""


class Tick(msgspec.Struct, frozen=True):
    """`boundary` in UTC, a multiple of `interval_s` since 1970; `ticker` says who sent it."""

    boundary: Annotated[datetime, msgspec.Meta(tz=True)] = msgspec.field(name="tick")
    interval_s: Annotated[int, msgspec.Meta(ge=1, le=86_400)]
    ticker: str


def encode(tick: Tick) -> bytes:
    """Return the message body: `{"tick": "2026-11-20T23:42:00Z", "interval_s": 60, …}`."""
    return msgspec.json.encode(tick)


def decode(body: bytes) -> Tick:
    """Return the tick in `body`. Raises `MalformedTick`."""
    try:
        tick = msgspec.json.decode(body, type=Tick)
        return msgspec.structs.replace(tick, boundary=tick.boundary.astimezone(UTC))
    except (msgspec.MsgspecError, OverflowError) as error:  # the latter: in UTC before year 1
        raise MalformedTick(str(error)) from error
