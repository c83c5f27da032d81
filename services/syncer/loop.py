"""What the syncer does when: it waits for ticks, and folds in between."""

import math
import time
from collections import deque
from datetime import datetime
from typing import Literal

import psycopg
import structlog

from services.syncer import metrics, traced
from services.syncer.publisher import Published
from services.syncer.service import Syncer
from shared import tick, tracing
from shared.amqp import ticks
from shared.health import Health

INTERVAL_UNTIL_TOLD_S = 60
MISSED_TICKS_MAX = 2
FOLD_BEFORE_TICK_S = 0.075
"""How long before a tick is expected the outbox is read once more, so that little is left."""

Turn = Literal["tick", "stood by", "fold"]

log = structlog.get_logger()


class Loop:
    """Waits for ticks on one broker connection; folds in between."""

    def __init__(
        self,
        conn: psycopg.Connection,
        syncer: Syncer,
        broker: ticks.Broker,
        health: Health,
        fold_interval_s: float,
    ) -> None:
        """Connections and syncer are of this life only."""
        self._conn = conn
        self._fold_interval_s = fold_interval_s
        self._health = health
        self._syncer = syncer
        self._broker = broker
        self._ticks: deque[tuple[int, bytes]] = deque()
        self._behind = False
        self._watching = False
        self._expected_at = -math.inf

    def prepare(self) -> None:
        """Declare and consume the tick queue, and show the last tick if KeyDB is behind it."""
        self._broker.declare_queue()
        self._broker.consume(lambda tag, body: self._ticks.append((tag, body)))
        self._expect(INTERVAL_UNTIL_TOLD_S)
        self._report(self._syncer.publish())
        self._health.progress("syncer")

    def run_once(self) -> Turn:
        """Handle one tick, or fold once; say what it was. Raises `Unavailable`."""
        self._broker.poll(self._pause_s())
        if self._ticks:
            tag, body = self._ticks.popleft()
            self._handle(body)
            self._broker.ack(tag)  # after the commit: a syncer that dies before gets it again
            return "tick"
        moved = self._syncer.fold().moved
        if moved:
            self._stand_by()
        if self._watching and self._syncer.watch():
            self._watching = False
            self._health.progress("watermark")
        if self._behind:
            self._report(self._syncer.publish())
        if self._left_s() <= FOLD_BEFORE_TICK_S:
            self._syncer.look()
        return "stood by" if moved else "fold"

    def _stand_by(self) -> None:
        """Another syncer is at work: learn from its tick, and look until KeyDB shows that."""
        if interval_s := self._syncer.interval_s():
            self._expect(interval_s)
        self._health.progress("tick")
        self._watching = True
        metrics.standing_by()

    def _pause_s(self) -> float:
        """Return the time to the next read: the usual, or less shortly before a tick."""
        left_s = self._left_s() - FOLD_BEFORE_TICK_S
        return min(left_s, self._fold_interval_s) if left_s > 0 else self._fold_interval_s

    def _left_s(self) -> float:
        return self._expected_at - time.monotonic()

    def _handle(self, body: bytes) -> None:
        try:
            received = tick.decode(body)
        except tick.MalformedTick as error:
            log.error("malformed_tick", error=str(error))
            return
        self._expected_at = time.monotonic() + received.interval_s
        self._watching = False
        self._expect(received.interval_s)
        published = self._tick(received.boundary)
        if published.current:
            self._health.progress("tick")
        self._report(published)

    def _tick(self, boundary: datetime) -> Published:
        if tracing.on():
            return traced.tick(self._conn, self._syncer, boundary)
        return self._syncer.tick(boundary)

    def _report(self, published: Published) -> None:
        self._behind = published.behind
        if not published.behind:
            self._health.progress("watermark")

    def _expect(self, interval_s: float) -> None:
        tick.INTERVAL_S.set(interval_s)
        limit_s = MISSED_TICKS_MAX * interval_s + 1
        self._health.expect("tick", within_s=limit_s)
        self._health.expect("watermark", within_s=limit_s)
