"""One channel as a writer sees it."""

from dataclasses import dataclass
from typing import Protocol

from services.ingest.pending import Pending
from services.ingest.turns import Batch


class Inbox(Protocol):
    """One channel: where deliveries come from and acknowledgements go to."""

    pending: Pending

    def settled(self, tag: int) -> None:
        """Acknowledge all up to `tag`. Called while nobody else has a turn: no wait, no error."""


@dataclass(slots=True)
class InHand:
    """A batch and the channel it came by."""

    batch: Batch
    inbox: Inbox
