"""One tick: judge the alerts, in the transaction that moves the position; then publish.

A notification is written once, whoever repeats the tick. What is published may be repeated, under
the same id: it is noted as sent only once the broker has confirmed it.
"""

import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial

import psycopg
import structlog

from services.notifier import core, judge_store, metrics, store
from shared import postgres
from shared.amqp.topic import Message, TopicPublisher
from shared.follower_store import Reason, Span, Tick
from shared.limited_connection import meanwhile

EXCHANGE = "notifications"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is done at once.

    `page` notifications are on their way to the broker. Of those that no queue took, `again` are
    tried at each tick; more of them are tried in turn. `pruned` expired ones are removed at a look.
    """

    page: int = 500
    again: int = 10_000
    pruned: int = 10_000


log = structlog.get_logger()


class Notifier:
    """What the follower does at each tick and between two, over the connections of one life."""

    def __init__(
        self,
        conn: psycopg.Connection,
        publisher: TopicPublisher,
        stop: threading.Event,
        kept_d: int,
        limits: Limits = Limits(),
    ) -> None:
        """`kept_d` is for how many days notifications are kept."""
        meanwhile(conn, partial(publisher.poll, 0.0))
        self._conn = conn
        self._publisher = publisher
        self._stop = stop
        self._kept_d = kept_d
        self._limits = limits
        self._judged: tuple[Span, Counter[str], float] | None = None
        self._again_after = store.FIRST
        self._is_due = True
        """Whether there was a tick since the last time that old ones were looked after."""

    def follow(self, span: Span) -> None:
        """Write what the alerts say of one tick, in the transaction that moves the position."""
        began = time.monotonic()
        written = judge_store.judge(self._conn, span)
        self._judged = (span, written, time.monotonic() - began)

    def start_anew(self, tick: Tick, reason: Reason) -> None:
        """Go on from `tick`: no alert is judged at it; the follower says so."""

    def pause(self, wait_s: float) -> None:
        """After each look, and outside of any transaction: publish what is written.

        Without `wait_s` the next tick is there already. Raises `Unavailable`.
        """
        self._report()
        with postgres.translating():
            self._publish_new()
            if wait_s and self._is_due:
                self._publish_again()
                metrics.WAITING.set(store.waiting(self._conn))
                self._is_due = self._prune()
        self._publisher.poll(wait_s)

    def _report(self) -> None:
        """Say what the last tick led to, now that it is committed."""
        if self._judged is None:
            return
        span, written, took_s = self._judged
        self._judged, self._is_due = None, True
        metrics.JUDGE_SECONDS.observe(took_s)
        for condition, count in written.items():
            metrics.WRITTEN.labels(condition).inc(count)
        if written:
            log.info(
                "notifications_written",
                epoch=span.tick.epoch,
                notifications=written.total(),
                duration_ms=round(took_s * 1000, 1),
            )

    def _publish_new(self) -> None:
        while page := store.new(self._conn, self._limits.page):
            self._publish(page)

    def _publish_again(self) -> None:
        """Try those again that no queue took, beginning after the last one tried."""
        size = self._limits.page
        for _ in range(self._limits.again // size):
            page, self._again_after = store.again(self._conn, self._again_after, size)
            self._publish(page)
            if self._again_after == store.FIRST:
                break

    def _publish(self, page: list[core.Notification]) -> None:
        messages = [Message(one.id, one.routing_key, core.encode(one)) for one in page]
        fates = self._publisher.send(messages, self._stop)
        if fates.confirmed:
            late_s = store.note_sent(self._conn, fates.confirmed)
            metrics.SENT.inc(len(fates.confirmed))
            for one in late_s:
                metrics.LATENESS.observe(one)
        if fates.failed:
            store.note_failed(self._conn, fates.failed)
            for error, count in Counter(fates.failed.values()).items():
                metrics.NOT_TAKEN.labels(error).inc(count)
                log.warning("notifications_not_taken", error=error, notifications=count)

    def _prune(self) -> bool:
        """Remove some of what has expired; say whether there is more."""
        return store.prune(self._conn, self._kept_d, self._limits.pruned) == self._limits.pruned
