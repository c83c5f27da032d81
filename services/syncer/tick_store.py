"""The tick's SQL: what is fresh in the outbox, and the transaction that writes a tick.

Fresh is what became visible between two snapshots (PgQ's technique): with `last` the older one, a
row that is visible now is fresh exactly if `xid >= xmax(last)` or `xid` was in progress in `last`.
Ids or times would miss rows of transactions that commit late.

A tick is one statement, hence one snapshot: the remainder, the names and the stored snapshot agree.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg

from services.syncer.core import Accumulator, NewestTick, Values, Watermark
from shared.errors import Unavailable

# Plans must not depend on how the tables looked at the fifth execution (the tick's own: see LOCK).
# A backlog, however large, must be countable in one statement.
# A syncer that freezes in its transaction must not hold the lock of the others for long.
# Starting parallel workers takes longer than reading what became visible in half a second.
OPTIONS = (
    "-c plan_cache_mode=force_custom_plan -c enable_seqscan=off -c statement_timeout=15min"
    " -c idle_in_transaction_session_timeout=5s -c max_parallel_workers_per_gather=0"
)

# A tick's statements are planned once and not at every boundary, where planning took as long as the
# rest of it. They leave no choice that could turn out wrong: each row by an index.
LOCK: LiteralString = """
SELECT pg_advisory_xact_lock(hashtextextended('minutebook:tick', 0)),
       set_config('plan_cache_mode', 'force_generic_plan', true)
"""

SELECT_NEWEST: LiteralString = """
SELECT t.epoch, t.token, due.epoch, due.token, due.boundary, t.snapshot::text,
       t.system_identifier = c.system_identifier AS same_cluster, clock_timestamp()
  FROM pg_control_system() c
 CROSS JOIN (
       SELECT epoch, token, boundary
         FROM tick
        WHERE NOT interim
        ORDER BY epoch DESC
        LIMIT 1
       ) AS due
 CROSS JOIN tick t
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
        WHERE xid >= %(xmax)s::xid8
           OR xid = ANY (%(xip)s::xid8[])
        GROUP BY provider_id
       ) AS f ON true
"""

INSERT_TICK: LiteralString = """
WITH fresh AS MATERIALIZED (
    SELECT provider_id, sum(amount) AS amount, count(*) AS rows
      FROM outbox
     WHERE xid >= %(xmax)s::xid8
        OR xid = ANY (%(xip)s::xid8[])
     GROUP BY provider_id
), change AS (
    SELECT provider_id, coalesce(f.amount, 0) + coalesce(r.amount, 0) AS amount
      FROM fresh f
      FULL JOIN unnest(%(read_ids)s::bigint[], %(read_sums)s::numeric[])
                AS r (provider_id, amount) USING (provider_id)
), written AS (
    INSERT INTO balance (provider_id, epoch, key, key_changed, balance)
    SELECT c.provider_id, %(epoch)s, k.key,
           k.key COLLATE "C" IS DISTINCT FROM b.key, coalesce(b.balance, 0) + c.amount
      FROM change c
      LEFT JOIN LATERAL (
           SELECT (id || '_' || provider_name) COLLATE "C" AS key
             FROM initial_data
            WHERE id = c.provider_id
            LIMIT 1 -- looked up one by one, however many the plan was made for
           ) AS k ON true
      LEFT JOIN LATERAL (
           SELECT key, balance
             FROM balance
            WHERE provider_id = c.provider_id
            ORDER BY epoch DESC
            LIMIT 1
           ) AS b ON true
     ORDER BY c.provider_id -- in the order of the index: 100,000 rows take a quarter less
    RETURNING key, key_changed, balance
)
INSERT INTO tick (epoch, token, boundary, interim, snapshot, system_identifier, rows, amount)
SELECT %(epoch)s, %(token)s, %(boundary)s, %(interim)s, pg_current_snapshot(),
       last.system_identifier,
       %(read_rows)s + coalesce((SELECT sum(rows) FROM fresh), 0),
       coalesce((SELECT sum(amount) FROM change), 0)
  FROM (SELECT system_identifier FROM tick ORDER BY epoch DESC LIMIT 1) AS last
 WHERE (SELECT count(*) FROM written) = (SELECT count(*) FROM change) -- else a trigger took some
RETURNING rows, snapshot::text,
          (SELECT coalesce(bool_or(key_changed), false) FROM written),
          ARRAY(SELECT key FROM written),
          ARRAY(SELECT balance::text FROM written)
"""

UNLIMITED: LiteralString = "SET LOCAL statement_timeout = 0"
TAKE_BASELINE: LiteralString = """
SELECT minutebook_take_baseline(%(epoch)s, %(token)s, %(boundary)s)
"""
TAKE_BACK: LiteralString = """
UPDATE tick
   SET boundary = NULL
 WHERE boundary >= %(boundary)s
RETURNING epoch
"""

STATEMENTS = (SELECT_NEWEST, SELECT_FRESH, INSERT_TICK, TAKE_BASELINE, TAKE_BACK)
"""What a tick needs, checked at the start."""

EMPTY = "table tick is empty, and nothing says what was counted: bring its rows back"
SWALLOWED = "a trigger or rule on tick or balance keeps our rows from being written"


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
class WrittenTick:
    """A tick that was written: what it counts, and the snapshot that the next one starts from.

    `values` is what it changes in a store that shows the tick before; None if keys came or went.
    """

    rows: int
    providers: int
    snapshot: str
    values: Values | None


def lock_ticks(conn: psycopg.Connection) -> None:
    """Wait until no other syncer is writing a tick. The statements after it see all it wrote."""
    conn.execute(LOCK)


def newest_tick(conn: psycopg.Connection) -> NewestTick:
    """Return the newest tick, and the one to be shown. Raises `Unavailable` if there is none."""
    row = conn.execute(SELECT_NEWEST).fetchone()
    if row is None:
        raise Unavailable("postgres", EMPTY)
    return NewestTick(*row)


def read_fresh(conn: psycopg.Connection, last: str) -> Fresh:
    """Return what became visible since the snapshot `last`. Raises as `newest_tick` does."""
    rows = conn.execute(SELECT_FRESH, fresh_after(last)).fetchall()
    if not rows:
        raise Unavailable("postgres", EMPTY)
    changed = [row for row in rows if row[2] is not None]
    return Fresh(
        snapshot=rows[0][0],
        newest=rows[0][1],
        sums=[(provider_id, int(amount)) for _, _, provider_id, amount, _, _ in changed],
        rows=sum(row[4] for row in changed),
        age_s=max((row[5] for row in changed), default=0.0),
    )


def fresh_after(snapshot: str) -> dict[str, object]:
    """Return the parameters that say what is fresh after `snapshot`.

    As constants, not taken from the snapshot by the statement: so the planner sees that mostly
    nothing was in progress, and how few rows are fresh.
    """
    _, xmax, xip = snapshot.split(":")
    return {"xmax": xmax, "xip": xip.split(",") if xip else []}


def as_parameters(read: Accumulator) -> dict[str, object]:
    """Return what was read, for INSERT_TICK."""
    # As literals of arrays: psycopg's own take 5 ms for 1,000 elements, not 0.3.
    return {
        **fresh_after(read.snapshot),
        "read_ids": f"{{{','.join(map(str, read.sums))}}}",
        "read_sums": f"{{{','.join(map(str, read.sums.values()))}}}",
        "read_rows": read.rows,
    }


def insert_tick(
    conn: psycopg.Connection, watermark: Watermark, boundary: datetime | None, read: Accumulator
) -> psycopg.Cursor:
    """Write the tick and each changed provider's new balance; without a boundary an interim tick.

    The caller holds the lock and has seen that `read` builds on the newest tick, of this cluster.
    Returns the cursor for `written_tick`, best read after the commit. Raises `Unavailable` where
    somebody's trigger or rule keeps rows from being written.
    """
    parameters = as_parameters(read) | {
        "epoch": watermark.epoch,
        "token": watermark.token,
        "boundary": boundary,
        "interim": boundary is None,
    }
    cursor = conn.execute(INSERT_TICK, parameters)
    if cursor.rowcount != 1:
        raise Unavailable("postgres", SWALLOWED)
    return cursor


def written_tick(cursor: psycopg.Cursor) -> WrittenTick:
    """Return what `insert_tick` wrote."""
    ((rows, snapshot, keys_changed, keys, balances),) = cursor.fetchall()
    shown = zip(keys, balances, strict=True)
    values = {key: balance for key, balance in shown if key is not None}
    return WrittenTick(rows, len(keys), snapshot, None if keys_changed else values)


def take_baseline(conn: psycopg.Connection, watermark: Watermark, boundary: datetime) -> None:
    """Count all anew from the user's tables and empty the outbox. The caller holds the lock."""
    conn.execute(UNLIMITED)  # it reads the whole history
    values = {"epoch": watermark.epoch, "token": watermark.token, "boundary": boundary}
    conn.execute(TAKE_BASELINE, values)


def take_back(conn: psycopg.Connection, boundary: datetime) -> int:
    """Take their boundary from all ticks at or after `boundary`; returns how many there were.

    Time was wrong there and comes again. What they count stays counted.
    """
    return len(conn.execute(TAKE_BACK, {"boundary": boundary}).fetchall())
