"""Messages of one channel between the receiving and the writing threads, in order of arrival."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from services.ingest.core import Validated
from services.ingest.deferred import Deferred
from services.ingest.turns import Batch, Turns

BYTES_MAX = 16 * 2**20
"""Above this the receiver stops reading: the broker's TCP window fills instead of our memory."""


class Pending:
    """A queue with one producer and a few consumers that is bounded in bytes.

    A deque's own operations are atomic, so a message costs no lock; only waiting takes one, and a
    batch.
    """

    def __init__(self) -> None:
        """Begin empty and open."""
        self.turns = Turns()
        self.deferred = Deferred()
        self._messages: deque[Validated] = deque()
        self._changed = threading.Condition()
        self._many = sys.maxsize
        self._are_many = threading.Event()
        self._arrivals: deque[tuple[int, float]] = deque()
        self._messages_in = 0
        self._messages_announced = 0
        self._messages_taken = 0
        self._messages_out = 0
        self._bytes_in = 0
        self._bytes_out = 0
        self.open = True
        """Whether what was delivered can still be acknowledged."""

    def add(self, message: Validated) -> None:
        """Add one; `announce` follows once all that came together is added."""
        self._messages_in += 1
        self._bytes_in += len(message.delivery.body)
        self._messages.append(message)

    def settled(self) -> bool:
        """Say whether all that was added is out of hand again."""
        return self._messages_in == self._messages_out

    def in_hand(self) -> int:
        """Return how many messages are still to be settled; none once that is impossible."""
        return self._messages_in - self._messages_out if self.open else 0

    def waiting(self) -> int:
        """Return how many messages could be taken."""
        return len(self._messages) + self.turns.returned()

    def announce(self) -> None:
        """Note when what was added came, and wake a writer if there is anything for it."""
        if self._messages_in > self._messages_announced:
            self._messages_announced = self._messages_in
            self._arrivals.append((self._messages_in, time.monotonic()))
        if self._messages:
            with self._changed:
                self._changed.notify_all()
        if len(self._messages) >= self._many:
            self._are_many.set()

    def wait_for_any(self, wait_s: float) -> bool:
        """Wait until there is a message to take; false if none came in time."""
        if not self.waiting():
            with self._changed:
                if not self.waiting():
                    self._changed.wait(wait_s)
        return self.waiting() > 0

    def wait_for_many(self, many: int, wait_s: float) -> bool:
        """Wait until `many` wait that were never taken; false if they are fewer. For one thread.

        Unlike `wait_for_any` it is not woken by each message.
        """
        self._many = many
        self._are_many.clear()
        if len(self._messages) < many:
            self._are_many.wait(wait_s)
        return len(self._messages) >= many

    def take(self, most: int) -> Batch | None:
        """Take up to `most` messages in hand, none if there are none (`Turns.begin`)."""
        return self.turns.begin(most, self._pop)

    def _pop(self, most: int) -> tuple[list[Validated], float]:
        messages = [self._messages.popleft() for _ in range(min(most, len(self._messages)))]
        return messages, self._oldest_at(len(messages))

    def _oldest_at(self, taken: int) -> float:
        """Return when the oldest of the next `taken` messages came; what is not announced, now."""
        while self._arrivals and self._arrivals[0][0] <= self._messages_taken:
            self._arrivals.popleft()
        self._messages_taken += taken
        return self._arrivals[0][1] if self._arrivals else time.monotonic()

    def stored(
        self,
        batch: Batch,
        count: int,
        acknowledge: Callable[[int], None],
        kept: Sequence[Validated] = (),
    ) -> None:
        """Say that the first `count` messages of a batch are committed (`Turns.stored`).

        But for those of them that are `kept` to be tried again (`deferred.py`).
        """
        size = _bytes(batch.messages[:count]) - _bytes(kept)
        self.turns.stored(batch, count, acknowledge)
        self._out(count - len(kept), size)

    def kept_no_longer(self, messages: Sequence[Validated]) -> None:
        """Say that messages which were kept are committed."""
        self._out(len(messages), _bytes(messages))

    def let_go(self, batch: Batch, count: int) -> None:
        """Say that the first `count` messages of a batch are the broker's (`Turns.let_go`)."""
        size = _bytes(batch.messages[:count])
        self.turns.let_go(batch, count)
        self._out(count, size)

    def give_back(self, batch: Batch) -> None:
        """Have what is left of a batch taken again before all that waits (`Turns.give_back`)."""
        self.turns.give_back(batch)
        with self._changed:
            self._changed.notify_all()

    def _out(self, count: int, size: int) -> None:
        with self._changed:
            self._messages_out += count
            self._bytes_out += size
            self._changed.notify_all()

    def wait_for_room(self, wait_s: float) -> bool:
        """Wait until the bodies in hand are below the limit; false if that took too long."""
        if self.has_room():
            return True
        with self._changed:
            return self._changed.wait_for(self.has_room, wait_s)

    def has_room(self) -> bool:
        """Say whether the bodies in hand are below the limit."""
        return self._bytes_in - self._bytes_out <= BYTES_MAX


def _bytes(messages: Sequence[Validated]) -> int:
    return sum(len(one.delivery.body) for one in messages)
