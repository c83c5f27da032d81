"""`python -m services.ticker`: sleeps to each boundary on the wall clock and publishes it.

Depends on RabbitMQ alone. A boundary that passes while disconnected is counted, not replayed.
"""

import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial

import structlog
from prometheus_client import Counter, Gauge, Histogram

from services.ticker.core import Boundaries
from shared import program, retry, settings, tick
from shared.amqp import ticks
from shared.errors import Unavailable
from shared.health import MAIN, NOT_CONNECTED, Health

ABOUT = "Publishes a tick to the fanout exchange 'ticks' at every boundary."
NAME = "ticker"
POLL_MAX_S = 0.5
BOUNDARY_GRACE_S = 5.0
"""A ticker is unhealthy when its next boundary is not published so soon after its time."""
FINAL_SLEEP_S = 0.05
"""The last stretch is slept, not polled: a sleep ends closer to the boundary."""

PUBLISHED = Counter("minutebook_ticks_published_total", "Boundaries published and confirmed.")
MISSED = Counter(
    "minutebook_ticks_missed_total",
    "Boundaries that passed without a confirmed tick; one whose confirm was lost may have come.",
)
BOUNDARY = Gauge(
    "minutebook_tick_boundary_seconds",
    "Newest boundary published, in Unix seconds; until there is one, the last before the start.",
)
STEPPED_BACK = Counter("minutebook_clock_stepped_back_total", "Steps back of the system clock.")
LATENESS = Histogram(
    "minutebook_tick_published_lateness_seconds",
    "From the boundary to the broker's confirm.",
    buckets=tick.LATENESS_BUCKETS_S,
)

Connect = Callable[..., AbstractContextManager[ticks.Broker]]

log = structlog.get_logger()


class TickerSettings(settings.RabbitmqSettings, settings.TickSettings, settings.ServiceSettings):
    """What the ticker needs."""

    metrics_port: settings.MetricsPort = 9102


class Ticker:
    """Publishes boundaries over one broker connection after another."""

    def __init__(
        self,
        interval_s: int,
        health: Health,
        stop: threading.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` returns Unix seconds and may step."""
        self._interval_s = interval_s
        self._health = health
        self._stop = stop
        self._clock = clock
        self._name = socket.gethostname()
        self._boundaries = Boundaries(interval_s, clock())
        tick.INTERVAL_S.set(interval_s)
        BOUNDARY.set(self._boundaries.next_at() - interval_s)

    def live(self, chosen: TickerSettings, connect: Connect = ticks.Broker.connected) -> None:
        """Publish until `stop` or until the connection is lost."""
        with self._health.reporting(NAME), connect(chosen, name=NAME) as broker:
            broker.declare_fanout()
            broker.confirm_ticks()
            broker.when_blocked(partial(self._health.report, NAME))
            self._count_missed(self._boundaries.skip(self._clock()))
            self._health.progress(NAME)
            try:
                while not self._stop.is_set():
                    self.run_once(broker)
            except Unavailable as error:
                self._health.problem(NAME, str(error))
                retry.report_lost(error)

    def run_once(self, broker: ticks.Broker) -> int | None:
        """Wait a little, or publish the boundary that is due and return it (Unix seconds)."""
        wait_s = self._boundaries.next_at() - self._clock()
        if wait_s > FINAL_SLEEP_S:
            broker.poll(min(wait_s - FINAL_SLEEP_S, POLL_MAX_S))
        elif wait_s > 0:
            self._stop.wait(wait_s)
        due = self._boundaries.due(self._clock())
        if due.stepped_back:
            STEPPED_BACK.inc()
            log.warning("clock_stepped_back")
        if due.boundary is None or self._stop.is_set():
            return None
        self._publish(broker, due.boundary)
        self._boundaries.done(due.boundary)
        self._count_missed(due.missed)  # only now: a publish that fails leaves them to `skip`
        return due.boundary

    def _publish(self, broker: ticks.Broker, boundary: int) -> None:
        at = datetime.fromtimestamp(boundary, UTC)
        body = tick.encode(tick.Tick(at, self._interval_s, self._name))
        broker.publish_tick(body, expires_s=self._interval_s)
        lateness_s = self._clock() - boundary
        PUBLISHED.inc()
        BOUNDARY.set(boundary)
        LATENESS.observe(lateness_s)
        self._health.progress("boundary")
        log.info(
            "tick_sent",
            boundary=f"{at:%Y-%m-%dT%H:%M:%SZ}",
            lateness_ms=round(lateness_s * 1000, 1),
        )

    def _count_missed(self, missed: int) -> None:
        if missed:
            MISSED.inc(missed)
            log.warning("boundaries_missed", boundaries=missed)


def run(
    chosen: TickerSettings,
    health: Health,
    stop: threading.Event,
    connect: Connect = ticks.Broker.connected,
) -> None:
    """Publish every boundary until `stop`, over what `connect` opens."""
    health.problem(NAME, NOT_CONNECTED)
    health.expect("boundary", within_s=chosen.tick_interval_seconds + BOUNDARY_GRACE_S)
    ticker = Ticker(chosen.tick_interval_seconds, health, stop)
    turn = health.turning(MAIN)
    live = partial(ticker.live, chosen, partial(connect, turn=turn))
    retry.run_with_reconnect(stop, live, turn)


PROGRAM = program.Program(NAME, ABOUT, TickerSettings, run)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
