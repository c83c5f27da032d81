"""Which timeline Postgres is on: each failover begins another."""

from typing import LiteralString

import psycopg
import structlog
from psycopg import errors

from services.syncer import metrics
from shared import postgres

SELECT_TIMELINE: LiteralString = """
SELECT system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8)
  FROM pg_control_system()
"""

UNANSWERED = (errors.InsufficientPrivilege, errors.UndefinedFunction, errors.FeatureNotSupported)
"""What Postgres says where these functions are not for us, as at some providers."""

log = structlog.get_logger()


class Timeline:
    """Which timeline of which cluster the last connection led to."""

    def __init__(self) -> None:
        """Nothing is known before the first connection."""
        self._last: tuple[int, str] | None = None
        self._warned = False

    def detect_failover(self, conn: psycopg.Connection) -> None:
        """Report and count it if `conn` leads to another timeline than the connection before.

        Nothing depends on it: what was added up ended with its connection. Where Postgres does not
        say, there is one warning.
        """
        try:
            row = conn.execute(SELECT_TIMELINE).fetchone()
        except UNANSWERED as error:
            if not self._warned:
                log.warning("failover_not_noticed", detail=postgres.detail(error))
            self._warned = True
            return
        last, self._last = self._last, row
        if last is None or row is None or row == last:
            return
        metrics.FAILOVERS.inc()
        log.warning(
            "postgres_failed_over",
            timeline=row[1],
            timeline_before=last[1],
            same_cluster=row[0] == last[0],
        )
