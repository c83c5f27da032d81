"""Sends until all is confirmed, over one connection after another.

What was on its way when a connection broke is sent again: its `message_id` makes that harmless.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator

from ops.deployment import QueueSettings
from ops.traffic.core import Invalid, delay_s
from shared import retry
from shared.amqp.producer import Fate, Outgoing, producing
from shared.errors import Unavailable

GIVE_UP_AFTER_S = 30.0
FLUSH_S = 1.0
LAST_CONFIRMS_S = 5.0
"""How long confirms are awaited once a person said stop."""
SLEEP_MIN_S = 0.005
INVALID_KEPT_MAX = 1000

OnFate = Callable[[Outgoing, Fate], object]


class Sender:
    """One run: what is to be sent, and what became of it."""

    def __init__(
        self,
        chosen: QueueSettings,
        stop: threading.Event,
        *,
        rate_per_s: float | None = None,
        on_fate: OnFate = lambda _message, _fate: None,
    ) -> None:
        """`on_fate` is called in another thread, once for each message that was decided."""
        self.fates: Counter[str] = Counter()
        self.invalid: list[Invalid] = []
        """The first of those that were not sent; `invalid_lines` counts all."""
        self.invalid_lines = 0
        self.failure: Unavailable | None = None
        """Why it gave up, if it did."""
        self.undecided = 0
        self._chosen = chosen
        self._stop = stop
        self._rate_per_s = rate_per_s
        self._on_fate = on_fate
        self._again: deque[Outgoing] = deque()
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has been at it."""
        return time.monotonic() - self._begun

    @property
    def complete(self) -> bool:
        """Whether everything given was confirmed."""
        lost = self.invalid_lines + self.undecided + self.fates.total() - self.confirmed
        return not (lost or self.failure)

    @property
    def confirmed(self) -> int:
        """How many messages the broker has taken."""
        return self.fates["confirmed"]

    def run(self, source: Iterator[Outgoing | Invalid]) -> None:
        """Send all of `source`, or what came before `stop`; give up when the broker stays away."""
        done = False
        try:
            while not done:
                for attempt in retry.connecting(self._stop, give_up_after_s=GIVE_UP_AFTER_S):
                    with attempt:
                        done = self._live(source)
        except Unavailable as error:
            self.failure = error

    def _live(self, source: Iterator[Outgoing | Invalid]) -> bool:
        with producing(self._chosen, self._chosen.source, self._decided, name="ops") as producer:
            resent, self._again = self._again, deque()
            try:
                for message in self._due(resent, source):
                    self._again.append(message)
                    if not producer.put(message, self._stop):
                        break
                    self._again.pop()
                self._flush(producer.flush)
            except Unavailable as error:
                retry.lost(error)
                self._again = deque([*producer.undecided(), *self._again, *resent])
                self.undecided = len(self._again)
                return self._stop.is_set()
            self.undecided = len(producer.undecided()) + len(resent)
            return True

    def _due(
        self, resent: deque[Outgoing], source: Iterator[Outgoing | Invalid]
    ) -> Iterator[Outgoing]:
        while resent and not self._stop.is_set():
            yield resent.popleft()
        begun, sent = time.monotonic(), 0  # of this life: an outage is not made up for
        while not self._stop.is_set():
            wait_s = delay_s(sent, time.monotonic() - begun, self._rate_per_s)
            if wait_s > SLEEP_MIN_S and self._stop.wait(wait_s):
                return
            message = next(source, None)
            if message is None:
                return
            if isinstance(message, Invalid):
                self.invalid_lines += 1
                if len(self.invalid) < INVALID_KEPT_MAX:
                    self.invalid.append(message)
            else:
                sent += 1
                yield message

    def _flush(self, flush: Callable[[float], bool]) -> None:
        deadline: float | None = None
        while not flush(FLUSH_S):
            if self._stop.is_set():
                deadline = deadline or time.monotonic() + LAST_CONFIRMS_S
                if time.monotonic() > deadline:
                    return

    def _decided(self, message: Outgoing, fate: Fate) -> None:
        self.fates[fate] += 1
        self._on_fate(message, fate)
