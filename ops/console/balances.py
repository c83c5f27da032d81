"""Section 4: balances, page by page, beside what KeyDB shows.

What Postgres says of a page is asked once for each tick; what KeyDB shows, and what it is worth, at
each poll.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Lock

import click
import psycopg

from ops.console import balance_store as store
from ops.console.balance_store import Last
from ops.console.drawing import points
from ops.console.listing import ROWS, Asked, Candidates, InKeydb, Kept, Listing, Row
from ops.console.worth import Held, Valuer, Worth
from ops.params import ProviderId
from services.syncer.core import EPOCH_DIGITS_MAX
from services.syncer.projection import WATERMARK_KEY
from shared import keydb
from shared.errors import Unavailable
from shared.ledger import balance_page
from shared.postgres_pool import ReadingPool

LENT_WITHIN_S = 0.5
"""A KeyDB that hangs costs one thread, not all of them."""
SOON = timedelta(days=1)
"""Whatever clock is asked, the newest tick's boundary is not further in the future."""


class Balances:
    """Pages of balances; safe to use from several threads."""

    def __init__(
        self, pool: ReadingPool, client: keydb.Client, interval_s: float, key: str = WATERMARK_KEY
    ) -> None:
        """`client` is one connection, lent to one thread at a time; `key` has the watermark."""
        self._pool, self._interval_s, self._watermark_key = pool, interval_s, key
        self._client, self._lent, self._kept = client, Lock(), Lock()
        self._pages, self._valuer = Kept(), Valuer()
        self._counts: tuple[Last | None, dict[int, int] | None] = (None, None)
        self._moved: tuple[Last | None, list[store.Moved]] = (None, [])

    def page(self, asked: Asked) -> Listing:
        """Return a page, not compared with KeyDB. Raises `Unavailable`."""
        known = self._pages.get(asked)
        with self._pool.connection() as conn:
            last = store.last(conn, asked.at or datetime.now(UTC) + SOON)
            if last is None:
                return Listing(asked)
            if known is None or known.tick != last:
                known = self._read(conn, asked, last)
            self._pages.keep(known)
            return replace(known, worth=self._valuer.worth(conn, known.rows, last))

    def one(self, provider_id: int) -> Listing:
        """Return a page with one provider, or none if there is none now. Raises `Unavailable`."""
        with self._pool.connection() as conn:
            last = store.last(conn, datetime.now(UTC) + SOON)
            rows = self._rows(conn, [provider_id], last, now=True) if last else ()
        return Listing(Asked(), last, rows)

    def last(self, at: datetime | None) -> Last | None:
        """Return the newest due tick until `at`, or until now. Raises `Unavailable`."""
        with self._pool.connection() as conn:
            return store.last(conn, at or datetime.now(UTC) + SOON)

    def candidates(self, asked: Asked, last: Last) -> Candidates:
        """Return who may be on a page of several shards. Raises `Unavailable`."""
        with self._pool.connection() as conn:
            if is_by_change(asked):
                return Candidates(moved=self._moved_in(conn, last))
            return Candidates(*by_id(conn, asked, last))

    def those(self, ids: Sequence[int], last: Last, *, now: bool) -> Listing:
        """Return a page with these providers, as far as they exist. Raises `Unavailable`."""
        with self._pool.connection() as conn:
            return Listing(Asked(), last, self._rows(conn, ids, last, now=now))

    def worth(self, rows: Sequence[Held], last: Last) -> Worth | None:
        """Return what rows of this tick are worth. Raises `Unavailable`."""
        with self._pool.connection() as conn:
            return self._valuer.worth(conn, rows, last)

    def in_keydb(self, keys: Sequence[str]) -> InKeydb:
        """Return what KeyDB shows of some keys, of one tick. Raises `Unavailable`."""
        if not self._lent.acquire(timeout=LENT_WITHIN_S):
            raise Unavailable("keydb", "no answer yet to the question before")
        try:
            with keydb.translating(self._client), self._client.pipeline() as pipe:
                pipe.hget(self._watermark_key, "epoch")
                if keys:
                    pipe.mget(list(keys))
                epoch, *values = pipe.execute()
        finally:
            self._lent.release()
        text = str(epoch or "")
        shown = [None if one is None else str(one) for one in (values[0] if values else [])]
        is_epoch = text.isascii() and text.isdigit() and len(text) <= EPOCH_DIGITS_MAX
        return InKeydb(int(text) if is_epoch else None, shown)

    def _read(self, conn: psycopg.Connection, asked: Asked, last: Last) -> Listing:
        ids, after = self._ids(conn, asked, last)
        rows = self._rows(conn, ids, last, now=asked.at is None)
        return Listing(asked, last, rows, after)

    def _ids(
        self, conn: psycopg.Connection, asked: Asked, last: Last
    ) -> tuple[list[int], int | None]:
        if is_by_change(asked):
            return cut(asked, self._moved_in(conn, last))
        ids, after = by_id(conn, asked, last)
        exact = None if asked.after is not None else exactly(asked)
        return ids if exact is None else [exact, *(one for one in ids if one != exact)], after

    def _moved_in(self, conn: psycopg.Connection, last: Last) -> list[store.Moved]:
        with self._kept:
            tick, moved = self._moved
        if tick != last:
            moved = store.moved(conn, last)
            with self._kept:
                self._moved = (last, moved)
        return moved

    def _rows(
        self, conn: psycopg.Connection, ids: Sequence[int], last: Last, *, now: bool
    ) -> tuple[Row, ...]:
        minutes = store.minutes(conn, ids, last.boundary)
        counts = self._counted(conn, last) if now else None
        # Boundaries may have been missed between the two.
        since = last.boundary - last.boundary_before if last.boundary_before else None
        rate = 60 / (since.total_seconds() if since else self._interval_s)
        return tuple(
            _row(
                one,
                minutes.get(one[0], []),
                None if counts is None else counts.get(one[0], 0) * rate,
            )
            for one in store.rows(conn, ids, last.epoch)
        )

    def _counted(self, conn: psycopg.Connection, last: Last) -> dict[int, int] | None:
        with self._kept:
            tick, counts = self._counts
        if tick != last:
            counts = store.transactions(conn, last)
            with self._kept:
                self._counts = (last, counts)
        return counts

    def compared(self, listing: Listing) -> Listing:
        """Return a page of now beside what KeyDB shows. Raises `Unavailable`."""
        if listing.tick is None:
            return listing
        shown = self.in_keydb([one.key for one in listing.rows])
        if shown.epoch != listing.tick.epoch:
            return listing
        rows = zip(listing.rows, shown.values, strict=True)
        return replace(
            listing,
            rows=tuple(
                replace(one, keydb=value, same=value == str(one.balance)) for one, value in rows
            ),
        )


def _row(
    found: tuple[int, str, str, datetime | None],
    minutes: Sequence[str | None],
    per_minute: float | None,
) -> Row:
    provider_id, key, balance, last_seen = found
    known = [None if one is None else int(one) for one in minutes]

    def since(place: int) -> int | None:
        then = known[place] if known else None
        return None if then is None else int(balance) - then

    return Row(
        provider_id, key, int(balance), since(-2), since(0), per_minute, last_seen, points(known)
    )


def is_by_change(asked: Asked) -> bool:
    """Say whether a page is in the order of changes: what is searched for is not."""
    return asked.order == "change" and not asked.search


def by_id(conn: psycopg.Connection, asked: Asked, last: Last) -> tuple[list[int], int | None]:
    """Return a page's providers in the order of ids, and after which one to go on."""
    if asked.search:
        begin = balance_page.LEAST if asked.after is None else asked.after
        return store.search(conn, asked.search, begin, ROWS)
    found = balance_page.page(conn, last.boundary, most=ROWS, after=asked.after, epoch=last.epoch)
    return [one.provider_id for one in found.balances], found.after


def cut(asked: Asked, moved: Sequence[store.Moved]) -> tuple[list[int], int | None]:
    """Return a page of the order of changes, and from which place to go on."""
    start = max(0, asked.after or 0)
    end = start + ROWS
    return [one.provider_id for one in moved[start:end]], end if moved[end:] else None


def exactly(asked: Asked) -> int | None:
    """Return the provider that is searched for by its id, or whole key, on the first page of it."""
    try:
        return ProviderId().convert(asked.search, None, None)
    except click.UsageError:
        return None
