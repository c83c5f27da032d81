"""One channel as a writer sees it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.ingest.core import Validated
from services.ingest.pending import Pending
from services.ingest.turns import Batch


class ChannelGone(Exception):
    """The broker will deliver the batch again, so it must not be committed now."""


class Inbox(Protocol):
    """One channel: where deliveries come from and acknowledgements go to."""

    pending: Pending

    def settled(self, tag: int) -> None:
        """Acknowledge all up to `tag`. Called while nobody else has a turn: no wait, no error."""

    def settled_alone(self, tags: Sequence[int]) -> None:
        """Acknowledge these and no others. No wait, no error."""


@dataclass(slots=True)
class InHand:
    """A batch and the channel it came by."""

    batch: Batch
    inbox: Inbox

    def check_channel(self) -> None:
        """Raise `ChannelGone` when what was delivered can no longer be acknowledged."""
        if not self.inbox.pending.open:
            raise ChannelGone

    def stored(self, count: int, kept: Sequence[Validated], reason: str) -> None:
        """Acknowledge the first `count` messages of the batch, but for those that are `kept`."""
        pending = self.inbox.pending
        tags = {one.delivery.tag for one in self.batch.messages[:count]}
        tags -= {one.delivery.tag for one in kept}

        if pending.turns.in_trouble:
            pending.deferred.try_soon()

        def acknowledge(last: int) -> None:
            if kept:
                pending.deferred.add(kept, reason)
            if pending.deferred.is_before(last):
                self.inbox.settled_alone(sorted(tags))
            else:
                self.inbox.settled(last)

        pending.stored(self.batch, count, acknowledge, kept)
