"""Sends until all is confirmed, over one connection after another.

What was on its way when a connection broke is sent again: its `message_id` makes that harmless.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator

from ops.deployment import QueueSettings
from ops.sending.producer import Outgoing, producing
from shared import retry
from shared.amqp.confirms import Fate
from shared.errors import Unavailable

GIVE_UP_AFTER_S = 30.0
CONNECTIONS_FRUITLESS_MAX = 5
"""So many connections in a row that broke before anything was decided, and it gives up."""
PAUSE_S = 0.5
FLUSH_S = 1.0
LAST_CONFIRMS_S = 5.0
"""How long confirms are awaited once a person said stop."""
SLEEP_MIN_S = 0.005

OnFate = Callable[[Outgoing, Fate], object]


class Sender:
    """One run: what is to be sent, and what became of it."""

    def __init__(
        self,
        chosen: QueueSettings,
        stop: threading.Event,
        *,
        rate_per_s: float | None = None,
        give_up_after_s: float = GIVE_UP_AFTER_S,
        on_fate: OnFate = lambda _message, _fate: None,
    ) -> None:
        """`on_fate` is called in another thread, once for each message that was decided."""
        self.fates: Counter[str] = Counter()
        self.failure: Unavailable | None = None
        """Why it gave up, if it did."""
        self.undecided: deque[Outgoing] = deque()
        """What was handed to a connection, or taken for it, and neither confirmed nor returned."""
        self._chosen = chosen
        self._stop = stop
        self._rate_per_s = rate_per_s
        self._give_up_after_s = give_up_after_s
        self._on_fate = on_fate
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long the run has taken so far."""
        return time.monotonic() - self._begun

    @property
    def complete(self) -> bool:
        """Whether everything taken was confirmed."""
        return not (self.undecided or self.failure or self.fates.total() - self.confirmed)

    @property
    def confirmed(self) -> int:
        """How many messages the broker has taken."""
        return self.fates["confirmed"]

    def run(self, source: Iterator[Outgoing]) -> None:
        """Send all of `source`, or what came before `stop`; give up when nothing gets through."""
        fruitless, decided = 0, 0
        try:
            while (lost := self._connected(source)) and not self._stop.is_set():
                fruitless = 0 if self.fates.total() > decided else fruitless + 1
                decided = self.fates.total()
                if fruitless == CONNECTIONS_FRUITLESS_MAX:
                    raise lost
                if fruitless:
                    self._stop.wait(PAUSE_S)
        except Unavailable as error:
            self.failure = error

    def _connected(self, source: Iterator[Outgoing]) -> Unavailable | None:
        for attempt in retry.connecting(self._stop, give_up_after_s=self._give_up_after_s):
            with attempt:
                return self._live(source)
        return None

    def _live(self, source: Iterator[Outgoing]) -> Unavailable | None:
        """Send over one connection; return how it was lost, if it was."""
        lost: Unavailable | None = None
        to, header = self._chosen.source, self._chosen.identity_header
        with producing(self._chosen, to, self._decided, name="ops", header=header) as producer:
            resent, self.undecided = self.undecided, deque()
            try:
                for message in self._due(resent, source):
                    self.undecided.append(message)
                    if not producer.put(message, self._stop):
                        break
                    self.undecided.pop()
                self._flush(producer.flush)
            except Unavailable as error:
                retry.report_lost(error)
                lost = error
        # Only now that it is closed: until then confirms may come.
        self.undecided = deque([*producer.undecided(), *self.undecided, *resent])
        return lost

    def _due(self, resent: deque[Outgoing], source: Iterator[Outgoing]) -> Iterator[Outgoing]:
        while resent and not self._stop.is_set():
            yield resent.popleft()
        begun, sent = time.monotonic(), 0  # of this connection: an outage is not made up for
        while not self._stop.is_set():
            wait_s = delay_s(sent, time.monotonic() - begun, self._rate_per_s)
            if wait_s > SLEEP_MIN_S and self._stop.wait(wait_s):
                return
            message = next(source, None)
            if message is None:
                return
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


def delay_s(sent: int, elapsed_s: float, rate_per_s: float | None) -> float:
    """Return how long to wait before the next message so that `rate_per_s` is kept."""
    return 0.0 if rate_per_s is None else max(0.0, sent / rate_per_s - elapsed_s)
