"""Messages of one channel between the receiving and the writing thread, in order of arrival."""

import threading
import time
from collections import deque

from services.ingest.core import Judged

BYTES_MAX = 16 * 2**20
"""Above this the receiver stops reading: the broker's TCP window fills instead of our memory."""


class Pending:
    """A queue with one producer and one consumer that is bounded in bytes.

    A deque's own operations are atomic, so a message costs no lock; only waiting takes one.
    """

    def __init__(self) -> None:
        """Begin empty and open."""
        self._messages: deque[Judged] = deque()
        self._changed = threading.Condition()
        self._arrivals: deque[tuple[int, float]] = deque()
        self._messages_in = 0
        self._messages_announced = 0
        self._messages_taken = 0
        self._messages_out = 0
        self._bytes_in = 0
        self._bytes_out = 0
        self.open = True
        """Whether what was delivered can still be acknowledged."""

    def add(self, message: Judged) -> None:
        """Add one; `announce` follows once all that came together is added."""
        self._messages_in += 1
        self._bytes_in += len(message.message.body)
        self._messages.append(message)

    def settled(self) -> bool:
        """Say whether all that was added is out of hand again."""
        return self._messages_in == self._messages_out

    def in_hand(self) -> int:
        """Return how many messages are still to be settled; none once that is impossible."""
        return self._messages_in - self._messages_out if self.open else 0

    def waiting(self) -> int:
        """Return how many messages could be taken."""
        return len(self._messages)

    def announce(self) -> None:
        """Note when what was added came, and wake the writer if there is anything for it."""
        if self._messages_in > self._messages_announced:
            self._messages_announced = self._messages_in
            self._arrivals.append((self._messages_in, time.monotonic()))
        if self._messages:
            with self._changed:
                self._changed.notify_all()

    def wait_for_any(self, wait_s: float) -> bool:
        """Wait until there is a message to take; false if none came in time."""
        if not self._messages:
            with self._changed:
                if not self._messages:
                    self._changed.wait(wait_s)
        return bool(self._messages)

    def take(self, most: int) -> tuple[list[Judged], float]:
        """Return up to `most` messages, and when the oldest came (monotonic seconds)."""
        batch = [self._messages.popleft() for _ in range(min(most, len(self._messages)))]
        return batch, self._oldest_at(len(batch))

    def _oldest_at(self, taken: int) -> float:
        """Return when the oldest of the next `taken` messages came; what is not announced, now."""
        while self._arrivals and self._arrivals[0][0] <= self._messages_taken:
            self._arrivals.popleft()
        self._messages_taken += taken
        return self._arrivals[0][1] if self._arrivals else time.monotonic()

    def finished(self, batch: list[Judged]) -> None:
        """Say that a batch is out of hand, and let the receiver go on."""
        self._messages_out += len(batch)
        self._bytes_out += sum(len(message.message.body) for message in batch)
        with self._changed:
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
