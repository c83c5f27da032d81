"""What the syncer does when: it waits for ticks, folds between them, and prepares the next one."""

import math
import time
from collections.abc import Callable
from datetime import datetime
from typing import Literal

import structlog

from services.syncer import core, metrics
from services.syncer.publisher import PublishResult
from services.syncer.service import Syncer
from shared import tick
from shared.amqp import ticks
from shared.errors import Denied, Unavailable
from shared.health import Health

INTERVAL_UNTIL_TOLD_S = 60
MISSED_TICKS_MAX = 2
"""So many may be missed before the syncer is unhealthy."""

PREPARED_S = (0.07, 0.025)
"""So long before its boundary a tick is prepared: twice, since more comes during the first time."""
PREPARED_PER_PROVIDER_S = 25e-6
"""For each provider that has changed, it is prepared so much earlier."""
PREPARED_SHARE_MAX = 0.5
"""The earliest that it is prepared, as a share of the interval."""
MANY_CHANGED = 50_000
"""From so many changed providers on, an interim tick is written at once, however far off the
boundary is, but only once between two ticks: a tick not prepared would take over a second."""
DENIED_PAUSE_S = 2.0
"""Between two attempts, other than those of ticks, at a KeyDB that answers and refuses."""
FIRST_FOLD = "reads what became visible since the last tick"
"""What it does when it has just connected: for long, if that was long ago."""

Turn = Literal["tick", "no tick", "stood by", "fold"]
"""What one turn of the loop did. *No tick*: a message of a tick wrote none, say a second ticker's;
*stood by*: it found that another syncer has written a tick."""

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
        self.interval_s = INTERVAL_UNTIL_TOLD_S
        """From one tick to the next, as the last one said."""
        self._active = False
        """Whether the newest tick came to us: then we prepare the next one."""
        self._behind = False
        """Whether the newest tick must still be sent to KeyDB."""
        self._awaiting = False
        """Whether another syncer has written a tick that KeyDB was not seen to show yet."""
        self._keydb_again_at = -math.inf
        """When KeyDB is tried again, by the monotonic clock."""
        self._next_boundary_s = math.inf
        self._prepared = 0
        """How often the next boundary's tick was prepared because its time was near."""
        self._early_write_done = False
        """Whether it was prepared because many providers had changed."""

    def start(self) -> None:
        """Declare and consume the tick queue, and show the last tick if KeyDB is behind it.

        Folds once, so that a syncer that cannot fold does not report healthy.
        """
        self._broker.declare_queue()
        self._broker.consume_ticks()
        self._expect_ticks(INTERVAL_UNTIL_TOLD_S)
        self._report(self._syncer.publisher.publish())
        self._health.problem("syncer", FIRST_FOLD)
        self._syncer.fold()
        self._health.progress("syncer")

    def run_once(self) -> Turn:
        """Handle a tick if one comes; else fold, and do what is due. Raises `Unavailable`."""
        pause_s = max(0.0, min(self._fold_interval_s, self._preparation_in_s()))
        if received := self._broker.next_tick(pause_s):
            tag, body = received
            turn = self._handle(body)
            self._broker.ack(tag)  # after the commit: if we die before, the next syncer gets it
            return turn
        overtaken = self._syncer.fold().overtaken
        if overtaken:
            self._stand_by()
        self._look_after_keydb()
        if self._active and self._is_time_to_prepare():
            self._syncer.prepare()
        return "stood by" if overtaken else "fold"

    def _handle(self, body: bytes) -> Turn:
        try:
            received = tick.decode(body)
        except tick.MalformedTick as error:
            log.error("malformed_tick", error=str(error))
            return "no tick"
        self._active, self._awaiting = True, False
        self.interval_s = received.interval_s
        self._expect_ticks(received.interval_s)
        try:
            published = self._syncer.tick(received.boundary)
        except Unavailable as error:
            metrics.TICK_FAILURES.inc()
            boundary = core.rfc3339(received.boundary)
            log.warning("tick_failed", boundary=boundary, detail=str(error))
            self._health.problem("tick", str(error))  # until a tick is written
            raise
        if published.boundary_class in ("new", "repeated"):
            self._expect_boundary_after(received.boundary)
            self._health.progress("tick")
        self._report(published)
        return "tick" if published.boundary_class == "new" else "no tick"

    def _expect_boundary_after(self, boundary: datetime) -> None:
        """Note when the next boundary is, by the wall clock: they are multiples of the interval.

        If that clock is wrong, preparing does not help, and harms nothing.
        """
        since_s = max(self._clock(), boundary.timestamp())
        self._next_boundary_s = (since_s // self.interval_s + 1) * self.interval_s
        self._prepared, self._early_write_done = 0, False

    def _preparation_in_s(self) -> float:
        """Return how long it is until the next tick must be prepared, or prepared once more."""
        if self._prepared == len(PREPARED_S):
            return math.inf
        before_s = PREPARED_S[self._prepared] + PREPARED_PER_PROVIDER_S * self._syncer.changed
        before_s = min(before_s, PREPARED_SHARE_MAX * self.interval_s)
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
        """Leave ticks to the other syncer that has written one; look until KeyDB shows that one."""
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
            self._report_trouble()

    def _report(self, published: PublishResult) -> None:
        self._behind = published.behind
        if not published.behind:
            self._health.progress("watermark")
        self._report_trouble()

    def _report_trouble(self) -> None:
        """Say why KeyDB cannot be read or written, if so; if it refuses, pause between attempts.

        Ticks are written all the same, and each tries KeyDB again.
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
