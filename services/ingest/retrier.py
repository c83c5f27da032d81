"""Tries again what could become neither a row nor a dead letter, and says so while it lasts.

The writer does this over its connection, between its batches.
"""

import time
from collections.abc import Sequence

import psycopg

from services.ingest import core, metrics, service
from services.ingest.backlog import Backlog, ChannelGone
from services.ingest.core import Validated
from shared.errors import Unavailable
from shared.health import Health

PART = "deferred messages"
"""What health calls them."""


def run_once(
    conn: psycopg.Connection, backlog: Backlog | None, rules: service.IngestRules, health: Health
) -> None:
    """Try those that are due. Raises `Unavailable` only if the connection is lost."""
    if backlog and backlog.deferred.by_tag and (due := backlog.deferred.due()):
        _retry(conn, backlog, due, rules)
    if backlog and (many := len(backlog.deferred.by_tag)):
        reason = backlog.deferred.reason
        health.problem(PART, f"{many} are kept unacknowledged: {reason}")
    else:
        health.progress(PART)


def _retry(
    conn: psycopg.Connection, backlog: Backlog, due: Sequence[Validated], rules: service.IngestRules
) -> None:
    deferred = backlog.deferred
    started_at = time.monotonic()
    left = due
    try:
        outcome = service.store_batch(conn, due, rules, lambda _: backlog.check_open())
        took_s = time.monotonic() - started_at
        left = outcome.deferred
        deferred.reason = outcome.reason or deferred.reason
        metrics.note_batch(outcome, commit_s=took_s, latency_s=took_s)
    except ChannelGone:
        pass
    except Unavailable as error:
        deferred.reason = error.detail
        if conn.closed:
            left = [core.tried(one) for one in due]
            raise
    finally:
        # Acknowledged before they are forgotten: a receiver with nothing unacknowledged may end.
        tags = {one.delivery.tag for one in left}
        backlog.acknowledge_deferred([one for one in due if one.delivery.tag not in tags])
        deferred.note_attempt(due, left, time.monotonic() - started_at)
