"""The messages of one channel between the two threads, in the order in which they came.

The receiving thread adds messages. The writing thread looks at the oldest ones, and acknowledges
them once they are committed. Until then they stay at the front: a batch that Postgres did not take
is tried again, in a larger batch with what came behind it (or, if it was too much, a smaller one).
If Postgres takes some of them, those that it refuses are at fault, and not Postgres itself.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from services.ingest.core import Validated, tried
from services.ingest.deferred import Deferred

BYTES_MAX = 16 * 2**20
"""Above this the receiver stops reading: the broker's TCP window fills instead of our memory."""
STILL_MAX_S = 10.0
"""The broker waits so long for a sign of life. If the receiving thread stood still for longer, as
in a frozen process, another replica may have all that was delivered."""


class ChannelGone(Exception):
    """The broker will deliver the messages again, so they must not be committed now."""


class Acknowledge(Protocol):
    """Does not wait and does not raise."""

    def __call__(self, tags: Sequence[int], *, multiple: bool) -> None:
        """Acknowledge these deliveries, or with `multiple` all up to each of them."""


class Backlog:
    """Messages received and not acknowledged; the receiving thread reads on while there is room."""

    def __init__(self, acknowledge: Acknowledge) -> None:
        """Begin empty and open."""
        self.deferred = Deferred()
        self.open = True
        """Whether what was delivered can still be acknowledged."""
        self._acknowledge = acknowledge
        self._added: list[Validated] = []  # the receiving thread's own: a message costs no lock
        self._changed = threading.Condition()
        self._messages: list[Validated] = []
        self._removed = 0  # messages that were in the list before
        self._arrivals: deque[tuple[int, float]] = deque()  # per `announce`: (came so far, time)
        self._bytes = 0
        self._turned_at = math.inf

    def add(self, message: Validated) -> None:
        """Add one; `announce` follows once all that came together is added."""
        self._added.append(message)

    def announce(self) -> None:
        """Show the writer what was added."""
        if not self._added:
            return
        with self._changed:
            if self.open:
                self._messages += self._added
                self._bytes += _bytes(self._added)
                self._arrivals.append((self._removed + len(self._messages), time.monotonic()))
            self._added.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """Leave everything to the broker: nothing can be acknowledged any more."""
        with self._changed:
            self.open = False
            self._messages.clear()
            self._bytes = 0
            self._changed.notify_all()

    def turn(self) -> None:
        """Say that the receiving thread turns; close if it has stood still for too long."""
        if self._stood_still():
            self.close()
        self._turned_at = time.monotonic()

    def check_open(self) -> None:
        """Raise `ChannelGone` when what was delivered can no longer be acknowledged."""
        if not self.open or self._stood_still():
            raise ChannelGone

    def _stood_still(self) -> bool:
        return time.monotonic() - self._turned_at > STILL_MAX_S

    def unacknowledged(self) -> int:
        """Return how many messages are not acknowledged yet; 0 once none can be."""
        if not self.open:
            return 0
        return len(self._added) + len(self._messages) + len(self.deferred.by_tag)

    def wait_for_any(self, wait_s: float) -> int:
        """Wait until there is a message to store; returns how many there are, 0 after the time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._messages), wait_s)

    def oldest(self, most: int) -> tuple[Sequence[Validated], float]:
        """Return up to `most` messages, oldest first, and when that came (monotonic seconds)."""
        with self._changed:
            while self._arrivals and self._arrivals[0][0] <= self._removed:
                self._arrivals.popleft()
            oldest_at = self._arrivals[0][1] if self._arrivals else time.monotonic()
            return self._messages[:most], oldest_at

    def note_tried(self, oldest: Sequence[Validated]) -> Sequence[Validated]:
        """Have the oldest messages stored as those that may have been before; return them."""
        messages = [tried(one) for one in oldest]
        with self._changed:
            if self.open:
                self._messages[: len(messages)] = messages
        return messages

    def acknowledge(
        self, oldest: Sequence[Validated], kept: Sequence[Validated] = (), reason: str = ""
    ) -> None:
        """Acknowledge the oldest messages, which are committed, but for those to be `kept`.

        Those are deferred, for this `reason`.
        """
        if kept:
            self.deferred.add(kept, reason)
        last, deferred = oldest[-1].delivery.tag, self.deferred.by_tag
        if any(tag <= last for tag in deferred):  # which `multiple` would acknowledge, too
            tags = [one.delivery.tag for one in oldest if one.delivery.tag not in deferred]
            self._acknowledge(tags, multiple=False)
        else:
            self._acknowledge([last], multiple=True)
        with self._changed:
            del self._messages[: len(oldest)]
            self._removed += len(oldest)
            self._bytes -= _bytes(oldest) - _bytes(kept)
            self._changed.notify_all()

    def acknowledge_deferred(self, deferred: Sequence[Validated]) -> None:
        """Acknowledge messages that were deferred and are committed."""
        self._acknowledge([one.delivery.tag for one in deferred], multiple=False)
        with self._changed:
            self._bytes -= _bytes(deferred)
            self._changed.notify_all()

    def wait_for_room(self, wait_s: float) -> bool:
        """Wait until `has_room`; false if that took too long."""
        with self._changed:
            return self._changed.wait_for(self.has_room, wait_s)

    def has_room(self) -> bool:
        """Say whether the bodies of unacknowledged messages are below the limit."""
        return self._bytes <= BYTES_MAX


def _bytes(messages: Sequence[Validated]) -> int:
    return sum(len(one.delivery.body) for one in messages)
