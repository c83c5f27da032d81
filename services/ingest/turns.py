"""Batches of one channel in hand of several writers: each ends in its turn.

One acknowledgement speaks for all messages up to a tag, so it is given only once everything below
is settled, whoever was first to commit. What must keep its order beyond that waits for its turn:
messages of an identity that an older batch has, too (the first that came is the transaction, and
two commits never wait for each other's rows), and dead letters (those that wait for a provider
become rows in the order of their letters).
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

from services.ingest.core import Judged


@dataclass(slots=True, eq=False)
class Batch:
    """Messages from their taking to their end, kept over lost connections to Postgres.

    `oldest_at` is when the first of them came (monotonic seconds). `shares` says that an older
    batch in hand has one of its identities.
    """

    messages: list[Judged]
    oldest_at: float
    shares: bool = False

    def first_tag(self) -> int:
        """Return the tag below which nothing of this batch is left."""
        return self.messages[0].message.tag


class Turns:
    """The batches in hand, oldest first. Safe to use from several threads."""

    def __init__(self) -> None:
        """Begin with none."""
        self._changed = threading.Condition()
        self._batches: list[Batch] = []
        self._stored: list[int] = []
        self._let_go = False

    def begin(self, batch: Batch) -> None:
        """Put `batch` behind all that are in hand; its messages came later than theirs."""
        with self._changed:
            identities = [one.identity for one in batch.messages]
            batch.shares = any(
                not {one.identity for one in older.messages}.isdisjoint(identities)
                for older in self._batches
            )
            self._batches.append(batch)

    def alone(self, batch: Batch) -> bool:
        """Say whether `batch` is the only one in hand."""
        return self._batches == [batch]

    def wait(self, batch: Batch, wait_s: float) -> bool:
        """Wait until `batch` is the oldest in hand; false if that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: self._batches[0] is batch, wait_s)

    def stored(self, batch: Batch, count: int, acknowledge: Callable[[int], None]) -> None:
        """Say that the first `count` messages of `batch` are committed.

        `acknowledge` is called with the tag up to which all is committed now, if it is a new one:
        one call at a time, and its tags only grow.
        """
        with self._changed:
            self._stored.append(batch.messages[count - 1].message.tag)
            self._end(batch, count)
            left = self._batches[0].first_tag() if self._batches else math.inf
            ready = [tag for tag in self._stored if tag < left]
            self._stored = [tag for tag in self._stored if tag > left]
            if ready and not self._let_go:
                acknowledge(max(ready))

    def let_go(self, batch: Batch, count: int) -> None:
        """Leave the first `count` messages of `batch` to the broker, which delivers them again.

        Nothing of this channel is acknowledged from now on.
        """
        with self._changed:
            self._let_go = True
            self._end(batch, count)

    def _end(self, batch: Batch, count: int) -> None:
        del batch.messages[:count]
        if not batch.messages:
            self._batches.remove(batch)
        self._changed.notify_all()
