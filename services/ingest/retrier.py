"""Tries again what could neither be stored nor become a dead letter, and says so while it lasts."""

import time
from collections.abc import Sequence

import psycopg

from services.ingest import metrics, service
from services.ingest.backlog import Backlog, ChannelGone
from services.ingest.core import Validated
from shared.errors import Unavailable
from shared.health import Health

PART = "deferred messages"
"""What health calls them."""


class Retrier:
    """The writer's, over its connection: others have precedence."""

    def __init__(self, intake: service.Intake, health: Health) -> None:
        """Share all with the writer."""
        self._intake = intake
        self._health = health
        self._are_any = False

    def run_once(self, conn: psycopg.Connection, backlog: Backlog | None) -> None:
        """Try those that are due. Raises `Unavailable` only if the connection is lost."""
        if backlog is not None and (due := backlog.deferred.due()):
            self._retry(conn, backlog, due)
        many = len(backlog.deferred) if backlog is not None else 0
        if backlog is not None and many:
            reason = backlog.deferred.reason
            self._health.problem(PART, f"{many} are kept unacknowledged: {reason}")
        elif self._are_any:
            self._health.progress(PART)
        self._are_any = many > 0

    def _retry(self, conn: psycopg.Connection, backlog: Backlog, due: Sequence[Validated]) -> None:
        deferred = backlog.deferred
        started_at = time.monotonic()
        left: Sequence[Validated] = due
        try:
            outcome = service.store_batch(conn, due, self._intake, lambda _: backlog.check_open())
            took_s = time.monotonic() - started_at
            left = [letter for letter, _ in outcome.deferred]
            deferred.reason = next((why for _, why in outcome.deferred), deferred.reason)
            metrics.stored(outcome, redelivered=0, commit_s=took_s, latency_s=took_s)
        except ChannelGone:
            pass
        except Unavailable as error:
            deferred.reason = error.detail
            if conn.closed:
                raise
        finally:
            tags = {one.delivery.tag for one in left}
            # First of all: once they are not deferred, others acknowledge all up to a later tag.
            backlog.settled([one for one in due if one.delivery.tag not in tags])
            deferred.tried(due, left, time.monotonic() - started_at)
