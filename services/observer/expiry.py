"""The routine that removes rows that have expired, in a thread of its own.

It needs Postgres alone, and goes on whatever the API, the broker and KeyDB do. Several observers
may run it beside each other.
"""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import psycopg
import structlog

from services.observer import metrics, store
from shared import postgres
from shared.health import Health

NAME = "expiry"
"""The thread, its part in health, and what Postgres sees the connection by."""
EARLY = 0.1
"""A routine begins by such a part earlier than it is due: it is to be over by then."""
STUCK_S = 15.0

log = structlog.get_logger()


class Expiry:
    """One life of the connection after another."""

    def __init__(
        self,
        connect: Callable[..., AbstractContextManager[psycopg.Connection]],
        health: Health,
        stop: threading.Event,
        every_s: float,
        kept_s: float,
    ) -> None:
        """Rows are kept for `kept_s`; each `every_s` older ones go."""
        self._connect = connect
        self._health = health
        self._stop = stop
        self._pause_s = every_s * (1 - EARLY)
        self._kept_s = kept_s
        health.expect(NAME, within_s=every_s + STUCK_S)

    def live(self) -> None:
        """Remove what has expired, again and again, until `stop` or until Postgres is lost."""
        turn = self._health.turning(NAME)
        with self._health.reporting(NAME), self._connect(turn=turn) as conn:
            postgres.check_schema(conn)
            while not self._stop.is_set():
                began = time.monotonic()
                self.run_once(conn)
                self._health.progress(NAME)
                pause_s = max(0.0, began + self._pause_s - time.monotonic())
                turn(pause_s)
                self._stop.wait(pause_s)

    def run_once(self, conn: psycopg.Connection) -> int:
        """Remove what has expired; return how many rows."""
        began = time.monotonic()
        with postgres.translating():
            count = store.expire(conn, self._kept_s)
        metrics.EXPIRED.inc(count)
        if count:
            took_ms = round((time.monotonic() - began) * 1000, 1)
            log.info("last_seen_expired", rows=count, duration_ms=took_ms)
        return count
