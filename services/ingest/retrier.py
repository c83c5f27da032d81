"""Tries again what could become neither a row nor a dead letter, and says so while it lasts."""

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
    """Works for the writer, over its connection and between its batches."""

    def __init__(self, intake: service.Intake, health: Health) -> None:
        """Share both with the writer."""
        self._intake = intake
        self._health = health

    def run_once(self, conn: psycopg.Connection, backlog: Backlog | None) -> None:
        """Try those that are due. Raises `Unavailable` only if the connection is lost."""
        if backlog and backlog.deferred.by_tag and (due := backlog.deferred.due()):
            self._retry(conn, backlog, due)
        if backlog and (many := len(backlog.deferred.by_tag)):
            reason = backlog.deferred.reason
            self._health.problem(PART, f"{many} are kept unacknowledged: {reason}")
        else:
            self._health.progress(PART)

    def _retry(self, conn: psycopg.Connection, backlog: Backlog, due: Sequence[Validated]) -> None:
        deferred = backlog.deferred
        started_at = time.monotonic()
        left: Sequence[Validated] = due
        try:
            outcome = service.store_batch(conn, due, self._intake, lambda _: backlog.check_open())
            took_s = time.monotonic() - started_at
            left = [letter for letter, _ in outcome.deferred]
            deferred.reason = next((why for _, why in outcome.deferred), deferred.reason)
            metrics.note_batch(outcome, redelivered=0, commit_s=took_s, latency_s=took_s)
        except ChannelGone:
            pass
        except Unavailable as error:
            deferred.reason = error.detail
            if conn.closed:
                raise
        finally:
            # Before they no longer count as in hand: a receiver with nothing in hand may end.
            tags = {one.delivery.tag for one in left}
            backlog.acknowledge_deferred([one for one in due if one.delivery.tag not in tags])
            deferred.note_attempt(due, left, time.monotonic() - started_at)
