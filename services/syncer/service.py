"""One tick: fold what became visible, write it in one transaction, have it shown in KeyDB.

Everything up to the commit decides; everything after it can be repeated.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import psycopg
import structlog

from services.syncer import core, metrics, publish_store, tick_store, trace_links
from services.syncer.core import Accumulator, DueTick, ObservedWatermark, Watermark
from services.syncer.projection import Projection
from services.syncer.publisher import Publisher, PublishResult
from shared import postgres, tracing

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Folded:
    """One read between ticks: its rows; `overtaken` says that another syncer has written a tick."""

    rows: int
    overtaken: bool


class Syncer:
    """Folds and publishes over one Postgres connection; both live and die together."""

    def __init__(
        self,
        conn: psycopg.Connection,
        projection: Projection,
        new_token: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        """`conn` is in autocommit mode; `new_token` returns what no other tick was ever given."""
        self._conn = conn
        self._new_token = new_token
        self._accumulator: Accumulator | None = None
        self._observed: ObservedWatermark | None = None
        """KeyDB's watermark, if it was read since the last fold."""
        self.publisher = Publisher(conn, projection)

    def fold(self) -> Folded:
        """Between ticks: read what became visible and add it up in memory.

        Nothing is written, so nothing can bloat. Raises `Unavailable`.
        """
        self._observed = None
        with postgres.translating():
            accumulator = self._accumulator
            if accumulator is None:
                newest = tick_store.newest_tick(self._conn)
                if not newest.same_cluster:
                    return Folded(0, overtaken=False)  # the next tick takes a baseline
                accumulator = core.resume(newest)
                self._start_from(accumulator)
            started = time.monotonic()
            fresh = tick_store.read_fresh(self._conn, accumulator.snapshot)
        metrics.folded(fresh.rows, fresh.age_s, time.monotonic() - started)
        if fresh.newest_token != accumulator.base:
            self._start_from(None)  # what was added up is in the other syncer's tick
            return Folded(0, overtaken=True)
        accumulator.add(fresh.snapshot, fresh.sums, fresh.rows)
        return Folded(fresh.rows, overtaken=False)

    @property
    def changed(self) -> int:
        """Return how many providers have changed since the newest tick, as far as was read."""
        return len(self._accumulator.sums) if self._accumulator else 0

    def prepare(self) -> None:
        """Leave little to do for the tick that is about to come.

        What was added up is written as an interim tick, and KeyDB's watermark is read. Should that
        change before the tick, KeyDB refuses what it is sent, and the watermark is read again.
        Raises `Unavailable` of Postgres: nothing, or the whole interim tick, was written.
        """
        with postgres.translating():
            self._write_interim()
        self._observed = self.publisher.read()

    def tick(self, boundary: datetime) -> PublishResult:
        """Write the tick of `boundary` unless it is there, and show the newest one in KeyDB.

        Raises `Unavailable` of Postgres: nothing, or the whole tick, was written. If KeyDB cannot
        be reached, the tick is written all the same, and shown later.
        """
        observed = self._observed or self.publisher.read()  # of the preparation, or of now
        self._observed = None
        with tracing.span("tick", {"boundary": core.rfc3339(boundary)}) as span:
            with postgres.translating():
                boundary_class, written = self._write(boundary, observed)
            if boundary_class == "ahead":
                metrics.REFUSED_BOUNDARIES.inc()
                log.error("boundary_in_future", boundary=core.rfc3339(boundary))
            if observed is None:
                published = PublishResult("unreachable", behind=True)
            else:
                published = self.publisher.publish(observed, written)
            if boundary_class in ("new", "repeated") and tracing.on():
                tracing.link(span, trace_links.traceparents(self._conn, boundary))
        return replace(published, boundary_class=boundary_class)

    def interval_s(self) -> float | None:
        """Return what lies between the last two boundaries; None without two of them."""
        with postgres.translating():
            return publish_store.interval_s(self._conn)

    def _write_interim(self) -> None:
        accumulator = self._accumulator
        if accumulator is None or not accumulator.sums:
            return
        with self._conn.transaction():
            tick_store.lock_ticks(self._conn)
            newest = tick_store.newest_tick(self._conn)
            if newest.token != accumulator.base or not newest.same_cluster:
                return  # another syncer is at work: the next fold finds out
            watermark = Watermark(newest.epoch + 1, self._new_token())
            cursor = tick_store.insert_tick(self._conn, watermark, None, accumulator)
        written = tick_store.written_tick(cursor)
        unpublished = accumulator.unpublished_with(written.values)
        self._start_from(Accumulator(watermark.token, written.snapshot, unpublished))
        rows, providers = written.rows, written.providers
        log.info("interim_written", epoch=watermark.epoch, rows=rows, providers=providers)

    def _write(
        self, boundary: datetime, observed: ObservedWatermark | None
    ) -> tuple[core.BoundaryClass, DueTick | None]:
        """Write a tick in one transaction, if the boundary is new.

        Returns the tick as well; None if nothing was written, or KeyDB needs more than its values.
        """
        cursor: psycopg.Cursor | None = None
        # No pipeline of psycopg: Postgres takes nobody for idle within one, so the timeout (in
        # `tick_store.OPTIONS`) would not take the lock from a syncer that froze there.
        with self._conn.transaction():
            tick_store.lock_ticks(self._conn)  # a statement of its own: the reads come after it
            newest = tick_store.newest_tick(self._conn)
            boundary_class = core.classify_boundary(boundary, newest)
            if boundary_class != "new":
                return boundary_class, None
            if newest.due_boundary and newest.due_boundary > boundary:
                self._take_boundaries_back(boundary, newest.due_boundary)
            epoch = core.next_epoch(newest, observed)
            watermark = Watermark(epoch, self._new_token(), core.rfc3339(boundary))
            accumulator = self._accumulator
            if accumulator is None or accumulator.base != newest.token:
                accumulator = core.resume(newest)  # another syncer's tick counts what we read
            if newest.same_cluster:
                cursor = tick_store.insert_tick(self._conn, watermark, boundary, accumulator)
            else:
                tick_store.take_baseline(self._conn, watermark, boundary)
        if cursor is None:
            self._start_from(None)
            metrics.BASELINES.inc()
            log.warning("baseline_taken", epoch=epoch, reason="database moved to a new cluster")
            return "new", None
        written = tick_store.written_tick(cursor)
        self._start_from(Accumulator(watermark.token, written.snapshot))
        log.info(
            "tick_written",
            epoch=epoch,
            boundary=watermark.boundary,
            rows=written.rows,
            providers=written.providers,
        )
        values = accumulator.unpublished_with(written.values)
        if values is None:
            return "new", None
        return "new", DueTick(watermark, (newest.due_epoch, newest.due_token), values)

    def _take_boundaries_back(self, boundary: datetime, newest: datetime) -> None:
        ticks = tick_store.take_boundaries_back(self._conn, boundary)
        metrics.FALSE_BOUNDARIES.inc(ticks)
        log.error("boundaries_taken_back", ticks=ticks, newest=core.rfc3339(newest))

    def _start_from(self, accumulator: Accumulator | None) -> None:
        """Build on this from now on; None: on the newest tick at the next fold or tick."""
        self._accumulator = accumulator
        metrics.OLDEST_UNFOLDED.began = None
