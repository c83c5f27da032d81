"""A follower does something for each due tick, in order: at least once, and told by its position.

There are two kinds. What *writes* to Postgres has its rows and its position in one transaction.
What *only publishes* moves its position once all of a tick is confirmed, or of several small ones.
Either may repeat ticks; what it sends has ids made of the tick's token, so that every consumer can
tell.

A service uses it so, in each life of its connections:

    follower = Follower("feed", health, stop, writes=False)     # once in a process
    ...
    with connect_postgres(options=follower_store.OPTIONS) as conn, follower.active(conn):
        with connect_rabbitmq() as broker:
            follower.run(conn, Feed(conn, broker), broker.poll)

docs/architecture.md, "Followers".
"""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, Protocol, get_args

import psycopg
import structlog
from prometheus_client import Counter, Gauge

from shared import follower_store as store
from shared import postgres, retry
from shared.errors import Unavailable
from shared.follower_store import NextStep, Position, Reason, Span, Tick
from shared.health import Health

POLL_EVERY_S = 0.25
TICKS_AT_ONCE = 10
"""Due ticks that one which only publishes follows before its position moves, at most."""
STANDBY_EVERY_S = 1.0
PROGRESS_WITHIN_S = 60.0
"""A follower that neither followed a tick nor found none for so long is unhealthy."""
MEASURE_EVERY_S = 1.0
ASK_EVERY_S = 1.0

FOLLOWED = Counter("minutebook_follower_ticks_total", "Due ticks that were followed.")
ANEW = Counter(
    "minutebook_follower_anew_total",
    "Times that a follower gave up its position and went on from the present.",
    ["reason"],
)
LAG_TICKS = Gauge("minutebook_follower_lag_ticks", "Due ticks that are not followed yet.")
LAG_S = Gauge(
    "minutebook_follower_lag_seconds", "Age of the oldest due tick not followed yet; 0 without one."
)
for _reason in get_args(Reason):
    ANEW.labels(_reason)

Turn = Literal["idle", "followed", "anew", "overtaken"]
"""What one look led to. *Overtaken*: somebody else moved the position; nothing of ours was kept."""

log = structlog.get_logger()


class RowsGone(Exception):
    """Raised by `Work.follow` if Postgres no longer has all rows of the tick: it starts anew."""


class Work(Protocol):
    """What one follower does, over the connections of one life. Both may raise `Unavailable`."""

    def follow(self, span: Span) -> None:
        """Do all of one due tick; return once it is written, or confirmed by the broker.

        With `span.more`, which one that writes never sees, the next call may confirm it as well.
        A follower that writes is called in the transaction that moves its position, and neither
        commits nor waits for anybody else there. One that publishes is called outside of any.
        Raises `RowsGone` before it writes or publishes anything.
        """

    def start_anew(self, tick: Tick, reason: Reason) -> None:
        """Go on from `tick`, the newest due one, whatever was followed before; as `follow`."""


class Follower:
    """One in a process: it remembers across connections what it published last."""

    def __init__(
        self, name: str, health: Health, stop: threading.Event, *, writes: bool = False
    ) -> None:
        """`name` is its row in the table, and its part in `health`."""
        self.name = name
        self._health = health
        self._stop = stop
        self._writes = writes
        self._published: Position | None = None
        self._measure_at = 0.0
        self._ask_at = 0.0
        health.expect(name, within_s=PROGRESS_WITHIN_S)
        _lag_unknown()

    @contextlib.contextmanager
    def active(self, conn: psycopg.Connection) -> Iterator[None]:
        """Wait to be the one active follower of this name; what fails inside is its row's `error`.

        Raises `Unavailable`, also if `stop` is set meanwhile.
        """
        told = False
        while not store.try_lock(conn, self.name):
            if not told:
                log.info("follower_stands_by", follower=self.name)
            told = True
            self._health.progress(self.name)
            if self._stop.wait(STANDBY_EVERY_S):
                raise Unavailable("postgres", "stopped while standing by")
        try:
            yield
        except Unavailable as error:
            self._note(conn, error)
            raise

    def run(self, conn: psycopg.Connection, work: Work, pause: Callable[[float], object]) -> None:
        """Follow until `stop` or until a server is lost; `pause(seconds)` waits between two looks.

        `pause` is where a service keeps its connection to RabbitMQ alive, or publishes what it has
        written. Raises `Unavailable` as long as nothing has worked; a loss after that is reported.
        """
        worked = False
        try:
            while not self._stop.is_set():
                turn = self.run_once(conn, work)
                worked = worked or turn != "overtaken"
                pause(0.0 if turn in ("followed", "anew") else POLL_EVERY_S)
        except Unavailable as error:
            if not worked:
                raise
            self._note(conn, error)
            self._health.problem(self.name, str(error))
            retry.report_lost(error)
        finally:
            _lag_unknown()

    def run_once(self, conn: psycopg.Connection, work: Work) -> Turn:
        """Look for the next due tick and follow it, or start anew. Raises `Unavailable`."""
        with postgres.translating():
            ticks_max = 1 if self._writes else TICKS_AT_ONCE
            found = store.next_step(conn, self.name, self._published, ticks_max=ticks_max)
            self._measure(conn, found)
            turn = self._act(conn, work, found)
            if turn == "idle" and found.failed:
                store.forget_error(conn, self.name)
        if turn == "overtaken":
            log.warning("follower_overtaken", follower=self.name)
        self.progress()
        return turn

    def progress(self) -> None:
        """Say that a long tick goes on: called after each part of it, for /healthz."""
        self._health.progress(self.name)

    def keep(self, conn: psycopg.Connection) -> None:
        """Keep the session, and its lock, while the broker takes nothing: called at each wait.

        Postgres ends a session that is idle for long (`follower_store.OPTIONS`), for then its
        follower may be frozen. Raises `Unavailable` if the session is gone all the same.
        """
        if time.monotonic() >= self._ask_at:
            with postgres.translating():
                conn.execute("SELECT")
            self._ask_at = time.monotonic() + ASK_EVERY_S

    def _act(self, conn: psycopg.Connection, work: Work, found: NextStep) -> Turn:
        if not found.spans:
            return self._start_anew(conn, work, found, found.anew) if found.anew else "idle"

        def follow() -> None:
            for span in found.spans:
                work.follow(span)

        try:
            kept = self._done(conn, found, found.spans[-1].tick, follow)
        except RowsGone:
            return self._start_anew(conn, work, found, "rows_gone")
        if not kept:
            return "overtaken"
        FOLLOWED.inc(len(found.spans))
        return "followed"

    def _start_anew(
        self, conn: psycopg.Connection, work: Work, found: NextStep, reason: Reason
    ) -> Turn:
        tick = store.newest(conn)
        if tick is None:
            return "idle"  # nothing was counted yet, or somebody emptied the table
        if not self._done(conn, found, tick, partial(work.start_anew, tick, reason)):
            return "overtaken"
        ANEW.labels(reason).inc()
        log.warning(
            "follower_anew",
            follower=self.name,
            reason=reason,
            epoch=tick.epoch,
            epoch_before=found.position[0] if found.position else None,
        )
        return "anew"

    def _done(
        self, conn: psycopg.Connection, found: NextStep, tick: Tick, work: Callable[[], None]
    ) -> bool:
        """Do what a tick needs and move the position to it; False if somebody else moved it."""
        if not self._writes:
            # From its first message on. But a tick that was lost counts until all is told anew:
            # who failed in the middle of that, and forgot, would never tell it. And one that was
            # published counts while those before it are repeated.
            if found.anew != "published_lost" and tick.epoch >= (self._published or (0, ""))[0]:
                self._published = tick.position
            work()
            moved = store.move(conn, self.name, found.position, tick)
            if moved and found.anew:
                self._published = tick.position
            return moved
        with conn.transaction():  # the move comes first: it locks the row
            if not store.move(conn, self.name, found.position, tick):
                return False
            work()
        return True

    def _measure(self, conn: psycopg.Connection, found: NextStep) -> None:
        if not found.spans and found.anew is None:
            ticks, age_s, self._measure_at = 0, 0.0, 0.0
        elif time.monotonic() < self._measure_at:
            return
        else:
            ticks, age_s = store.lag(conn, self.name)
            self._measure_at = time.monotonic() + MEASURE_EVERY_S
        LAG_TICKS.set(ticks)
        LAG_S.set(age_s)

    def _note(self, conn: psycopg.Connection, error: Unavailable) -> None:
        """Write down why it stands still, where Postgres still takes that."""
        with contextlib.suppress(Unavailable), postgres.translating():
            store.note_error(conn, self.name, str(error))


def _lag_unknown() -> None:
    LAG_TICKS.set(math.nan)
    LAG_S.set(math.nan)
