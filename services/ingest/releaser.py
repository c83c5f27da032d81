"""Messages that wait for a provider become rows within a second of its arrival.

A thread and a connection of its own: a hundred thousand waiting messages must not hold up those
that come in meanwhile.
"""

import math
import threading

import psycopg

from adoption import checks
from services.ingest import metrics, parked, service
from services.ingest.batch_size import AdaptiveBatchSize
from services.ingest.writer import STATEMENTS, Connect
from shared import retry
from shared.errors import Unavailable
from shared.health import Health

EVERY_S = 0.5
STUCK_S = 60.0


class Releaser:
    """Looks twice a second whether a provider has come that messages wait for."""

    def __init__(
        self, connect: Connect, intake: service.Intake, health: Health, stop: threading.Event
    ) -> None:
        """`connect` opens a connection for one life of the releaser."""
        self._connect = connect
        self._intake = intake
        self._health = health
        self._stop = stop
        self._batch_size = AdaptiveBatchSize(parked.RELEASED_MAX)
        health.expect("releaser", within_s=STUCK_S)

    def run_once(self, conn: psycopg.Connection) -> int:
        """Release what can be; returns the rows that made. Raises `Unavailable`."""
        arrived, oldest_s = parked.awaited(conn)
        metrics.OLDEST_WAITING.set(oldest_s)
        released = 0
        for provider_id in arrived:
            for rows in parked.releases(conn, provider_id, self._intake, self._batch_size):
                released += rows
                metrics.RELEASED.inc(rows)
                self._health.progress("releaser")
                if self._stop.is_set():  # a million of them would outlast the grace period
                    return released
        self._health.progress("releaser")
        return released

    def live(self) -> None:
        """Release over one connection until it is lost or all is to stop."""
        with self._health.reporting("releaser"), self._connect() as conn:
            checks.check(conn, STATEMENTS, stores=True)
            try:
                while not self._stop.is_set():
                    self._health.turn("releaser")
                    self.run_once(conn)
                    self._stop.wait(EVERY_S)
            except Unavailable as error:
                self._health.problem("releaser", str(error))
                metrics.OLDEST_WAITING.set(math.nan)  # not known now: others may see it
                retry.report_lost(error)
