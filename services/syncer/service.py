"""One tick: fold what became visible, write it in one transaction, show it behind the watermark.

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
from services.syncer.projection import Answer, Moved, Projection
from shared import postgres
from shared.errors import Unavailable
from shared.metrics import RECONNECTS

ATTEMPTS_MAX = 3
"""How often a publication that was fenced is worked out again before the next round does it."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Folded:
    """One read between ticks: its rows, and whether another syncer has `moved` the newest tick."""

    rows: int
    moved: bool


@dataclass(frozen=True, slots=True)
class Published:
    """How a publication ended: `behind` means that the store does not show the newest tick yet.

    `current` says whether the tick that led to it was a new one, or the newest again.
    """

    state: str
    behind: bool
    current: bool = True


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
        self._projection = projection
        self._new_token = new_token
        self._memory: Memory | None = None

    def fold(self) -> Folded:
        """Between ticks: read what became visible and add it up in memory.

        A pure read: nothing is written, so nothing can bloat. Raises `Unavailable`.
        """
        with postgres.translating():
            if self._memory is None:
                newest = store.newest_tick(self._conn)
                if not newest.same_cluster:
                    return Folded(0, moved=False)  # the next tick takes a baseline
                self._memory = Memory(newest.token, newest.snapshot)
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

    def tick(self, boundary: datetime) -> Published:
        """Write the tick of `boundary` unless it is there, and show the newest one in KeyDB.

        Raises `Unavailable` of Postgres: nothing, or the whole tick, was written. KeyDB's trouble
        does not raise: the tick stands, and `publish` goes on later.
        """
        found = self._read_watermark()
        with postgres.translating():
            verdict, planned = self._write(boundary, found)
        if verdict == "ahead":
            metrics.REFUSED_BOUNDARIES.inc()
            log.error("boundary_in_future", boundary=core.rfc3339(boundary))
        current = verdict in ("fold", "written")
        if found is None:
            return Published("unreachable", behind=True, current=current)
        return replace(self.publish(found, planned), current=current)

    def publish(self, found: Found | None = None, planned: Publication | None = None) -> Published:
        """Take KeyDB to the newest tick; `found` is its watermark if that was just read.

        `planned` is what to send if the tick that was just written has said so.

        Values are absolute and the script compares before it sets, so this may be repeated at any
        time and by several syncers. Raises `Unavailable` of Postgres only.
        """
        for _ in range(ATTEMPTS_MAX):
            try:
                found = found or self._projection.read()
                with postgres.translating():
                    plan = planned or self._plan(found)
                    if isinstance(plan, Published):
                        if not plan.behind:
                            _seen(found)
                        return plan
                    answer = self._projection.apply(plan)
            except Unavailable as error:
                if error.server != "keydb":
                    raise
                _not_reached(error)
                return Published("unreachable", behind=True)
            if answer.verdict != "fenced":
                self._note(plan, answer)
                return Published(answer.verdict, behind=False)
            metrics.FENCED.inc()
            log.warning("fenced", epoch=plan.target.epoch, expected=plan.found.raw_epoch)
            found = planned = None
        return Published("fenced", behind=True)

    def watch(self) -> None:
        """Standing by, see what the other syncer has shown in KeyDB."""
        if found := self._read_watermark():
            _seen(found)

    def _read_watermark(self) -> Found | None:
        try:
            return self._projection.read()
        except Unavailable as error:
            _not_reached(error)
            return None

    def _look_up(self, memory: Memory) -> None:
        # Balances of the tick that memory builds on: a later one makes memory void, and these too.
        if unknown := memory.unknown():
            memory.before |= posting.before(self._conn, unknown)
        posting.held(memory)

    def _write(
        self, boundary: datetime, found: Found | None
    ) -> tuple[core.Verdict, Publication | None]:
        written: Callable[[], posting.Written] | None = None
        # Two round trips: all up to the first answer that is needed, all up to the commit.
        with self._conn.pipeline(), self._conn.transaction():
            store.lock_ticks(self._conn)  # a statement of its own: the reads come after it
            newest = store.newest_tick(self._conn)
            verdict = self._judge(boundary, newest)
            if verdict != "fold":
                return verdict, None
            mark = Watermark(
                core.next_epoch(newest, found), self._new_token(), core.rfc3339(boundary)
            )
            if newest.same_cluster:
                written = posting.insert_tick(self._conn, mark, boundary, self._held(newest))
            else:
                store.take_baseline(self._conn, mark, boundary)
        if written is None:
            self._memory = None
            metrics.BASELINES.inc()
            log.warning(
                "baseline_taken", epoch=mark.epoch, reason="database moved to a new cluster"
            )
            return verdict, None
        return verdict, self._written(newest, mark, written(), found)

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
        return Memory(newest.token, newest.snapshot)

    def _written(
        self, newest: NewestTick, mark: Watermark, written: posting.Written, found: Found | None
    ) -> Publication | None:
        self._memory = Memory(mark.token, written.snapshot)
        metrics.counted()
        log.info(
            "tick_written",
            epoch=mark.epoch,
            boundary=mark.boundary,
            rows=written.rows,
            providers=written.providers,
        )
        if written.values is None or not core.is_next(found, newest):
            return None
        # KeyDB shows the tick before: what differs is what this one has just written.
        return Publication(found, mark, written.values, (), "next")

    def _plan(self, found: Found) -> Publication | Published:
        newest = store.newest_tick(self._conn)
        if newest.boundary is None:
            return Published("baseline", behind=False)  # the first boundary shows it
        target = Watermark(newest.epoch, newest.token, core.rfc3339(newest.boundary))
        known = self._recognise(found)
        if core.settled(found, known=known, target=target):
            return Published("done", behind=False)
        if core.must_wait(found, known=known, target=target):
            return Published("waiting_for_next_tick", behind=True)
        if found.mark is not None and known:
            values, removals = store.changes(self._conn, found.mark.epoch, target.epoch)
            in_turn = found.mark.epoch >= target.epoch - 1
            cause: core.Cause = "next" if in_turn else "behind"
        else:
            values = store.everything(self._conn, target.epoch)
            try:
                removals = self._projection.keys(found) - values.keys()
            except Moved:
                return Published("moved", behind=True)  # worked out anew at the next round
            cause = "unknown" if found.raw_token else "missing"
        return Publication(found, target, values, tuple(removals), cause)

    def _recognise(self, found: Found) -> bool:
        """Say whether KeyDB shows a tick of ours; note since when, if its sender could not."""
        if found.mark is None:
            return False
        noted = store.is_noted(self._conn, found.mark)
        if noted is False and found.applied_at_s is not None:
            store.note_published(self._conn, found.mark.epoch, found.applied_at_s)
            log.info("publication_found", epoch=found.mark.epoch, boundary=found.mark.boundary)
        return noted is not None

    def _note(self, publication: Publication, answer: Answer) -> None:
        target = publication.target
        with postgres.translating():
            store.note_published(self._conn, target.epoch, answer.applied_at_s)
        if answer.verdict == "done":
            metrics.REPEATED.inc()
        lateness_s = answer.applied_at_s - datetime.fromisoformat(target.boundary).timestamp()
        metrics.published(target.boundary, publication.cause, lateness_s)
        log.info(
            "tick_published",
            epoch=target.epoch,
            boundary=target.boundary,
            keys=len(publication.values),
            removed=len(publication.removals),
            cause=publication.cause,
            verdict=answer.verdict,
            lateness_ms=round(lateness_s * 1000, 1),
        )


def _seen(found: Found) -> None:
    lateness_s = core.lateness_s(found)
    if found.mark and lateness_s is not None:
        metrics.seen(found.mark.boundary, lateness_s)


def _not_reached(error: Unavailable) -> None:
    RECONNECTS.labels(error.server).inc()
    log.warning("keydb_not_reached", detail=error.detail)
