"""Tries again what could neither be stored nor become a dead letter, and says so while it lasts."""

import time
from collections.abc import Sequence
from functools import partial

import psycopg

from services.ingest import metrics, service, store
from services.ingest.backlog import Backlog, ChannelGone
from services.ingest.core import Validated
from services.ingest.deferred import PART, Keeping, Letters
from shared.errors import Unavailable
from shared.health import Health


class Retrier:
    """The writer's, over its connection: others have precedence."""

    def __init__(self, intake: service.Intake, health: Health) -> None:
        """Share all with the writer."""
        self._intake = intake
        self._health = health
        self._are_any = False

    def run_once(self, conn: psycopg.Connection, backlog: Backlog | None) -> None:
        """Try those that are due. Raises `Unavailable` only if the connection is lost."""
        if backlog is not None and len(backlog.deferred):
            due = backlog.deferred.due()
            if due:
                self._retry(conn, backlog, due)
        self._report(backlog)

    def _retry(self, conn: psycopg.Connection, backlog: Backlog, due: Sequence[Validated]) -> None:
        deferred = backlog.deferred
        bury = partial(store.insert_dead_letters, queue=self._intake.queue)
        keeping = Keeping(bury, Letters.MAY)
        started = time.monotonic()
        left: Sequence[Validated] = due
        try:
            with deferred.batch_size.storing(len(due)):
                outcome = service.store_batch(
                    conn, due, self._intake, lambda _: backlog.check_open(), keeping
                )
        except ChannelGone:
            return
        except Unavailable as error:
            deferred.reason = error.detail
            if conn.closed:
                raise
        else:
            left = [letter for letter, _ in outcome.deferred]
            deferred.reason = next((why for _, why in outcome.deferred), deferred.reason)
            took_s = time.monotonic() - started
            metrics.stored(outcome, redelivered=0, commit_s=took_s, latency_s=took_s)
        finally:
            self._acknowledge(backlog, due, left)
            deferred.tried(due, left, time.monotonic() - started)

    def _acknowledge(
        self, backlog: Backlog, due: Sequence[Validated], left: Sequence[Validated]
    ) -> None:
        tags = {one.delivery.tag for one in left}
        settled = [one for one in due if one.delivery.tag not in tags]
        # First of all: once they are not deferred, others acknowledge all up to a later tag.
        backlog.settled(settled)

    def _report(self, backlog: Backlog | None) -> None:
        many = len(backlog.deferred) if backlog is not None else 0
        if backlog is not None and many:
            reason = backlog.deferred.reason
            self._health.problem(PART, f"{many} are kept unacknowledged: {reason}")
        elif self._are_any:
            self._health.progress(PART)
        self._are_any = many > 0
