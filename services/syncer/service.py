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

from services.syncer import boundary as boundaries
from services.syncer import core, metrics, posting, store
from services.syncer.core import Found, Memory, NewestTick, Publication, Watermark
from services.syncer.projection import Projection
from services.syncer.publisher import Published, Publisher
from shared import postgres
from shared.errors import Unavailable

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Folded:
    """One read between ticks: its rows, and whether another syncer has `moved` the newest tick."""

    rows: int
    moved: bool


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
        self._publisher = Publisher(conn, projection)
        self._new_token = new_token
        self._memory: Memory | None = None
        self._found: Found | None = None

    def fold(self) -> Folded:
        """Between ticks: read what became visible and add it up in memory.

        A pure read: nothing is written, so nothing can bloat. Raises `Unavailable`.
        """
        self._found = None
        with postgres.translating():
            if self._memory is None:
                newest = store.newest_tick(self._conn)
                if not newest.same_cluster:
                    return Folded(0, moved=False)  # the next tick takes a baseline
                self._memory = core.resume(newest)
                metrics.counted()
            started = time.monotonic()
            fresh = store.read_fresh(self._conn, self._memory.snapshot)
            metrics.folded(fresh.rows, fresh.age_s, time.monotonic() - started)
            if fresh.newest != self._memory.base:
                self._memory = None  # another syncer wrote a tick: what we hold is in it
                metrics.counted()
                return Folded(0, moved=True)
            self._memory.add(fresh.snapshot, fresh.sums, fresh.rows)
            self._look_up(self._memory)
        return Folded(fresh.rows, moved=False)

    @property
    def changed(self) -> int:
        """Return how many providers have changed, as far as is read, that no tick has counted."""
        return len(self._memory.sums) if self._memory else 0

    def prepare(self) -> None:
        """Have little left to do for the tick that is about to come.

        What was added up is written as an interim tick, which is shown together with the next one.
        KeyDB's watermark is read; if it is another one by then, KeyDB refuses what was planned upon
        it, and it is read anew. Raises `Unavailable` of Postgres: nothing, or all, was written.
        """
        with postgres.translating():
            self._write_interim()
        self._found = self._publisher.read()

    def tick(self, boundary: datetime) -> Published:
        """Write the tick of `boundary` unless it is there, and show the newest one in KeyDB.

        Raises `Unavailable` of Postgres: nothing, or the whole tick, was written. KeyDB's trouble
        does not raise: the tick stands, and `publish` goes on later.
        """
        found, self._found = self._found or self._publisher.read(), None
        with postgres.translating():
            verdict, planned = self._write(boundary, found)
        if verdict == "ahead":
            metrics.REFUSED_BOUNDARIES.inc()
            log.error("boundary_in_future", boundary=core.rfc3339(boundary))
        current = verdict in ("fold", "written")
        if found is None:
            return Published("unreachable", behind=True, current=current)
        return replace(self._publisher.publish(found, planned), current=current)

    @property
    def trouble(self) -> Unavailable | None:
        """Why KeyDB could not be read or written at the last attempt, if so."""
        return self._publisher.trouble

    def publish(self) -> Published:
        """Take KeyDB to the newest tick. Raises `Unavailable` of Postgres only."""
        return self._publisher.publish()

    def watch(self) -> bool:
        """Standing by, see what the other syncer has shown in KeyDB; say whether it is new."""
        return self._publisher.watch()

    def interval_s(self) -> float | None:
        """Return what lies between the last two boundaries; None without two of them."""
        with postgres.translating():
            return store.interval_s(self._conn)

    def _look_up(self, memory: Memory) -> None:
        # Balances of the tick that memory builds on: a later one makes memory void, and these too.
        if unknown := memory.unknown():
            memory.before |= posting.before(self._conn, unknown)
        posting.held(memory)

    def _write_interim(self) -> None:
        memory = self._memory
        if memory is None or not (memory.sums or memory.unshown):
            return
        with self._conn.transaction():
            store.lock_ticks(self._conn)
            newest = store.newest_tick(self._conn)
            if newest.token != memory.base or not newest.same_cluster:
                return  # another syncer is at work: the next read finds out
            mark = Watermark(newest.epoch + 1, self._new_token())
            written = posting.insert_tick(self._conn, mark, None, memory)
        done = written()
        self._memory = Memory(mark.token, done.snapshot, memory.with_unshown(done.values))
        metrics.counted()
        log.info("interim_written", epoch=mark.epoch, rows=done.rows, providers=done.providers)

    def _write(
        self, boundary: datetime, found: Found | None
    ) -> tuple[core.Verdict, Publication | None]:
        written: Callable[[], posting.Written] | None = None
        # No pipeline: while the server reads one it takes nobody for idle, and a syncer that froze
        # there would hold the lock for as long as its connection stands.
        with self._conn.transaction():
            store.lock_ticks(self._conn)  # a statement of its own: the reads come after it
            newest = store.newest_tick(self._conn)
            verdict = self._judge(boundary, newest)
            if verdict != "fold":
                return verdict, None
            mark = Watermark(
                core.next_epoch(newest, found), self._new_token(), core.rfc3339(boundary)
            )
            memory = self._held(newest)
            if newest.same_cluster:
                written = posting.insert_tick(self._conn, mark, boundary, memory)
            else:
                store.take_baseline(self._conn, mark, boundary)
        if written is None:
            self._memory = None
            metrics.BASELINES.inc()
            log.warning(
                "baseline_taken", epoch=mark.epoch, reason="database moved to a new cluster"
            )
            return verdict, None
        done = written()
        self._note_written(mark, done)
        values = memory.with_unshown(done.values)
        if values is None or not core.is_next(found, newest):
            return verdict, None
        # KeyDB shows the tick before: what differs is what was written since.
        return verdict, Publication(found, mark, values, (), "next", keys_known=True)

    def _judge(self, boundary: datetime, newest: NewestTick) -> core.Verdict:
        ahead = boundaries.ahead(boundary, newest)
        verdict = core.judge(
            boundary, newest.boundary, ahead=ahead.refused, newest_is_false=ahead.newest_is_false
        )
        if verdict == "fold" and newest.boundary and newest.boundary > boundary:
            false = boundaries.take_back(self._conn, boundary)
            metrics.FALSE_BOUNDARIES.inc(false)
            log.error("boundaries_taken_back", ticks=false, newest=core.rfc3339(newest.boundary))
        return verdict

    def _held(self, newest: NewestTick) -> Memory:
        """Return what was added up since the newest tick; nothing if that was on another one."""
        if self._memory and self._memory.base == newest.token:
            return self._memory
        return core.resume(newest)

    def _note_written(self, mark: Watermark, written: posting.Written) -> None:
        self._memory = Memory(mark.token, written.snapshot)
        metrics.counted()
        log.info(
            "tick_written",
            epoch=mark.epoch,
            boundary=mark.boundary,
            rows=written.rows,
            providers=written.providers,
        )
