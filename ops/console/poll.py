"""One poll of everything, for all viewers together: every two seconds at most, on demand.

While nobody watches there is no poll. A poll has parts, asked beside one another, each in a thread.
A part that fails, or has no answer by its deadline, says why in its place; the others go on. It is
not asked again before it has come back, so that a server that hangs costs one thread.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from shared.errors import Refusal, Unavailable

EVERY_S = 2.0
DEADLINE_S = 2.5
"""For a part; the page as a whole must be there in three seconds, whatever hangs."""
STALE_AFTER_S = 10.0
"""A page that is older says so."""
SELDOM_S = 60.0
"""What costs a server something is asked once in this time."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Part:
    """One question; `ask` runs in a thread and raises `Unavailable` or `Refusal`.

    What is asked `seldom` has no deadline, and is begun once the others have come: until its own
    answer comes, the one before is shown.
    """

    ask: Callable[[], Any]
    seldom: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What a part said, or the `error` in its place; `at` is when, by the monotonic clock."""

    value: Any = None
    error: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Poll:
    """What all parts said; `number` counts polls, 0 is that before the first."""

    number: int = 0
    taken_at: datetime | None = None
    began: float = float("-inf")
    parts: Mapping[str, Found] = field(default_factory=dict)

    def __getitem__(self, part: str) -> Found:
        """Return what a part said."""
        return self.parts.get(part) or Found(error="not asked yet")

    @property
    def age_s(self) -> float:
        """Seconds since it was taken."""
        return time.monotonic() - self.began


class Poller:
    """Takes polls; used from one event loop."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        """Each part has a thread of its own."""
        self._parts = dict(parts)
        self._threads = ThreadPoolExecutor(len(parts), thread_name_prefix="poll")
        self._running: dict[str, Future[Found]] = {}
        self._taking: asyncio.Task[None] | None = None
        self.newest = Poll()

    @property
    def coming(self) -> int:
        """The number of the poll that `recent` returns now."""
        return self.newest.number + (self.newest.age_s > 2 * EVERY_S)

    async def recent(self) -> Poll:
        """Return the newest poll if it is fresh enough for a page, else a new one."""
        return await self.after(self.coming - 1)

    async def after(self, number: int) -> Poll:
        """Return a poll newer than that of `number`, shared by all who wait for one."""
        while self.newest.number <= number:
            if self._taking is None or self._taking.done():
                self._taking = asyncio.create_task(self._take())
            await asyncio.shield(self._taking)  # one viewer who leaves does not end it for others
        return self.newest

    def close(self) -> None:
        """Ask nothing any more; what hangs is left to its own time-out."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _take(self) -> None:
        await asyncio.sleep(max(0.0, EVERY_S - self.newest.age_s))
        began, taken_at = time.monotonic(), datetime.now(UTC)
        parts: dict[str, Found] = {}
        for seldom in (False, True):
            names = [name for name, part in self._parts.items() if part.seldom is seldom]
            found = await asyncio.gather(*(self._ask(name) for name in names))
            parts.update(zip(names, found, strict=True))
        self.newest = Poll(self.newest.number + 1, taken_at, began, parts)

    async def _ask(self, name: str) -> Found:
        part, before = self._parts[name], self.newest[name]
        running = self._running.get(name)
        if part.seldom and before.at and time.monotonic() - before.at < SELDOM_S:
            return before
        if running is None:
            running = self._running[name] = self._threads.submit(answer, part)
        if not (running.done() or part.seldom):
            await asyncio.wait({asyncio.wrap_future(running)}, timeout=DEADLINE_S)
        if not running.done():
            return before if part.seldom else Found(error=f"no answer within {DEADLINE_S:g} s")
        del self._running[name]
        return running.result()


def answer(part: Part) -> Found:
    """Ask; whatever happens is said in the answer's place."""
    try:
        return Found(part.ask(), at=time.monotonic())
    except (Unavailable, Refusal) as error:
        return Found(error=str(error), at=time.monotonic())
    except Exception as error:  # a bug in one part must not take the others off the page
        log.exception("bug")
        return Found(error=f"bug: {type(error).__name__}, see the log", at=time.monotonic())
