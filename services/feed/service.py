"""One tick: its changes, its balances, and `tick.closed` once all of that is confirmed.

The position moves after the last confirm, so a tick may be published again: never left out. Where
several are due, Postgres finds the rows of the next one while the broker takes this one's events.
"""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, LiteralString

import psycopg
import structlog

from services.feed import metrics, store
from services.feed.core import (
    BALANCE,
    PROVIDER,
    TRANSACTION,
    BalanceRow,
    ChangeRow,
    Events,
    Message,
)
from shared import postgres
from shared.amqp.publisher import Publisher
from shared.follower import RowsGone
from shared.follower_store import Reason, Span, Tick

EXCHANGE = "changes"

log = structlog.get_logger()


class Feed:
    """Follows ticks over one connection to Postgres and one to RabbitMQ."""

    def __init__(
        self,
        conn: psycopg.Connection,
        publisher: Publisher,
        pause: Callable[[], None] = lambda: None,
        *,
        changes: bool = True,
        to: tuple[str, str | None] = (EXCHANGE, None),
    ) -> None:
        """`pause` is called before each part of a tick; without `changes` only balances are told.

        `to` is the exchange, and the routing key instead of the events' names.
        """
        self._conn = conn
        self._publisher = publisher
        self._pause = pause
        self._queries = (store.SELECT_CHANGES,) if changes else ()
        self._exchange, self._key = to
        self._told: list[tuple[Span, Events]] = []
        """Ticks that are published, and not known to be confirmed; all but the last are closed."""
        self._began = 0.0
        self._unnoted: str | None = None

    def follow(self, span: Span) -> None:
        """Publish a due tick, and say so once it is confirmed: with `more`, by a later call.

        Raises `RowsGone` and `Stopped`.
        """
        if not self._told:
            self._began = time.monotonic()
        told = self.tell(span)
        for one, events in told:
            self._report(events, one.tick, (time.monotonic() - self._began) / len(told))

    def tell(self, span: Span) -> Sequence[tuple[Span, Events]]:
        """Publish what one due tick counted and changed. Raises as `follow`.

        Returns the ticks that are confirmed: none with `more`.
        """
        events = Events(span.tick.epoch, span.tick.token, span.tick.boundary)
        queries, few = (*self._queries, store.SELECT_BALANCES), span.rows <= store.ROWS_FEW
        with self._finding(store.span_of(span), *queries, few=few) as (*changes, balances):
            if any(one.count() != span.rows for one in changes):
                raise RowsGone
            self._close_last()
            for one in changes:
                self._publish(one, lambda row: events.change(ChangeRow(*row)))
            self._publish(balances, lambda row: events.balance(BalanceRow(*row)))
        self._told.append((span, events))
        if span.more:
            return ()
        self._close_last()
        self._publisher.flush()
        told, self._told = self._told, []
        return told

    def start_anew(self, tick: Tick, _reason: Reason) -> None:
        """Publish all balances as they stand at the newest due tick. Raises `Stopped`."""
        began, self._told = time.monotonic(), []
        events = Events(tick.epoch, tick.token, tick.boundary, start=uuid.uuid4().hex)
        with self._finding({"epoch": tick.epoch}, store.SELECT_ALL) as (balances,):
            self._publish(balances, lambda row: events.read(BalanceRow(*row)))
        self._close(events, lambda: (store.confirm_session(self._conn), None))
        self._publisher.flush()
        # Before the position moves: who died in between would name another id as previous.
        if not store.note_closed_id(self._conn, events.closing_id):
            self._unnoted = events.closing_id
        self._report(events, tick, time.monotonic() - began)

    def note_start(self) -> None:
        """Note the first start's id, which the next tick names as previous, now there is a row."""
        if self._unnoted:
            with postgres.translating():
                store.note_closed_id(self._conn, self._unnoted)
            self._unnoted = None

    @contextlib.contextmanager
    def _finding(
        self, given: store.Given, *queries: LiteralString, few: bool = False
    ) -> Iterator[list[store.Found]]:
        """Have Postgres find rows; that may take longer than the broker waits for a heartbeat."""
        with contextlib.ExitStack() as stack:
            found = [
                stack.enter_context(contextlib.closing(store.Found(self._conn, query, few=few)))
                for query in queries
            ]
            for one in found:
                self._pause()
                self._publisher.beside(partial(one.find, given))
            yield found

    def _publish(self, found: store.Found, event: Callable[[tuple[Any, ...]], Message]) -> None:
        for batch in found.batches():
            self._pause()
            self._publisher.publish_all(self._exchange, [event(row) for row in batch], self._key)

    def _close_last(self) -> None:
        if self._told:
            span, events = self._told[-1]
            self._close(events, partial(store.closing, self._conn, span))

    def _close(self, events: Events, ask: Callable[[], tuple[str | None, str | None]]) -> None:
        """Say that a tick is complete, once all of it is confirmed.

        For its amount Postgres is asked once more: where that still answers we are still the active
        feed. One that was taken for dead meanwhile must not close what another one has closed long
        since.
        """
        self._publisher.flush()
        added, previous_id = ask()
        if added is None:
            raise RowsGone
        self._publisher.publish_all(self._exchange, [events.closed(previous_id, added)], self._key)

    def _report(self, events: Events, tick: Tick, duration_s: float) -> None:
        metrics.TICK_SECONDS.observe(duration_s)
        for about in (TRANSACTION, PROVIDER, BALANCE):
            metrics.EVENTS.labels(about).inc(events.counts[about])
        log.info(
            "events_published",
            epoch=tick.epoch,
            transactions=events.counts[TRANSACTION],
            providers=events.counts[PROVIDER],
            balances=events.counts[BALANCE],
            duration_ms=round(duration_s * 1000, 1),
        )
