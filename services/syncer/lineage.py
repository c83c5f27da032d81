"""Which line of history Postgres is on: its cluster, and the timeline that each failover begins."""

from typing import LiteralString

import psycopg
import structlog

from services.syncer import metrics

SELECT_LINE: LiteralString = """
SELECT system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8)
  FROM pg_control_system()
"""

log = structlog.get_logger()


class Lineage:
    """Follows Postgres over one connection after another."""

    def __init__(self) -> None:
        """Nothing is known before the first connection."""
        self._cluster: int | None = None
        self._timeline = ""

    def follow(self, conn: psycopg.Connection) -> bool:
        """Say whether `conn` leads to another line than the connection before; report and count it.

        What the other line had lost is counted by nobody: memory ended with its connection.
        """
        row = conn.execute(SELECT_LINE).fetchone()
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
