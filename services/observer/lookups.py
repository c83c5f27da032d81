"""The lookups of one process: an event loop in a thread of its own, asked by the main thread.

Sightings are handed over and results taken back; only this file is at home in both threads.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from services.observer import metrics
from services.observer.api import Api
from services.observer.core import Flow, Outcome, Sighting
from shared.health import Turn

NAME = "lookups"
"""What liveness calls the thread."""
TURN_S = 1.0
GATHER_S = 0.01
"""Results that come so soon after each other are written together."""

T = TypeVar("T")


class Result(NamedTuple):
    """What a lookup led to, and when, by the monotonic clock; `error` says why it was no use."""

    sighting: Sighting
    outcome: Outcome
    error: str
    at: float


class Lookups:
    """As many at a time as `Flow` permits."""

    def __init__(self, api: Api, concurrency: int, turn: Turn) -> None:
        """`turn` is told that the loop turns."""
        self._api = api
        self._flow = Flow(concurrency)
        self._turn = turn
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps no hold of them
        self._results: deque[Result] = deque()
        self._failure: BaseException | None = None
        self._wake: Callable[[], object] = lambda: None
        self._waking = False

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the loop in a thread while inside."""
        thread = threading.Thread(target=self._run, name=NAME)
        thread.start()
        try:
            yield
        finally:
            self._ask(self._end()).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    def start(self, wake: Callable[[], object]) -> None:
        """Forget all sightings, for a new connection; call `wake` whenever there are results."""
        self._ask(self._start(wake)).result()

    def submit(self, one: Sighting) -> None:
        """Have one looked up."""
        self._loop.call_soon_threadsafe(self._add, one)

    def results(self) -> list[Result]:
        """Return those there are. Raises what went wrong in the thread: a bug of ours."""
        if self._failure:
            raise self._failure
        found: list[Result] = []
        while self._results:
            found.append(self._results.popleft())
        return found

    @property
    def down(self) -> int | None:
        """The object by which to ask again while the API answers nobody; None while it does."""
        return self._flow.down

    def probe(self, object_id: int) -> Future[bool]:
        """Ask again about one object: whether the API answers. If so, lookups begin again."""
        return self._ask(self._probe(object_id))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._keep_turning()
        self._loop.run_forever()

    def _keep_turning(self) -> None:
        self._turn(TURN_S)
        self._loop.call_later(TURN_S, self._keep_turning)

    def _ask(self, question: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(question, self._loop)

    async def _start(self, wake: Callable[[], object]) -> None:
        await self._cancel()
        self._wake, self._waking = wake, False

    async def _end(self) -> None:
        await self._cancel()
        await self._api.close()

    async def _cancel(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._flow.forget()
        self._results.clear()
        metrics.IN_FLIGHT.set(0)

    def _add(self, one: Sighting) -> None:
        self._flow.add(one)
        self._begin()

    def _begin(self) -> None:
        for one in self._flow.begin():
            task = self._loop.create_task(self._look_up(one))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        metrics.IN_FLIGHT.set(self._flow.in_flight)

    async def _look_up(self, one: Sighting) -> None:
        began = time.monotonic()
        answer = await self._api.look_up(one.object_id)
        metrics.SECONDS.observe(time.monotonic() - began)
        metrics.LOOKUPS.labels(answer.outcome).inc()
        if answer.outcome == "silence":
            self._flow.unanswered(one, answer.error)
        else:
            self._settle(one, answer.outcome, answer.error)
            self._settle_silent(self._flow.answered())
        if self._flow.in_doubt:
            front_answers = await self._api.front_answers()
            self._settle_silent(self._flow.decide(front_answers=front_answers))
            self._wake_soon()  # if only to look whether the API is down
        self._begin()

    async def _probe(self, object_id: int) -> bool:
        answer = await self._api.look_up(object_id)
        metrics.LOOKUPS.labels(answer.outcome).inc()
        answers = answer.outcome != "silence"
        if answers:
            self._flow.resume()
        return answers

    def _settle_silent(self, held: list[tuple[Sighting, str]]) -> None:
        for one, error in held:
            self._settle(one, "silence", error)

    def _settle(self, one: Sighting, outcome: Outcome, error: str) -> None:
        self._results.append(Result(one, outcome, error, time.monotonic()))
        self._wake_soon()

    def _wake_soon(self) -> None:
        if not self._waking:
            self._waking = True
            self._loop.call_later(GATHER_S, self._wake_now)

    def _wake_now(self) -> None:
        self._waking = False
        self._wake()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()):
            self._failure = failure
            self._wake()
