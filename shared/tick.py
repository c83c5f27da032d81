"""The tick message: a boundary in time, published by the ticker and consumed by the syncer."""

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from prometheus_client import Gauge

INTERVAL_S = Gauge("minutebook_tick_interval_seconds", "From one boundary to the next.")


# Too early is possible, too: two clocks are compared.
LATENESS_BUCKETS_S = (
    -5.0, -1.0, -0.1, -0.01,
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0,
    15.0, 60.0,
)  # fmt: skip


class MalformedTick(ValueError):
    """The body is not a tick; it is dropped, since the next boundary brings another."""


@dataclass(frozen=True, slots=True)
class Tick:
    """`boundary` in UTC, a multiple of `interval_s` since the epoch; `ticker` says who sent it."""

    boundary: datetime
    interval_s: int
    ticker: str


class _Wire(msgspec.Struct):
    tick: datetime
    interval_s: int
    ticker: str


def encode(tick: Tick) -> bytes:
    """Return the message body: `{"tick": "2026-11-20T23:42:00Z", "interval_s": 60, …}`."""
    return msgspec.json.encode(_Wire(tick.boundary, tick.interval_s, tick.ticker))


def decode(body: bytes) -> Tick:
    """Return the tick in `body`. Raises `MalformedTick`."""
    try:
        wire = msgspec.json.decode(body, type=_Wire)
    except msgspec.MsgspecError as error:
        raise MalformedTick(str(error)) from error
    if wire.tick.tzinfo is None or wire.interval_s < 1:
        raise MalformedTick("tick without time zone, or interval below one second")
    try:
        return Tick(wire.tick.astimezone(UTC), wire.interval_s, wire.ticker)
    except OverflowError as error:
        raise MalformedTick("a time before the first or after the last year") from error
