"""A producer that keeps books: every message it sent, and what the broker said of it.

It publishes at a steady rate on the average: what an outage of the broker held up follows. What
was on its way when a connection broke is published again, except for a tenth that is left at that.
"""

import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from pydantic import Secret

from ops.sending.producer import Outgoing, Producer, producing
from shared.amqp.confirms import Fate
from shared.errors import Unavailable
from shared.settings import RabbitmqSettings
from tests.faults import addresses
from tests.faults.message_mixture import Mixture, Sent
from tests.support.beside import beside
from tests.support.stack import QUEUE, Stack


class Draws(Protocol):
    """What is sent, one after another."""

    def draw(self) -> Sent:
        """Return the next content; one that was drawn before is published again."""


Where = Callable[[], str]
"""Where the broker can be reached just now. Raises `Unavailable`."""
PER_S = 330
PAUSE_S = 0.01
BURST_MAX = 12
"""After an outage it catches up at no more than this in each pause."""
GIVEN_UP = 0.1
LAST_CONFIRMS_S = 20.0


class Load:
    """One run's producer; `sent` is its ledger."""

    def __init__(
        self, where: Where, seed: int, rate: int, queue: str = QUEUE, mixture: Draws | None = None
    ) -> None:
        """Nothing is sent before `run`; `rate` is how many a second."""
        self._rate = rate
        self._where = where
        self._queue = queue
        self._mixture = mixture or Mixture(seed)
        self._random = random.Random(seed)
        self._again: deque[Sent] = deque()
        self._stop = threading.Event()
        self._begun = 0.0
        self.sent: dict[tuple[str, bytes], Sent] = {}
        self.published = 0
        self.confirmed = 0
        self.reconnects = 0
        self.ended_after_s = 0.0
        self.connected_s = 0.0
        """For how long the broker took messages."""

    @property
    def seconds(self) -> float:
        """For how long it has been at it."""
        return time.monotonic() - self._begun

    def run(self) -> None:
        """Publish until told to stop."""
        self._begun = time.monotonic()
        while not self._stop.is_set():
            with contextlib.suppress(Unavailable):
                settings = RabbitmqSettings(rabbitmq_url=Secret(self._where()))
                with producing(settings, self._queue, self._decided, name="load") as producer:
                    self._live(producer)
            self.reconnects += not self._stop.wait(0.2)

    def stop(self) -> None:
        """Let `run` wait for the last confirms and return."""
        self.ended_after_s = self.seconds
        self._stop.set()

    @property
    def per_s(self) -> float:
        """Messages published a second while the broker took any."""
        return self.published / max(self.connected_s, 1.0)

    def _live(self, producer: Producer) -> None:
        begun = time.monotonic()
        try:
            while not self._stop.wait(PAUSE_S):
                for sent in self._due():
                    self._publish(producer, sent)
            producer.flush(LAST_CONFIRMS_S)
        finally:
            self.connected_s += time.monotonic() - begun
            for message in producer.undecided():
                self._undecided(self.sent[message.message_id, message.body])

    def _due(self) -> Iterator[Sent]:
        behind = min(int(self.seconds * self._rate) - self.published, BURST_MAX)
        for _ in range(behind):
            if self._again:
                yield self._again.popleft()
            else:
                drawn = self._mixture.draw()
                yield self.sent.setdefault((drawn.identity, drawn.body), drawn)

    def _publish(self, producer: Producer, sent: Sent) -> None:
        sent.at_s = sent.at_s or time.monotonic()
        try:
            producer.put(Outgoing(sent.body, sent.identity, sent.key), self._stop)
        except Unavailable:
            self._again.append(sent)
            raise
        sent.published += 1
        self.published += 1

    def _decided(self, message: Outgoing, fate: Fate) -> None:
        sent = self.sent[message.message_id, message.body]
        if fate == "confirmed":
            sent.confirmed += 1
            self.confirmed += 1
        else:
            self._again.append(sent)

    def _undecided(self, sent: Sent) -> None:
        sent.given_up = self._random.random() < GIVEN_UP
        if not sent.given_up:
            self._again.append(sent)


@contextlib.contextmanager
def producing_load(
    stack: Stack, seed: int, rate: int = PER_S, queue: str = QUEUE, mixture: Draws | None = None
) -> Iterator[Load]:
    """Publish to a stack while inside; at the end all confirms are in that will come."""
    with publishing(Load(partial(addresses.amqp_url, stack), seed, rate, queue, mixture)) as load:
        yield load


@contextlib.contextmanager
def publishing(load: Load) -> Iterator[Load]:
    """Have it publish while inside; at the end all confirms are in that will come."""
    with beside(load.run, load.stop):
        yield load
