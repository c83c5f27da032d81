"""What the syncer does when: it waits for ticks, folds in between, and prepares the next one."""

import math
import time
from collections.abc import Callable
from datetime import datetime
from typing import Literal

import structlog

from services.syncer import core, metrics
from services.syncer.publisher import Published
from services.syncer.service import Syncer
from shared import tick
from shared.amqp import ticks
from shared.errors import Denied, Unavailable
from shared.health import Health

INTERVAL_UNTIL_TOLD_S = 60
MISSED_TICKS_MAX = 2
PREPARED_S = (0.07, 0.025)
PREPARED_PER_PROVIDER_S = 25e-6
PREPARED_SHARE_MAX = 0.5
"""How long before a boundary its tick is prepared, so that little is left to do. Twice, as much can
come while the first one is written; the longer, the more providers have changed. At most this share
of the interval is spent on it."""
MANY_CHANGED = 50_000
"""From so many changed providers on, an interim tick is written at once, however far off the next
boundary is, once between two ticks: a tick that nobody prepared would take over a second."""
DENIED_PAUSE_S = 2.0
"""Between two attempts, other than those of ticks, at a KeyDB that answers and refuses."""

Turn = Literal["tick", "stood by", "fold"]

log = structlog.get_logger()


class Loop:
    """Waits for ticks on one broker connection; folds in between."""

    def __init__(
        self,
        syncer: Syncer,
        broker: ticks.Broker,
        health: Health,
        fold_interval_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Connections and syncer are of this life only; `clock` returns Unix seconds."""
        self._syncer = syncer
        self._broker = broker
        self._health = health
        self._fold_interval_s = fold_interval_s
        self._clock = clock
        self._active = False
        """Whether the newest tick came to us: then we prepare the next one."""
        self._behind = False
        """Whether KeyDB does not show the newest tick yet."""
        self._awaiting = False
        """Whether KeyDB does not show yet what another syncer wrote."""
        self._keydb_again_at = -math.inf
        self._interval_s = INTERVAL_UNTIL_TOLD_S
        self._next_boundary_s = math.inf
        self._prepared = 0
        self._early_write_done = False

    def start(self) -> None:
        """Declare and consume the tick queue, and show the last tick if KeyDB is behind it.

        Folds once, so that nobody is healthy who cannot.
        """
        self._broker.declare_queue()
        self._broker.consume_ticks()
        self._expect_ticks(INTERVAL_UNTIL_TOLD_S)
        self._report(self._syncer.publisher.publish())
        self._syncer.fold()
        self._health.progress("syncer")

    @property
    def interval_s(self) -> int:
        """Return the seconds from one tick to the next, as the last one said."""
        return self._interval_s

    def run_once(self) -> Turn:
        """Handle one tick, or fold once; say what it was. Raises `Unavailable`."""
        pause_s = max(0.0, min(self._fold_interval_s, self._preparation_in_s()))
        if received := self._broker.next_tick(pause_s):
            tag, body = received
            self._handle(body)
            self._broker.ack(tag)  # after the commit: a syncer that dies before gets it again
            return "tick"
        moved = self._syncer.fold().moved
        if moved:
            self._stand_by()
        self._look_after_keydb()
        if self._active and self._is_time_to_prepare():
            self._syncer.prepare()
        return "stood by" if moved else "fold"

    def _handle(self, body: bytes) -> None:
        try:
            received = tick.decode(body)
        except tick.MalformedTick as error:
            log.error("malformed_tick", error=str(error))
            return
        self._active, self._awaiting = True, False
        self._interval_s = received.interval_s
        self._expect_ticks(received.interval_s)
        try:
            published = self._syncer.tick(received.boundary)
        except Unavailable as error:
            metrics.TICK_FAILURES.inc()
            boundary = core.rfc3339(received.boundary)
            log.warning("tick_failed", boundary=boundary, detail=str(error))
            self._health.problem("tick", str(error))  # until a tick is written
            raise
        if published.current:
            self._expect_boundary_after(received.boundary)
            self._health.progress("tick")
        self._report(published)

    def _expect_boundary_after(self, boundary: datetime) -> None:
        """Prepare the next boundary, by the wall clock: boundaries are multiples of the interval.

        A wrong clock makes that useless, and nothing wrong. If no tick comes, nothing more is
        prepared.
        """
        since_s = max(self._clock(), boundary.timestamp())
        self._next_boundary_s = (since_s // self._interval_s + 1) * self._interval_s
        self._prepared, self._early_write_done = 0, False

    def _preparation_in_s(self) -> float:
        """Return the time left until the next boundary is to be prepared (once more)."""
        if self._prepared == len(PREPARED_S):
            return math.inf
        before_s = PREPARED_S[self._prepared] + PREPARED_PER_PROVIDER_S * self._syncer.changed
        before_s = min(before_s, PREPARED_SHARE_MAX * self._interval_s)
        return self._next_boundary_s - before_s - self._clock()

    def _is_time_to_prepare(self) -> bool:
        if self._preparation_in_s() <= 0:
            self._prepared += 1
            return True
        if self._early_write_done or self._syncer.changed < MANY_CHANGED:
            return False
        self._early_write_done = True
        return True

    def _stand_by(self) -> None:
        """Another syncer is at work: learn from its tick, and look until KeyDB shows that."""
        self._active, self._awaiting = False, True
        self._next_boundary_s = math.inf
        if interval_s := self._syncer.interval_s():
            self._expect_ticks(interval_s)
        self._health.progress("tick")
        metrics.standing_by()

    def _look_after_keydb(self) -> None:
        is_needed = self._behind or self._awaiting
        if not is_needed or time.monotonic() < self._keydb_again_at:
            return
        if self._awaiting and self._syncer.publisher.watch():
            self._awaiting = False
            self._health.progress("watermark")
        if self._behind:
            self._report(self._syncer.publisher.publish())
        else:
            self._tell_trouble()

    def _report(self, published: Published) -> None:
        self._behind = published.behind
        if not published.behind:
            self._health.progress("watermark")
        self._tell_trouble()

    def _tell_trouble(self) -> None:
        """Say why KeyDB cannot be read or written, if so; leave it alone for a while if it said no.

        Ticks go on being written, and each tries again.
        """
        trouble = self._syncer.publisher.trouble
        self._keydb_again_at = -math.inf
        if isinstance(trouble, Denied):
            self._keydb_again_at = time.monotonic() + DENIED_PAUSE_S
            self._health.problem("watermark", str(trouble))
        elif trouble:
            self._health.delayed("watermark", str(trouble))

    def _expect_ticks(self, interval_s: float) -> None:
        tick.INTERVAL_S.set(interval_s)
        limit_s = MISSED_TICKS_MAX * interval_s + 1
        self._health.expect("tick", within_s=limit_s)
        self._health.expect("watermark", within_s=limit_s)
