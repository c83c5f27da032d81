"""One tick: its changes, its balances, and `tick.closed` once all of that is confirmed.

The position moves after the last confirm, so a tick may be published again: never left out.
"""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
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
        progress: Callable[[], None] = lambda: None,
        *,
        changes: bool = True,
        to: tuple[str, str | None] = (EXCHANGE, None),
    ) -> None:
        """`progress` is told of each part of a tick; without `changes` only balances are told.

        `to` is the exchange, and the routing key instead of the events' names.
        """
        self._conn = conn
        self._publisher = publisher
        self._progress = progress
        self._changes = changes
        self._exchange, self._key = to
        self._unnoted: str | None = None

    def follow(self, span: Span) -> None:
        """Publish a due tick, and say so. Raises `RowsGone` and `Stopped`."""
        began = time.monotonic()
        self._report(self.tell(span), span.tick, began)

    def tell(self, span: Span) -> Events:
        """Publish what one due tick counted and changed. Raises as `follow`."""
        tick, given = span.tick, store.span_of(span)
        events = Events(tick.epoch, tick.token, tick.boundary)
        if self._changes:
            with self._holding(store.SELECT_CHANGES, given) as held:
                if held.count() != span.rows:
                    raise RowsGone
                self._publish(held, lambda row: events.change(ChangeRow(*row)))
        with self._holding(store.SELECT_BALANCES, given) as held:
            self._publish(held, lambda row: events.balance(BalanceRow(*row)))
        previous_id = store.closed_id(self._conn, span.before.token)
        self._close(events, previous_id, lambda: store.amount(self._conn, span))
        return events

    def start_anew(self, tick: Tick, _reason: Reason) -> None:
        """Publish all balances as they stand at the newest due tick. Raises `Stopped`."""
        began = time.monotonic()
        events = Events(tick.epoch, tick.token, tick.boundary, start=uuid.uuid4().hex)
        with self._holding(store.SELECT_ALL, {"epoch": tick.epoch}) as held:
            self._publish(held, lambda row: events.read(BalanceRow(*row)))
        self._close(events, None, lambda: store.confirm_session(self._conn))
        # Before the position moves: who died in between would name another id as previous.
        if not store.note_closed_id(self._conn, events.closing_id):
            self._unnoted = events.closing_id
        self._report(events, tick, began)

    def note_start(self) -> None:
        """Note the first start's id, which the next tick names as previous, now there is a row."""
        if self._unnoted:
            with postgres.translating():
                store.note_closed_id(self._conn, self._unnoted)
            self._unnoted = None

    @contextlib.contextmanager
    def _holding(self, query: LiteralString, given: store.Given) -> Iterator[store.Held]:
        """Have Postgres find rows; that may take longer than the broker waits for a heartbeat."""
        with contextlib.closing(store.Held(self._conn)) as held:
            self._publisher.beside(lambda: held.find(query, given))
            yield held

    def _publish(self, held: store.Held, event: Callable[[tuple[Any, ...]], Message]) -> None:
        for batch in held.batches():
            self._publisher.publish_all(self._exchange, [event(row) for row in batch], self._key)
            self._progress()

    def _close(
        self, events: Events, previous_id: str | None, amount: Callable[[], str | None]
    ) -> None:
        """Say that the tick is complete, once all of it is confirmed.

        `amount` asks Postgres once more: where that still answers we are still the active feed. One
        that was taken for dead meanwhile must not close what another one has closed long since.
        """
        self._publisher.flush()
        added = amount()
        if added is None:
            raise RowsGone
        self._publisher.publish_all(self._exchange, [events.closed(previous_id, added)], self._key)
        self._publisher.flush()

    def _report(self, events: Events, tick: Tick, began: float) -> None:
        duration_s = time.monotonic() - began
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
