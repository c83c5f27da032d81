"""What becomes of requests: decided, counted by a tick, shown, and their senders told.

It is asked of the rows, the dead letters and the outbox, and then written down. Young requests are
looked at four times a second. All others wait for a tick anyway, as their replies do: they are
looked at once for each, in the transaction that moves the follower's position.
"""

import contextlib
import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial

import psycopg
import structlog

from services.tracker import core, metrics, open_request_store, reply_store
from shared import postgres
from shared.amqp.topic import Message, TopicPublisher
from shared.errors import Unavailable
from shared.follower_store import Reason, Span, Tick
from shared.limited_connection import meanwhile

YOUNG_S = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is done at once.

    `requests` are looked at in a statement, and as many items as the store's limit; `replies` are
    on their way to the broker; `pruned` expired requests are removed at a look. After a look at
    young requests there is none for `rest` times as long as it took. Where no tick comes all are
    looked at so often all the same (seconds).
    """

    requests: int = open_request_store.REQUESTS_MAX
    items: int = open_request_store.ITEMS_MAX
    counted: int = 5000
    replies: int = 500
    pruned: int = 10_000
    rest: int = 4
    all_every_s: float = 90.0


log = structlog.get_logger()


class Tracker:
    """What the follower does at each tick and between two, over the connections of one life."""

    def __init__(
        self,
        conn: psycopg.Connection,
        publisher: TopicPublisher,
        stop: threading.Event,
        kept_d: int,
        limits: Limits = Limits(),
    ) -> None:
        """`kept_d` is for how many days requests are kept."""
        meanwhile(conn, partial(publisher.poll, 0.0))
        self._conn = conn
        self._publisher = publisher
        self._stop = stop
        self._kept_d = kept_d
        self._limits = limits
        self._decided: list[tuple[str, float]] = []
        self._followed: tuple[int, int, float] | None = None
        self._next_at = 0.0
        self._next_all_at = time.monotonic() + limits.all_every_s
        self._shown: int | None = None
        self._noted = reply_store.FIRST
        self._is_due = True
        """Whether there was a tick since the last time that old ones were looked after."""

    def follow(self, span: Span) -> None:
        """Decide what is open, in the transaction that moves the position."""
        began = time.monotonic()
        self._decided = self._decide(reply_store.FIRST, keep=True)
        self._is_due = True
        self._next_all_at = time.monotonic() + self._limits.all_every_s
        took_s = time.monotonic() - began
        self._followed = span.tick.epoch, len(self._decided), took_s

    def start_anew(self, _tick: Tick, reason: Reason) -> None:
        """Go on: what is open is known from the table, whatever was followed before."""
        if reason == "baseline":
            reply_store.forget_writers(self._conn)
        self._is_due = True

    def pause(self, wait_s: float) -> None:
        """After each look of the follower, and outside of any transaction.

        Without `wait_s` the next tick is there already. Raises `Unavailable`.
        """
        with postgres.translating():
            if wait_s:
                self._decide_between_ticks()
            self._report()
            self._note_shown()
            self._reply()
            if wait_s and self._is_due:
                self._is_due = self._look_after_old()
        self._publisher.poll(wait_s)

    def _decide_between_ticks(self) -> None:
        began = time.monotonic()
        if began < self._next_at:
            return
        is_all = began >= self._next_all_at
        with self._conn.transaction():
            after = reply_store.FIRST if is_all else open_request_store.since(self._conn, YOUNG_S)
            self._decided += self._decide(after, keep=is_all)
        now = time.monotonic()
        if is_all:
            self._next_all_at = now + self._limits.all_every_s
        self._next_at = now + self._limits.rest * (now - began)

    def _decide(self, after: open_request_store.Place, *, keep: bool) -> list[tuple[str, float]]:
        """Look at open requests after a place, and write what is decided; return which are."""
        decided: list[tuple[str, float]] = []
        place: open_request_store.Place | None = after
        while place and not self._stop.is_set():
            found, place = open_request_store.inspect(
                self._conn, place, self._limits.requests, self._limits.items
            )
            changes = [core.decide(one, keep=keep) for one in found]
            decided += open_request_store.write(self._conn, [one for one in changes if one])
            if running := core.starts_running(found):
                open_request_store.note_running(self._conn, running)
            with contextlib.suppress(Unavailable):  # whoever replies next says so
                self._publisher.poll(0.0)  # many open items take longer than a heartbeat
        return decided

    def _report(self) -> None:
        """Count and say what was decided, now that it is committed."""
        for state, took_s in self._decided:
            metrics.DECIDED.labels(state).inc()
            metrics.SECONDS.observe(took_s)
        if self._followed is None:
            return
        epoch, number, took_s = self._followed
        self._followed = None
        metrics.DECIDE_SECONDS.observe(took_s)
        if number:
            took_ms = round(took_s * 1000, 1)
            log.info("requests_decided", epoch=epoch, requests=number, duration_ms=took_ms)

    def _note_shown(self) -> None:
        """Note which ticks have counted requests: of all whenever KeyDB shows more, else of new."""
        shown = reply_store.newest_shown(self._conn)
        if shown == self._shown and not self._decided:
            return
        if shown != self._shown:
            self._noted = reply_store.FIRST
        while place := reply_store.note_shown(self._conn, self._noted, self._limits.counted):
            self._noted = place
        self._shown, self._decided = shown, []

    def _reply(self) -> None:
        while due := reply_store.due(self._conn, self._limits.replies):
            messages = [
                Message(
                    f"{one.document.request}:{'reply' if one.kind == 'decided' else one.kind}",
                    one.to,
                    core.reply(one.document),
                    one.correlation_id,
                )
                for one in due
            ]
            by_id = {message.message_id: one for message, one in zip(messages, due, strict=True)}
            fates = self._publisher.send(messages, self._stop)
            if fates.confirmed:
                reply_store.note_replied(self._conn, [by_id[one] for one in fates.confirmed])
                metrics.REPLIES.inc(len(fates.confirmed))
            if fates.failed:
                failed = {by_id[one].document.request: why for one, why in fates.failed.items()}
                reply_store.note_failed(self._conn, failed)
                for error, count in Counter(failed.values()).items():
                    metrics.NOT_TAKEN.labels(error).inc(count)
                    log.warning("replies_not_taken", error=error, replies=count)

    def _look_after_old(self) -> bool:
        """Once a tick: try full queues again, measure, remove what has expired; say if more has."""
        reply_store.try_again(self._conn)
        count, age_s = reply_store.open_requests(self._conn)
        metrics.OPEN.set(count)
        metrics.OLDEST_OPEN.set(age_s)
        removed, still_open = reply_store.prune(self._conn, self._kept_d, self._limits.pruned)
        if still_open:
            log.warning("requests_expired_open", requests=still_open)
        return removed == self._limits.pruned
