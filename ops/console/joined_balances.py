"""Balances of all shards in one list, as if one Postgres had them.

Each shard is asked for as many as a page has, and the first of all these are the page. Rows are of
their own shard's newest tick: at a boundary two shards may be of two ticks, which the page says.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TypeVar

from ops.console import balances, each_shard
from ops.console.balance_store import Last
from ops.console.balances import Balances
from ops.console.each_shard import EachShard, Question
from ops.console.listing import ROWS, Asked, Candidates, Kept, Listing, OfShard, Row
from ops.console.worth import joined
from shared import shard
from shared.errors import Refusal, Unavailable

ASKED_UNTIL = (0.4, 0.6, 0.8, 1.0)
"""Shares of the time by which a shard's ticks, its candidates, its rows and their worth are to be
there, or the page does without: the others need some time for what comes next."""
LOST = (Unavailable, Refusal)

T = TypeVar("T")


class JoinedBalances:
    """Pages of them; safe to use from several threads."""

    def __init__(self, each: Sequence[Balances]) -> None:
        """`each` is of one shard, in their order."""
        self._each = dict(enumerate(each))
        self._shards = EachShard(len(each))
        self._pages = Kept()

    def page(self, asked: Asked) -> Listing:
        """Return a page, not compared with KeyDB; of a shard without an answer it says so.

        Raises `Unavailable` if none has any.
        """
        began = time.monotonic()
        untils = [began + share * each_shard.WITHIN_S for share in ASKED_UNTIL]
        questions = {one: partial(own.last, asked.at) for one, own in self._each.items()}
        lasts = self._shards.ask(questions, untils[0])
        shards = tuple(_of_shard(number, found) for number, found in lasts.items())
        if all(one.error for one in shards):
            raise Unavailable("postgres", shards[0].error)
        known = self._pages.get(asked)
        if known is None or known.shards != shards or any(one.error for one in shards):
            known = self._read(asked, shards, untils)
            self._pages.keep(known)
        return self._valued(known, untils[3])

    def compared(self, listing: Listing) -> Listing:
        """Return a page of now beside what KeyDB shows. Raises `Unavailable`."""
        own = {
            one.number: replace(
                listing,
                tick=one.tick,
                rows=self._rows(listing, one),
            )
            for one in listing.shards
        }
        questions = {one: partial(self._each[one].compared, page) for one, page in own.items()}
        found = self._shards.ask(questions, time.monotonic() + each_shard.WITHIN_S)
        rows = {row.id: row for page in found.values() for row in _answered(page).rows}
        return replace(listing, rows=tuple(rows[one.id] for one in listing.rows))

    def close(self) -> None:
        """Ask nothing any more."""
        self._shards.close()

    def _read(self, asked: Asked, shards: Sequence[OfShard], untils: Sequence[float]) -> Listing:
        ticks = {one.number: one.tick for one in shards if one.tick}
        candidates = self._shards.ask(
            {one: partial(self._each[one].candidates, asked, tick) for one, tick in ticks.items()},
            untils[1],
        )
        answered = [one for one in candidates.values() if not isinstance(one, LOST)]
        ids, after = _page(asked, answered)
        found = self._shards.ask(
            {one: self._question(one, ids, ticks[one], asked) for one in ticks}, untils[2]
        )
        lost = {
            number: str(error)
            for number, error in [*candidates.items(), *found.items()]
            if isinstance(error, LOST)
        }
        pages = [one for one in found.values() if not isinstance(one, LOST)]
        rows = {row.id: row for page in pages for row in page.rows}
        return Listing(
            asked,
            max(ticks.values(), key=lambda one: one.boundary, default=None),
            tuple(rows[one] for one in ids if one in rows),
            after,
            shards=_without(shards, lost),
        )

    def _valued(self, listing: Listing, until: float) -> Listing:
        """Return a page with what it is worth; a shard that does not say so keeps its rows."""
        questions = {
            one.number: partial(self._each[one.number].worth, self._rows(listing, one), one.tick)
            for one in listing.shards
            if one.tick
        }
        found = self._shards.ask(questions, until)
        shards = tuple(
            replace(one, worth_error=str(error))
            if isinstance(error := found.get(one.number), LOST)
            else one
            for one in listing.shards
        )
        worths = [one for one in found.values() if one and not isinstance(one, LOST)]
        worth = joined(worths) if worths else None
        return replace(listing, worth=worth, shards=shards)

    def _rows(self, listing: Listing, of: OfShard) -> tuple[Row, ...]:
        return tuple(one for one in listing.rows if self._whose(one.id) == of.number)

    def _question(
        self, number: int, ids: Sequence[int], tick: Last, asked: Asked
    ) -> Question[Listing]:
        own = [one for one in ids if self._whose(one) == number]
        return partial(self._each[number].those, own, tick, now=asked.at is None)

    def _whose(self, provider_id: int) -> int:
        return shard.of(provider_id, len(self._each))


def _answered(found: T | Unavailable | Refusal) -> T:
    if isinstance(found, LOST):
        raise found
    return found


def _of_shard(number: int, found: Last | Unavailable | Refusal | None) -> OfShard:
    if isinstance(found, LOST):
        return OfShard(number, error=str(found))
    return OfShard(number, found)


def _without(shards: Sequence[OfShard], lost: Mapping[int, str]) -> tuple[OfShard, ...]:
    """Return what is of each, and why nothing is of those that are `lost`."""
    return tuple(
        replace(one, tick=None, error=lost[one.number]) if one.number in lost else one
        for one in shards
    )


def _page(asked: Asked, found: Sequence[Candidates]) -> tuple[list[int], int | None]:
    """Return the providers of a page in their order, and where the next one begins.

    In the order of ids nothing is shown beyond the place up to which each shard was read: another
    one may have some before it.
    """
    if balances.is_by_change(asked):
        return balances.cut(asked, sorted(chain.from_iterable(one.moved for one in found)))
    bound = min((one.after for one in found if one.after is not None), default=None)
    ids = sorted(chain.from_iterable(one.ids for one in found))
    read = [one for one in ids if bound is None or one <= bound]
    page = read[:ROWS]
    after = page[-1] if len(read) > ROWS else bound
    exact = None if asked.after is not None else balances.exactly(asked)
    return page if exact is None else [exact, *(one for one in page if one != exact)], after
