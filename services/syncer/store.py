"""The syncer's SQL: reads of the outbox by snapshot difference, and the tick transaction.

Fresh is what became visible between two snapshots (PgQ's technique): with `last` the older one,
a row that is visible now is fresh exactly if `xid >= xmax(last)` or `xid` was in progress in
`last`. Ids or times would miss rows of transactions that commit late.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg

from services.syncer.core import Memory, NewestTick, Watermark

# Plans must not depend on how the tables looked at the fifth execution.
# A backlog, however large, must be countable in one statement.
# A syncer that freezes in its transaction holds the lock of the others: not for long.
OPTIONS = (
    "-c plan_cache_mode=force_custom_plan -c enable_seqscan=off -c statement_timeout=15min"
    " -c idle_in_transaction_session_timeout=5s"
)

LOCK: LiteralString = "SELECT pg_advisory_xact_lock(hashtextextended('minutebook:tick', 0))"

SELECT_NEWEST: LiteralString = """
SELECT t.epoch, t.token, t.boundary, t.snapshot::text,
       t.system_identifier = c.system_identifier AS same_cluster
  FROM tick t,
       pg_control_system() c
 ORDER BY t.epoch DESC
 LIMIT 1
"""

SELECT_FRESH: LiteralString = """
SELECT pg_current_snapshot()::text, newest.token, f.provider_id, f.amount::text, f.rows, f.age_s
  FROM (SELECT token FROM tick ORDER BY epoch DESC LIMIT 1) AS newest
  LEFT JOIN (
       SELECT provider_id, sum(amount) AS amount, count(*) AS rows,
              extract(epoch FROM clock_timestamp() - min(created_at))::float8 AS age_s
         FROM outbox
        WHERE xid >= pg_snapshot_xmax(%(last)s::pg_snapshot)
           OR xid = ANY (ARRAY(SELECT pg_snapshot_xip(%(last)s::pg_snapshot)))
        GROUP BY provider_id
       ) AS f ON true
"""

# One statement, hence one snapshot: the remainder, the names and the stored snapshot agree.
INSERT_TICK: LiteralString = """
WITH fresh AS MATERIALIZED (
    SELECT provider_id, sum(amount) AS amount, count(*) AS rows
      FROM outbox
     WHERE xid >= pg_snapshot_xmax(%(last)s::pg_snapshot)
        OR xid = ANY (ARRAY(SELECT pg_snapshot_xip(%(last)s::pg_snapshot)))
     GROUP BY provider_id
), change AS (
    SELECT provider_id, sum(amount) AS amount
      FROM (SELECT provider_id, amount FROM fresh
             UNION ALL
            SELECT * FROM unnest(%(held_ids)s::bigint[], %(held_sums)s::numeric[])) AS entry
     GROUP BY provider_id
), written AS (
    INSERT INTO balance (provider_id, epoch, key, key_changed, balance)
    SELECT c.provider_id, %(epoch)s, k.key, k.key COLLATE "C" IS DISTINCT FROM b.key,
           coalesce(b.balance, 0) + c.amount
      FROM change c
      LEFT JOIN initial_data p ON p.id = c.provider_id
     CROSS JOIN LATERAL (SELECT (p.id || '_' || p.provider_name) COLLATE "C" AS key) AS k
      LEFT JOIN LATERAL (
           SELECT key, balance
             FROM balance
            WHERE provider_id = c.provider_id
            ORDER BY epoch DESC
            LIMIT 1
           ) AS b ON true
)
INSERT INTO tick (epoch, token, boundary, snapshot, system_identifier, rows, amount)
SELECT %(epoch)s, %(token)s, %(boundary)s, pg_current_snapshot(), c.system_identifier,
       %(held_rows)s + coalesce((SELECT sum(rows) FROM fresh), 0),
       coalesce((SELECT sum(amount) FROM change), 0)
  FROM pg_control_system() c
RETURNING rows, amount::text, snapshot::text, (SELECT count(*) FROM change)
"""

UNLIMITED: LiteralString = "SET LOCAL statement_timeout = 0"

TAKE_BASELINE: LiteralString = """
SELECT minutebook_take_baseline(%(epoch)s, %(token)s, %(boundary)s)
"""

SELECT_NOTED: LiteralString = """
SELECT published_at IS NOT NULL
  FROM tick
 WHERE epoch = %(epoch)s
   AND token = %(token)s
"""

SELECT_CHANGED: LiteralString = """
SELECT DISTINCT ON (provider_id) provider_id, key, balance::text, key_changed
  FROM balance
 WHERE epoch > %(known)s
   AND epoch <= %(target)s
 ORDER BY provider_id, epoch DESC
"""

# KeyDB shows exactly what held at `known`, so only those keys can have to go.
SELECT_OLD_KEYS: LiteralString = """
SELECT b.key
  FROM (SELECT DISTINCT provider_id
          FROM balance
         WHERE epoch > %(known)s
           AND epoch <= %(target)s
           AND key_changed) AS c
 CROSS JOIN LATERAL (
       SELECT key
         FROM balance
        WHERE provider_id = c.provider_id
          AND epoch <= %(known)s
        ORDER BY epoch DESC
        LIMIT 1
       ) AS b
 WHERE b.key IS NOT NULL
"""

SELECT_ALL: LiteralString = """
SELECT key, balance
  FROM (SELECT DISTINCT ON (provider_id) key, balance::text
          FROM balance
         WHERE epoch <= %(target)s
         ORDER BY provider_id, epoch DESC) AS newest
 WHERE key IS NOT NULL
"""

UPDATE_PUBLISHED: LiteralString = """
UPDATE tick
   SET published_at = to_timestamp(%(applied_at_s)s)
 WHERE epoch = %(epoch)s
   AND published_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Fresh:
    """What became visible since a snapshot: sums per provider, and the age of the oldest row.

    `newest` is the token of the newest tick: another syncer may have written one meanwhile.
    """

    snapshot: str
    newest: str
    sums: list[tuple[int, int]]
    rows: int
    age_s: float


@dataclass(frozen=True, slots=True)
class Written:
    """A tick that was written: what it counts, and the snapshot that the next one starts from."""

    rows: int
    amount: int
    snapshot: str
    providers: int


def lock_ticks(conn: psycopg.Connection) -> None:
    """Wait until no other syncer is writing a tick. The statements after it see all it wrote."""
    conn.execute(LOCK)


def newest_tick(conn: psycopg.Connection) -> NewestTick:
    """Return the newest tick; there is always one, the baseline."""
    row = conn.execute(SELECT_NEWEST).fetchone()
    if row is None:
        raise LookupError("no baseline: the tick table is empty")
    return NewestTick(*row)


def read_fresh(conn: psycopg.Connection, last: str) -> Fresh:
    """Return what became visible since the snapshot `last`. Reads only; writes nothing."""
    rows = conn.execute(SELECT_FRESH, {"last": last}).fetchall()
    found = [row for row in rows if row[2] is not None]
    return Fresh(
        snapshot=rows[0][0],
        newest=rows[0][1],
        sums=[(provider_id, int(amount)) for _, _, provider_id, amount, _, _ in found],
        rows=sum(row[4] for row in found),
        age_s=max((row[5] for row in found), default=0.0),
    )


def insert_tick(
    conn: psycopg.Connection, mark: Watermark, boundary: datetime, memory: Memory
) -> Written:
    """Write the tick and, for each changed provider, its new balance. The caller holds the lock."""
    row = conn.execute(
        INSERT_TICK,
        {
            "last": memory.snapshot,
            "held_ids": list(memory.sums),
            "held_sums": [str(amount) for amount in memory.sums.values()],
            "held_rows": memory.rows,
            "epoch": mark.epoch,
            "token": mark.token,
            "boundary": boundary,
        },
    ).fetchone()
    if row is None:
        raise LookupError("the tick was not written")
    return Written(rows=int(row[0]), amount=int(row[1]), snapshot=row[2], providers=row[3])


def take_baseline(conn: psycopg.Connection, mark: Watermark, boundary: datetime) -> None:
    """Count all anew from the user's tables and empty the outbox. The caller holds the lock."""
    conn.execute(UNLIMITED)  # it reads the whole history
    conn.execute(TAKE_BASELINE, {"epoch": mark.epoch, "token": mark.token, "boundary": boundary})


def is_noted(conn: psycopg.Connection, mark: Watermark) -> bool | None:
    """Say of a tick whether it is noted when it was shown; None if this database never wrote it."""
    row = conn.execute(SELECT_NOTED, {"epoch": mark.epoch, "token": mark.token}).fetchone()
    return None if row is None else bool(row[0])


def changes(conn: psycopg.Connection, known: int, target: int) -> tuple[dict[str, str], set[str]]:
    """Return what takes a store from epoch `known` to `target`: values to set, keys to remove."""
    span = {"known": known, "target": target}
    rows = conn.execute(SELECT_CHANGED, span).fetchall()
    values = {key: balance for _, key, balance, _ in rows if key is not None}
    old = {key for (key,) in conn.execute(SELECT_OLD_KEYS, span)}
    return values, old - values.keys()


def everything(conn: psycopg.Connection, target: int) -> dict[str, str]:
    """Return all that a store has to show at epoch `target`."""
    return dict(conn.execute(SELECT_ALL, {"target": target}).fetchall())


def note_published(conn: psycopg.Connection, epoch: int, applied_at_s: float) -> None:
    """Remember when KeyDB applied the tick, by KeyDB's clock."""
    conn.execute(UPDATE_PUBLISHED, {"epoch": epoch, "applied_at_s": applied_at_s})
