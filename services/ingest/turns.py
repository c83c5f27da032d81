"""Batches of one channel in hand of two writers: they are committed in the order of their taking.

One acknowledgement speaks for all messages up to a tag, and what is committed must not wait for its
acknowledgement: messages without an identity would be stored again if ingest died meanwhile. So a
younger batch may be stored beside an older one, but its COMMIT waits for its turn. A batch that
cannot be committed is given back, and taken again with what is behind it.
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from services.ingest.core import Validated

Fresh = Callable[[int], tuple[list[Validated], float]]
"""Hands out up to so many messages, and says when the oldest of them came (monotonic seconds)."""


class NotYet(Exception):
    """It is not the turn of a batch: an older one is `late`, or was given back."""

    def __init__(self, *, late: bool) -> None:
        """Say which."""
        super().__init__("late" if late else "given back")
        self.late = late


@dataclass(slots=True, eq=False)
class Batch:
    """Messages in hand of one writer.

    `oldest_at` is when the first of them came (monotonic seconds). `shares` says that another
    batch in hand has one of its identities: their rows would wait for each other.
    """

    messages: list[Validated] = field(default_factory=list)
    oldest_at: float = math.inf
    shares: bool = False

    def add(self, messages: list[Validated], oldest_at: float) -> None:
        """Add messages that came later."""
        if messages:
            self.messages += messages
            self.oldest_at = min(self.oldest_at, oldest_at)


class Turns:
    """The batches in hand, and what was given back. Safe to use from several threads."""

    def __init__(self) -> None:
        """Begin with none."""
        self._changed = threading.Condition()
        self._in_hand: list[Batch] = []
        self._given_back: list[Batch] = []
        self.in_trouble = False
        """Whether nothing was stored since a batch was given back."""

    def begin(self, most: int, fresh: Fresh) -> Batch | None:
        """Take a batch of up to `most` messages in hand; none if there is nothing.

        What was given back comes first, and with it what is `fresh`: beside others that go through,
        a message that Postgres will never take can be told from a Postgres that takes nothing.
        """
        batch = Batch()
        with self._changed:  # to the end: what is taken must never be in nobody's hand
            limit = self._limit()
            while self._given_back and _first_tag(self._given_back[0]) < limit:
                oldest, room = self._given_back[0], most - len(batch.messages)
                if not room:
                    break
                batch.add(oldest.messages[:room], oldest.oldest_at)
                del oldest.messages[:room]
                if not oldest.messages:
                    del self._given_back[0]
            if limit == math.inf:
                batch.add(*fresh(most - len(batch.messages)))
            if not batch.messages:
                return None
            identities = [one.identity for one in batch.messages]
            batch.shares = any(
                not {one.identity for one in other.messages}.isdisjoint(identities)
                for other in self._in_hand
            )
            self._in_hand.append(batch)
            return batch

    def wait(self, batch: Batch, wait_s: float) -> None:
        """Wait for the turn of `batch`: nothing older is left. Raises `NotYet`."""

        def is_behind(others: list[Batch]) -> bool:
            return any(_first_tag(one) < _first_tag(batch) for one in others)

        with self._changed:
            late = not self._changed.wait_for(lambda: not is_behind(self._in_hand), wait_s)
            if late or is_behind(self._given_back):
                raise NotYet(late=late)

    def wait_for_none(self, wait_s: float) -> bool:
        """Wait until nothing is in hand; false if that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._in_hand, wait_s)

    def stored(self, batch: Batch, count: int, acknowledge: Callable[[int], None]) -> None:
        """Say that the first `count` messages of `batch`, whose turn it is, are committed.

        `acknowledge` is called with the last one's tag before anybody else has a turn; it must not
        raise.
        """
        with self._changed:
            self.in_trouble = False
            acknowledge(batch.messages[count - 1].delivery.tag)
            self._end(batch, count)

    def let_go(self, batch: Batch, count: int) -> None:
        """Leave the first `count` messages of `batch` to the broker, which delivers them again."""
        with self._changed:
            self._end(batch, count)

    def give_back(self, batch: Batch) -> None:
        """Give back what is left of a batch, to be taken again before anything that came later."""
        with self._changed:
            self.in_trouble = True
            self._in_hand.remove(batch)
            self._given_back.append(batch)
            self._given_back.sort(key=_first_tag)
            self._changed.notify_all()

    def returned(self) -> int:
        """Return how many messages were given back and not taken again."""
        with self._changed:
            return sum(len(batch.messages) for batch in self._given_back)

    def _limit(self) -> float:
        """Return the first tag in hand behind what was given back: a batch has no gaps."""
        start = _first_tag(self._given_back[0]) if self._given_back else math.inf
        return min((tag for tag in map(_first_tag, self._in_hand) if tag > start), default=math.inf)

    def _end(self, batch: Batch, count: int) -> None:
        del batch.messages[:count]
        if not batch.messages:
            self._in_hand.remove(batch)
        self._changed.notify_all()


def _first_tag(batch: Batch) -> int:
    return batch.messages[0].delivery.tag
