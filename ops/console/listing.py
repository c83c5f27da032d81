"""A page of balances: which one is asked for, and what is on it."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Literal

from ops.console.balance_store import Last, Moved
from ops.console.worth import Worth

ROWS = 50
"""On a page."""
CACHED_MAX = 256
Order = Literal["id", "change"]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which page: after a provider's id, or after a place in the order of changes."""

    at: datetime | None = None
    order: Order = "id"
    search: str = ""
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A provider's balance in a tick, and its movements (minor units).

    `same`: whether KeyDB shows it, too; None where KeyDB shows another tick, or nothing is known.
    """

    id: int
    key: str
    balance: int
    minute: int | None
    hour: int | None
    per_minute: float | None
    last_seen: datetime | None
    lines: list[str]
    keydb: str | None = None
    same: bool | None = None


@dataclass(frozen=True, slots=True)
class Candidates:
    """Who may be on a page that has those of several shards.

    `ids` in their order, and after which one the shard goes on, if it does; or all that `moved`.
    """

    ids: Sequence[int] = ()
    after: int | None = None
    moved: Sequence[Moved] = ()


@dataclass(frozen=True, slots=True)
class OfShard:
    """The tick that a shard's rows are of, None before its first; or why nothing is known of it.

    `worth_error`: why it is not known what its rows are worth, though they are there.
    """

    number: int
    tick: Last | None = None
    error: str = ""
    worth_error: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of balances of one tick; `after` is where the next one begins, None at the end.

    `worth` is None as long as no provider has a symbol, `not_compared` why KeyDB was not asked.
    `shards`: of several, what is of each; `tick` is then the newest one.
    """

    asked: Asked
    tick: Last | None = None
    rows: tuple[Row, ...] = ()
    after: int | None = None
    worth: Worth | None = None
    not_compared: str = ""
    shards: tuple[OfShard, ...] = ()


@dataclass(frozen=True, slots=True)
class InKeydb:
    """What KeyDB shows: its watermark's epoch, and values in the order of the keys asked for."""

    epoch: int | None
    values: list[str | None]


class Kept:
    """The pages that were asked for lately, for all threads."""

    def __init__(self) -> None:
        """There is none yet."""
        self._lock = Lock()
        self._pages: OrderedDict[Asked, Listing] = OrderedDict()

    def get(self, asked: Asked) -> Listing | None:
        """Return a page as it was kept."""
        with self._lock:
            return self._pages.get(asked)

    def keep(self, listing: Listing) -> None:
        """Keep a page, and forget the one that was not asked for the longest."""
        with self._lock:
            self._pages[listing.asked] = listing
            self._pages.move_to_end(listing.asked)
            while len(self._pages) > CACHED_MAX:
                self._pages.popitem(last=False)
