"""Publishing from asyncio: one thread owns the connection, many requests wait for its confirms.

A message is answered for once: confirmed, refused, or not known. Not known is an error to whoever
waits, never a success: by the request's key it can be sent again.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple

import structlog

from services.gateway import metrics
from shared import retry
from shared.amqp.confirms import Failure
from shared.amqp.direct import DirectPublisher, Submission
from shared.errors import Unavailable
from shared.health import Health
from shared.request_message import EXCHANGE

BROKER = "rabbitmq"
"""The part of health that says whether anything can be accepted."""
SILENT_S = 10.0
POLL_S = 0.5
CONFIRM_WITHIN_S = 10.0
"""A request waits so long, and up to `POLL_S` more: below the stop grace period of compose.yaml."""
SILENCES_MAX = 3
"""A connection over which a confirm has not come for so many times as long is given up."""

Answer = Failure | Unavailable | None
Waiting = tuple["asyncio.Future[Answer]", Answer]
Connect = Callable[[], AbstractContextManager[DirectPublisher]]

log = structlog.get_logger()


class Outgoing(NamedTuple):
    """A message to the exchange."""

    routing_key: str
    message_id: str
    body: bytes


class NotTaken(Exception):
    """The broker answered, and no queue took the message."""

    def __init__(self, failure: Failure) -> None:
        """`failure` says why."""
        super().__init__(failure)
        self.failure = failure


class _Life:
    """One connection, and what the event loop has handed over to its thread."""

    def __init__(self, publisher: DirectPublisher) -> None:
        self.publisher = publisher
        self._handed: list[Submission] = []
        self._lock = threading.Lock()
        self._ended = False

    def hand_over(self, messages: Sequence[Submission]) -> None:
        """Have the thread publish them, and wake that if need be. Raises `Unavailable`."""
        with self._lock:
            if self._ended:
                raise Unavailable("rabbitmq", "the connection was lost")
            wakes = not self._handed
            self._handed += messages
        if wakes:
            self.publisher.from_thread(self._publish)

    def end(self) -> None:
        """Take nothing more."""
        with self._lock:
            self._ended = True

    def unsettled(self) -> list[Submission]:
        """Return what has no fate, and leave it: also what was not published at all."""
        return self.publisher.forget() + self._taken()

    def _publish(self) -> None:
        self.publisher.submit(self._taken())

    def _taken(self) -> list[Submission]:
        with self._lock:
            taken, self._handed = self._handed, []
        return taken


class Producer:
    """Publishes for one event loop, over one connection after another."""

    def __init__(
        self,
        connect: Connect,
        health: Health,
        stop: threading.Event,
        within_s: float = CONFIRM_WITHIN_S,
    ) -> None:
        """`connect` opens a connection; `stop` ends the thread once nobody waits any more.

        A message is given up after `within_s` without a confirm. It stays in memory until that
        comes, or the connection ends, so nothing more of its routing key is taken meanwhile.
        """
        self._connect = connect
        self._health = health
        self._stop = stop
        self._within_s = within_s
        self._life: _Life | None = None
        self._blocked: str | None = None
        self._silent: frozenset[str] = frozenset()
        self._silence = f"no confirm in {within_s:g} s"
        self._answered_at = 0.0
        self._settled: list[Waiting] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        health.problem(BROKER, "not connected yet")

    def check(self, routing_keys: Collection[str] = ()) -> None:
        """Raise `Unavailable` while nothing can be published, or nothing under one of the keys."""
        if self._life is None:
            raise Unavailable("rabbitmq", "there is no connection now")
        if self._blocked:
            raise Unavailable("rabbitmq", self._blocked)
        if not self._silent.isdisjoint(routing_keys):
            raise Unavailable("rabbitmq", self._silence)

    async def publish(
        self, messages: Sequence[Outgoing], traceparent: str | None, replying: Mapping[str, str]
    ) -> None:
        """Return once the broker has all safe. Raises `NotTaken`, and `Unavailable`: not known."""
        self.check({one.routing_key for one in messages})
        self._loop = asyncio.get_running_loop()
        now = time.monotonic()
        futures: list[asyncio.Future[Answer]] = [self._loop.create_future() for _ in messages]
        submissions = [
            Submission(*one, traceparent, replying, now, partial(self._note, future))
            for one, future in zip(messages, futures, strict=True)
        ]
        if (life := self._life) is None:
            raise Unavailable("rabbitmq", "the connection was lost")
        life.hand_over(submissions)
        answers = [await one for one in futures]
        metrics.CONFIRM_SECONDS.observe(time.monotonic() - now)
        for answer in answers:
            if isinstance(answer, Unavailable):
                raise answer
            if answer is not None:
                raise NotTaken(answer)

    def live(self) -> None:
        """Publish over one connection until it is lost, or `stop`: the thread's own work."""
        with self._health.reporting(BROKER), self._connect() as publisher:
            publisher.open_exchange(EXCHANGE)
            publisher.when_blocked(self._on_blocked)
            self._blocked, self._silent = None, frozenset()
            self._answered_at = time.monotonic()
            self._life = _Life(publisher)
            # Only now: who sees that all is well may publish at once.
            self._health.expect(BROKER, within_s=SILENT_S)
            self._health.progress(BROKER)
            log.info("gateway_connected", exchange=EXCHANGE)
            try:
                while not self._stop.is_set():
                    publisher.poll(POLL_S, self._answer)
                    silence = self._give_up_late(publisher)
                    if not self._blocked:
                        self._health.report(BROKER, silence)
            except Unavailable as error:
                self._health.problem(BROKER, str(error))
                retry.report_lost(error)
            finally:
                self._end(Unavailable("rabbitmq", "the connection was lost before the confirm"))

    def _end(self, error: Unavailable) -> None:
        life, self._life = self._life, None
        if life is not None:
            life.end()
            self._give_up(life.unsettled(), error)

    def _give_up_late(self, publisher: DirectPublisher) -> str | None:
        """Tell who has waited too long, and return what is wrong if no other got a confirm.

        Raises `Unavailable` once no confirm comes at all.
        """
        now, error = time.monotonic(), Unavailable("rabbitmq", self._silence)
        late = publisher.overdue(now - self._within_s)
        self._silent = frozenset(one.routing_key for one in late)
        self._give_up(late, error)
        silent_s = now - self._answered_at
        longest_s = SILENCES_MAX * self._within_s
        if silent_s > longest_s and publisher.overdue(now - longest_s):
            raise error
        return self._silence if late and silent_s > self._within_s else None

    def _give_up(self, messages: Sequence[Submission], error: Unavailable) -> None:
        for one in messages:
            one.settle(error)
        self._answer()

    def _note(self, future: "asyncio.Future[Answer]", answer: Answer) -> None:
        if not isinstance(answer, Unavailable):
            self._answered_at = time.monotonic()
        self._settled.append((future, answer))

    def _answer(self) -> bool:
        """Tell those who wait, all with one call: each wakes the event loop. The thread goes on."""
        settled, self._settled = self._settled, []
        if settled and self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_resolve, settled)
        return True

    def _on_blocked(self, reason: str | None) -> None:
        self._blocked = reason
        self._health.report(BROKER, reason)
        if reason and self._life:
            self._give_up(self._life.unsettled(), Unavailable("rabbitmq", reason))


def _resolve(settled: list[Waiting]) -> None:
    for future, answer in settled:
        if not future.done():  # who waited may have given up
            future.set_result(answer)
