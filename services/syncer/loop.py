"""What the syncer does when: it waits for ticks, and folds in between."""

import math
import time
from collections import deque
from datetime import datetime
from typing import Literal

import psycopg
import structlog

from services.syncer import core, metrics, traced
from services.syncer.publisher import Published
from services.syncer.service import Syncer
from shared import tick, tracing
from shared.amqp import ticks
from shared.errors import Denied, Unavailable
from shared.health import Health

INTERVAL_UNTIL_TOLD_S = 60
MISSED_TICKS_MAX = 2
BEFORE_TICK_S = (0.07, 0.025)
BEFORE_TICK_PER_PROVIDER_S = 25e-6
BEFORE_TICK_SHARE_MAX = 0.5
"""How long before a tick is expected it is prepared: what has come until then is read and written,
so that little is left. Twice, as the first time takes long enough for much to come meanwhile; the
longer, the more providers have changed. At most this share of the interval is spent on it."""
MANY_CHANGED = 50_000
"""From so many changed providers on, what was read is written as an interim tick at once, however
far off the next tick is, once between two ticks: an unexpected one would take over a second."""
EXPECTED_LATER_S = 0.001
"""By how much the time at which ticks are expected follows those that come later than expected."""

DENIED_PAUSE_S = 2.0
"""Between two attempts, other than those of ticks, at a KeyDB that answers and refuses."""

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
        self._copies: deque[bytes] = deque(maxlen=1)
        self._active = False
        self._handled: datetime | None = None
        self._behind = False
        self._watching = False
        self._keydb_again_at = -math.inf
        self._expected_at = -math.inf
        self._interval_s = 0.0
        self._prepared = len(BEFORE_TICK_S)
        self._eased = False

    def prepare(self) -> None:
        """Declare and consume the tick queue, and show the last tick if KeyDB is behind it.

        Folds once, so that nobody is healthy who cannot.
        """
        self._broker.declare_queue()
        self._broker.consume(lambda tag, body: self._ticks.append((tag, body)))
        self._broker.overhear(self._copies.append)
        self._expect(INTERVAL_UNTIL_TOLD_S)
        self._report(self._syncer.publisher.publish())
        self._syncer.fold()
        self._health.progress("syncer")

    @property
    def interval_s(self) -> float:
        """Return the seconds from one tick to the next, as the last one said."""
        return self._interval_s

    def run_once(self) -> Turn:
        """Handle one tick, or fold once; say what it was. Raises `Unavailable`."""
        self._broker.poll(0.0 if self._ticks else self._pause_s())
        if self._copies and self._overheard(self._copies.popleft()):
            return "tick"
        if self._ticks:
            tag, body = self._ticks.popleft()
            overheard, self._active = self._active and self._is_handled(body), True
            if not overheard:
                self._handle(body)
            self._broker.ack(tag)  # after the commit: a syncer that dies before gets it again
            return "fold" if overheard else "tick"
        if 0 < self._prepared < len(BEFORE_TICK_S):
            self._prepare()  # which reads what has come since
            return "fold"
        moved = self._syncer.fold().moved
        if moved:
            self._stand_by()
        if self._is_time_for_keydb():
            self._look_after_keydb()
        if self._prepared == 0 and self._left_s() <= 0:
            self._prepare()
        elif self._active and not self._eased and self._syncer.changed >= MANY_CHANGED:
            self._eased = True
            self._syncer.prepare()
        return "stood by" if moved else "fold"

    def _is_time_for_keydb(self) -> bool:
        return (self._watching or self._behind) and time.monotonic() >= self._keydb_again_at

    def _look_after_keydb(self) -> None:
        if self._watching and self._syncer.publisher.watch():
            self._watching = False
            self._health.progress("watermark")
        if self._behind:
            self._report(self._syncer.publisher.publish())
        else:
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

    def _overheard(self, body: bytes) -> bool:
        """Handle a copy if we are the one to whom the queue gives the tick, too; say if so.

        A queue keeps to its single active consumer for as long as the connection lasts; should it
        not, two syncers are at work, which the lock and KeyDB's watermark make safe.
        """
        if not self._active or self._is_handled(body):
            return False
        self._handle(body)
        return True

    def _is_handled(self, body: bytes) -> bool:
        """Say whether it was the last tick that counted, by whichever way or ticker it came."""
        try:
            return tick.decode(body).boundary == self._handled
        except tick.MalformedTick:
            return False

    def _prepare(self) -> None:
        self._prepared += 1  # at every tick anew: a ticker that stays away leads to no more of it
        self._syncer.prepare()

    def _stand_by(self) -> None:
        """Another syncer is at work: learn from its tick, and look until KeyDB shows that."""
        self._active = False
        if interval_s := self._syncer.interval_s():
            self._expect(interval_s)
        self._health.progress("tick")
        self._watching = True
        metrics.standing_by()

    def _pause_s(self) -> float:
        """Return the time to the next read: the usual, or less shortly before a tick."""
        if self._prepared == len(BEFORE_TICK_S):
            return self._fold_interval_s
        return max(0.0, min(self._left_s(), self._fold_interval_s))

    def _left_s(self) -> float:
        """Return the time left until the next tick is to be prepared once more."""
        before_s = BEFORE_TICK_S[self._prepared]
        before_s += BEFORE_TICK_PER_PROVIDER_S * self._syncer.changed
        before_s = min(before_s, BEFORE_TICK_SHARE_MAX * self._interval_s)
        return self._expected_at - before_s - time.monotonic()

    def _handle(self, body: bytes) -> None:
        try:
            received = tick.decode(body)
        except tick.MalformedTick as error:
            log.error("malformed_tick", error=str(error))
            return
        came_at = self._came_at(received.interval_s)
        self._interval_s = received.interval_s
        self._watching = False
        self._expect(received.interval_s)
        published = self._tick(received.boundary)
        if published.current:
            self._handled = received.boundary
            self._expected_at = came_at + received.interval_s
            self._prepared, self._eased = 0, False
            self._health.progress("tick")
        self._report(published)

    def _came_at(self, interval_s: float) -> float:
        """Return when the tick should have come: they come late, never early."""
        now = time.monotonic()
        if now - self._expected_at > interval_s / 2:
            return now  # the first one, or after some that did not come
        return min(now, self._expected_at + EXPECTED_LATER_S)

    def _tick(self, boundary: datetime) -> Published:
        try:
            if tracing.on():
                return traced.tick(self._conn, self._syncer, boundary)
            return self._syncer.tick(boundary)
        except Unavailable as error:
            metrics.TICK_FAILURES.inc()
            log.warning("tick_failed", boundary=core.rfc3339(boundary), detail=str(error))
            self._health.problem("tick", str(error))  # until a tick is written
            raise

    def _report(self, published: Published) -> None:
        self._behind = published.behind
        if not published.behind:
            self._health.progress("watermark")
        self._tell_trouble()

    def _expect(self, interval_s: float) -> None:
        tick.INTERVAL_S.set(interval_s)
        limit_s = MISSED_TICKS_MAX * interval_s + 1
        self._health.expect("tick", within_s=limit_s)
        self._health.expect("watermark", within_s=limit_s)
