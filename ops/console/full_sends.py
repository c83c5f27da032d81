"""At which boundaries KeyDB was sent every balance, as far as somebody looked.

Nothing keeps that: it is seen from what the syncers count, from one poll to the next. So it is
known since the first of the polls between which no syncer was out of sight.
"""

from collections.abc import Sequence
from datetime import datetime

from ops.console.metrics import Replica
from ops.console.tick_store import TICKS

WHOLE = tuple(f'minutebook_republished_total{{cause="{one}"}}' for one in ("missing", "unknown"))
"""How often a syncer sent KeyDB everything."""


class FullSends:
    """The boundaries, and `since` when they are known; None where no syncer says."""

    def __init__(self) -> None:
        """Nobody looked."""
        self.boundaries: frozenset[datetime] = frozenset()
        self.since: datetime | None = None

    def note(self, replicas: Sequence[Replica], shown: datetime | None, now: datetime) -> None:
        """Take in what was counted in a poll, and which boundary KeyDB shows.

        Those that are too old for the drawing are forgotten.
        """
        counting = [one for one in replicas if WHOLE[0] in one.now]
        if not counting:
            self.since = None
            return
        if self.since is None or not all(one.last for one in counting):
            self.since = now
        if shown and any(one.grown_lately(counter) for one in counting for counter in WHOLE):
            newest = sorted({*self.boundaries, shown})[-TICKS:]
            self.boundaries = frozenset(newest)
