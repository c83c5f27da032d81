"""Ticks as they are shown, to whoever listens: one reader of Postgres, any number of streams.

The same reader learns which values fit into the columns: accepting does without until it knows.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import LiteralString, NamedTuple

import msgspec
import psycopg

from shared import column_limits, postgres, retry
from shared.errors import Refusal, Unavailable
from shared.transaction_body import Limits

RECENT_MAX = 1000
"""Ticks that a stream can go on from, after a pause."""
POLL_EVERY_S, LIMITS_EVERY_S = 0.5, 30.0
SILENT_S = 15.0
"""A stream says something so often, so that whoever is between knows that it lives."""

SELECT_SHOWN: LiteralString = """
SELECT epoch, boundary, published_at
  FROM (SELECT epoch, boundary, published_at
          FROM tick
         WHERE epoch > %(after)s
           AND NOT interim
           AND published_at IS NOT NULL
         ORDER BY epoch DESC
         LIMIT %(most)s) AS newest
 ORDER BY epoch
"""


class ShownTick(msgspec.Struct, frozen=True):
    """A due tick, and when KeyDB showed it."""

    tick: datetime
    epoch: int
    shown_at: datetime

    def event(self) -> bytes:
        """Return it as a server-sent event; its id is what a client goes on from."""
        data = msgspec.json.encode(self)
        return b"event: tick\nid: %d\ndata: %b\n\n" % (self.epoch, data)


class _Known(NamedTuple):
    """A tick, and when Postgres was asked for it."""

    tick: ShownTick
    asked_at: float


class Ticks:
    """What was shown lately, for streams of one event loop."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._recent: deque[_Known] = deque(maxlen=RECENT_MAX)
        self._forgets = False
        self._more = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    def add(self, found: Sequence[ShownTick], asked_at: float | None = None) -> None:
        """Tell all streams; called by the thread that reads.

        `asked_at`: when Postgres was asked, by the monotonic clock; now without one.
        """
        at = time.monotonic() if asked_at is None else asked_at
        if self._forgets:
            self._recent.clear()
            self._forgets = False
        self._recent.extend(_Known(one, at) for one in found)
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell)

    def forget(self) -> None:
        """Have the next ticks replace all before: Postgres may have been restored to older epochs.

        Until they are known, a new stream begins at the newest one before.
        """
        self._forgets = True

    def close(self) -> None:
        """End all streams."""
        self.closed = True
        self._tell()

    async def after(self, epoch: int | None) -> AsyncIterator[bytes]:
        """Yield the events after a tick; those from now on without one."""
        self._loop = asyncio.get_running_loop()
        began, seen = time.monotonic(), self._newest()
        at = epoch if epoch is not None else seen
        yield b": ticks as they are shown\n\n"
        while not self.closed:
            more, recent = self._more, list(self._recent)  # in this order: else one is missed
            if recent:
                newest = recent[-1].tick.epoch
                if at is None:  # what is old when it is known is not told
                    at = newest
                elif newest < at and recent[-1].asked_at >= began:
                    # Postgres had the client's tick before the stream began: it was restored since.
                    at = seen if seen is not None and seen < newest else newest
                seen = newest
            for one, _ in recent:
                if at is not None and one.epoch > at:
                    at = one.epoch
                    yield one.event()
            try:
                async with asyncio.timeout(SILENT_S):
                    await more.wait()
            except TimeoutError:
                yield b": still here\n\n"

    def _newest(self) -> int | None:
        return self._recent[-1].tick.epoch if self._recent else None

    def _tell(self) -> None:
        told, self._more = self._more, asyncio.Event()
        told.set()


class Reader:
    """Looks for ticks and limits; a thread's work, one connection after another."""

    def __init__(
        self,
        connect: Callable[[], AbstractContextManager[psycopg.Connection]],
        ticks: Ticks,
        on_limits: Callable[[Limits], None],
        stop: threading.Event,
    ) -> None:
        """`on_limits` is told which values fit, each time that they are read."""
        self._connect = connect
        self._ticks = ticks
        self._on_limits = on_limits
        self._stop = stop
        self._epoch = -1

    def live(self, limits: Limits) -> None:
        """Read until `stop`, or until Postgres is lost."""
        with self._connect() as conn:
            _check(conn)
            self._ticks.forget()
            self._epoch, look_at = -1, 0.0
            try:
                while not self._stop.wait(POLL_EVERY_S):
                    with postgres.translating():
                        if time.monotonic() >= look_at:
                            self._on_limits(column_limits.read(conn, limits))
                            look_at = time.monotonic() + LIMITS_EVERY_S
                        self._look(conn)
            except Unavailable as error:
                retry.report_lost(error)

    def _look(self, conn: psycopg.Connection) -> None:
        asked, asked_at = {"after": self._epoch, "most": RECENT_MAX}, time.monotonic()
        rows = conn.execute(SELECT_SHOWN, asked).fetchall()
        if rows:
            self._epoch = rows[-1][0]
            found = [ShownTick(boundary, epoch, at) for epoch, boundary, at in rows]
            self._ticks.add(found, asked_at)


def _check(conn: psycopg.Connection) -> None:
    """Raise `Unavailable` for a schema that is not ours: what is accepted does not need it."""
    try:
        postgres.check_schema(conn)
    except Refusal as refusal:
        raise Unavailable("postgres", str(refusal)) from refusal
