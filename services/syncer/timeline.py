"""Which line of history Postgres is on: its cluster, and the timeline that each failover begins."""

from typing import LiteralString

import psycopg
import structlog
from psycopg import errors

from services.syncer import metrics
from shared import postgres

SELECT_LINE: LiteralString = """
SELECT system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8)
  FROM pg_control_system()
"""

UNANSWERED = (
    errors.InsufficientPrivilege,
    errors.UndefinedFunction,
    errors.FeatureNotSupported,
)
"""What Postgres says where somebody keeps these functions to himself, as managed ones may."""

log = structlog.get_logger()


class Timeline:
    """Follows Postgres over one connection after another."""

    def __init__(self) -> None:
        """Nothing is known before the first connection."""
        self._cluster: int | None = None
        self._timeline = ""
        self._warned = False

    def detect_failover(self, conn: psycopg.Connection) -> bool:
        """Say whether `conn` leads to another line than the connection before; report and count it.

        What the other line had lost is counted by nobody: memory ended with its connection. So
        nothing depends on this; where Postgres does not say, there is one warning and no report.
        """
        try:
            row = conn.execute(SELECT_LINE).fetchone()
        except UNANSWERED as error:
            if not self._warned:
                log.warning("failover_not_noticed", detail=postgres.detail(error))
            self._warned = True
            return False
        cluster, timeline = row or (None, "")
        before = (self._cluster, self._timeline)
        self._cluster, self._timeline = cluster, timeline
        if before[0] is None or before == (cluster, timeline):
            return False
        metrics.FAILOVERS.inc()
        log.warning(
            "postgres_failed_over",
            timeline=timeline,
            timeline_before=before[1],
            same_cluster=cluster == before[0],
        )
        return True
