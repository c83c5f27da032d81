"""What Postgres is asked for `ops status`. Reads only."""

from collections.abc import Callable
from typing import LiteralString

import psycopg

from ops.followers import store as followers
from ops.status.snapshot import Blocked, Dead, LastTick, Ledger, Requests
from shared import postgres
from shared.ledger import disk_usage

FOLLOWERS_SINCE = 6
"""The schema that has them first."""
REQUESTS_SINCE = 7

SELECT_SERVER: LiteralString = """
SELECT split_part(current_setting('server_version'), ' ', 1), clock_timestamp(),
       to_regclass('schema_migration') IS NOT NULL
"""
SELECT_TICK: LiteralString = """
SELECT t.epoch, t.token, t.boundary, t.folded_at, t.published_at,
       t.system_identifier = c.system_identifier, t.snapshot::text
  FROM tick t,
       pg_control_system() c
 WHERE NOT t.interim
 ORDER BY t.epoch DESC
 LIMIT 1
"""
# The least gap between the last boundaries: a missed tick makes a gap larger, nothing smaller.
SELECT_INTERVAL: LiteralString = """
SELECT extract(epoch FROM min(gap))::float8
  FROM (SELECT boundary - lag(boundary) OVER (ORDER BY epoch) AS gap
          FROM (SELECT epoch, boundary
                  FROM tick
                 WHERE NOT interim
                 ORDER BY epoch DESC
                 LIMIT 20) AS last) AS gaps
 WHERE gap > interval '0'
"""
COUNT_UNFOLDED: LiteralString = """
SELECT count(*), extract(epoch FROM clock_timestamp() - min(created_at))::float8
  FROM outbox
 WHERE xid >= pg_snapshot_xmax(%(last)s::pg_snapshot)
    OR xid = ANY (ARRAY(SELECT pg_snapshot_xip(%(last)s::pg_snapshot)))
"""
COUNT_DEFAULT: LiteralString = "SELECT count(*) FROM outbox_default"
COUNT_PROVIDERS: LiteralString = "SELECT count(*) FROM initial_data"
COUNT_DEAD: LiteralString = """
SELECT state, reason, count(*), min(received_at)
  FROM dead_letter
 GROUP BY state, reason
 ORDER BY state, count(*) DESC, reason
"""
# A service that waits for a lock does not do its work, and nothing else shows why.
SELECT_BLOCKED: LiteralString = """
SELECT substr(application_name, 12), pg_blocking_pids(pid),
       extract(epoch FROM clock_timestamp() - query_start)::float8
  FROM pg_stat_activity
 WHERE datname = current_database()
   AND application_name IN
       ('minutebook-ingest', 'minutebook-syncer', 'minutebook-feed', 'minutebook-notifier',
        'minutebook-tracker', 'minutebook-gateway', 'minutebook-observer')
   AND wait_event_type = 'Lock'
 ORDER BY 3 DESC
"""
# Each by the index of what is not done; no row where there never was a tracker or a request.
SELECT_REQUESTS: LiteralString = """
SELECT count(*), extract(epoch FROM clock_timestamp() - min(accepted_at))::float8,
       (SELECT count(*)
          FROM request
         WHERE state = 'failed'
           AND accepted_at > clock_timestamp() - interval '1 day')
  FROM request
 WHERE state <> 'done'
   AND state IN ('pending', 'running')
HAVING EXISTS (SELECT FROM follower WHERE name = 'tracker')
    OR EXISTS (SELECT FROM request)
"""
SELECT_KNOWN: LiteralString = """
SELECT EXISTS (SELECT FROM tick WHERE epoch = %(epoch)s AND token = %(token)s)
"""


def count_providers(conn: psycopg.Connection) -> int:
    """Return how many providers there are: a million take a fifth of a second."""
    return int(postgres.scalar(conn, COUNT_PROVIDERS))


def read(
    conn: psycopg.Connection,
    disk_bytes: float | None = None,
    providers: Callable[[psycopg.Connection], int] = count_providers,
) -> Ledger:
    """Return what Postgres knows; little of it where our schema is missing.

    `disk_bytes` is the size of its disk, None if that is not known; `providers` counts them.
    """
    row = conn.execute(SELECT_SERVER).fetchone()
    if row is None:
        raise LookupError(SELECT_SERVER)
    version, now, migrated = row
    if not migrated:
        return Ledger(version, now, 0, missing=postgres.missing_schema(conn))
    schema = int(postgres.scalar(conn, postgres.SELECT_SCHEMA_VERSION))
    found = conn.execute(SELECT_TICK).fetchone() if schema else None
    if found is None:
        return Ledger(version, now, schema)
    *tick, snapshot = found
    last = LastTick(*tick)
    unfolded = conn.execute(COUNT_UNFOLDED, {"last": snapshot}).fetchone() or (0, None)
    return Ledger(
        version,
        now,
        schema,
        last,
        interval_s=(conn.execute(SELECT_INTERVAL).fetchone() or (None,))[0],
        # Another cluster's snapshot says nothing about these rows.
        unfolded_rows=unfolded[0] if last.same_cluster else 0,
        unfolded_age_s=unfolded[1] if last.same_cluster else None,
        default_partition_rows=int(postgres.scalar(conn, COUNT_DEFAULT)),
        providers=providers(conn),
        blocked=[Blocked(*one) for one in conn.execute(SELECT_BLOCKED)],
        dead=[Dead(*one) for one in conn.execute(COUNT_DEAD)],
        followers=followers.everyone(conn) if schema >= FOLLOWERS_SINCE else [],
        disk=disk_usage.read(conn, disk_bytes),
        requests=_requests(conn) if schema >= REQUESTS_SINCE else None,
    )


def _requests(conn: psycopg.Connection) -> Requests | None:
    row = conn.execute(SELECT_REQUESTS).fetchone()
    return Requests(*row) if row else None


def is_known(conn: psycopg.Connection, epoch: int, token: str) -> bool:
    """Say whether this database wrote the tick that KeyDB shows."""
    row = conn.execute(SELECT_KNOWN, {"epoch": epoch, "token": token}).fetchone()
    return row == (True,)
