"""The tick's SQL: what is fresh in the outbox, and the transaction that writes a tick.

Fresh is what became visible between two snapshots (PgQ's technique): with `last` the older one, a
row that is visible now is fresh exactly if `xid >= xmax(last)` or `xid` was in progress in `last`.
Ids or times would miss rows of transactions that commit late.

A tick is one statement, hence one snapshot: fresh rows, names and the stored snapshot agree.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg

from services.syncer.core import Accumulator, NewestTick, Values, Watermark
from shared.errors import Unavailable
from shared.limited_connection import without_timeout

OPTIONS = (
    # Plans do not depend on how the tables looked earlier (those of a tick: see LOCK).
    "-c plan_cache_mode=force_custom_plan -c enable_seqscan=off"
    # However many rows have gathered, one statement may count them.
    " -c statement_timeout=15min"
    # A syncer that freezes in its transaction holds the lock no longer than this.
    " -c idle_in_transaction_session_timeout=5s"
    # Starting workers takes longer than reading what became visible in half a second.
    " -c max_parallel_workers_per_gather=0"
)
"""Of the connection that folds and writes ticks."""

# Until this transaction ends, statements use generic plans: planning again took as long as
# executing. No plan can turn out wrong later: each row is found by an index.
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

# At least one row, whose provider is NULL if nothing is fresh.
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
    SELECT provider_id, coalesce(f.amount, 0) + coalesce(a.amount, 0) AS amount
      FROM fresh f
      FULL JOIN unnest(%(added_ids)s::bigint[], %(added_sums)s::numeric[])
                AS a (provider_id, amount) USING (provider_id)
), written AS (
    INSERT INTO balance (provider_id, epoch, key, key_changed, balance)
    SELECT c.provider_id, %(epoch)s, k.key,
           k.key COLLATE "C" IS DISTINCT FROM b.key, coalesce(b.balance, 0) + c.amount
      FROM change c
      LEFT JOIN LATERAL (
           SELECT (id || '_' || provider_name) COLLATE "C" AS key
             FROM initial_data
            WHERE id = c.provider_id
            LIMIT 1 -- so that each is looked up by the index, however many there are
           ) AS k ON true
      LEFT JOIN LATERAL (
           -- `BETWEEN x AND x`, not `=`: so Postgres uses the primary key. By the index on epoch it
           -- would read everything for a provider without rows.
           SELECT key, balance
             FROM balance
            WHERE provider_id BETWEEN c.provider_id AND c.provider_id
            ORDER BY provider_id DESC, epoch DESC
            LIMIT 1
           ) AS b ON true
     ORDER BY c.provider_id -- the order of the index: 100,000 rows take a quarter less time
    RETURNING key, key_changed, balance
)
INSERT INTO tick (epoch, token, boundary, interim, snapshot, system_identifier, rows, amount)
SELECT %(epoch)s, %(token)s, %(boundary)s, %(interim)s, pg_current_snapshot(),
       last.system_identifier,
       %(added_rows)s + coalesce((SELECT sum(rows) FROM fresh), 0),
       coalesce((SELECT sum(amount) FROM change), 0)
  FROM (SELECT system_identifier FROM tick ORDER BY epoch DESC LIMIT 1) AS last
 WHERE (SELECT count(*) FROM written) = (SELECT count(*) FROM change) -- else a trigger removed some
RETURNING rows, snapshot::text,
          (SELECT coalesce(bool_or(key_changed), false) FROM written),
          ARRAY(SELECT key FROM written),
          ARRAY(SELECT balance::text FROM written)
"""

TAKE_BASELINE: LiteralString = """
SELECT minutebook_take_baseline(%(epoch)s, %(token)s, %(boundary)s)
"""
TAKE_BOUNDARIES_BACK: LiteralString = """
UPDATE tick
   SET boundary = NULL
 WHERE boundary >= %(boundary)s
"""

STATEMENTS = (SELECT_NEWEST, SELECT_FRESH, INSERT_TICK, TAKE_BASELINE, TAKE_BOUNDARIES_BACK)
"""What a tick needs: tried out at each connection, before the first one is due."""

NO_TICK = "table tick is empty, and nothing says what was counted: bring its rows back"
NOT_WRITTEN = "a trigger or rule on tick or balance keeps our rows from being written"


@dataclass(frozen=True, slots=True)
class Fresh:
    """What became visible since a snapshot: sums per provider, and the age of the oldest row.

    `newest_token` is that of the newest tick: another syncer may have written one meanwhile.
    """

    snapshot: str
    newest_token: str
    sums: list[tuple[int, int]]
    rows: int
    age_s: float


@dataclass(frozen=True, slots=True)
class WrittenTick:
    """A tick that was written: what it counts, and the snapshot that the next one starts from.

    `values` is what it changes in KeyDB; None if keys came or went as well.
    """

    rows: int
    providers: int
    snapshot: str
    values: Values | None


def lock_ticks(conn: psycopg.Connection) -> None:
    """Wait until no other syncer is writing a tick. The statements after it see all it wrote."""
    conn.execute(LOCK)


def newest_tick(conn: psycopg.Connection) -> NewestTick:
    """Return the newest tick and the newest due tick. Raises `Unavailable` if there is none."""
    row = conn.execute(SELECT_NEWEST).fetchone()
    if row is None:
        raise Unavailable("postgres", NO_TICK)
    return NewestTick(*row)


def read_fresh(conn: psycopg.Connection, last: str) -> Fresh:
    """Return what became visible since the snapshot `last`. Raises as `newest_tick` does."""
    rows = conn.execute(SELECT_FRESH, fresh_after(last)).fetchall()
    if not rows:
        raise Unavailable("postgres", NO_TICK)
    changed = [row for row in rows if row[2] is not None]
    return Fresh(
        snapshot=rows[0][0],
        newest_token=rows[0][1],
        sums=[(provider_id, int(amount)) for _, _, provider_id, amount, _, _ in changed],
        rows=sum(row[4] for row in changed),
        age_s=max((row[5] for row in changed), default=0.0),
    )


def insert_tick(
    conn: psycopg.Connection, watermark: Watermark, boundary: datetime | None, added: Accumulator
) -> psycopg.Cursor:
    """Write the tick and each changed provider's new balance; without a boundary an interim tick.

    The caller holds the lock, and has seen that `added` builds on the newest tick, of this cluster.
    `written_tick` reads the cursor: after the commit, so that others need not wait for it.
    Raises `Unavailable` where somebody's trigger or rule keeps rows from being written.
    """
    parameters = as_parameters(added) | {
        "epoch": watermark.epoch,
        "token": watermark.token,
        "boundary": boundary,
        "interim": boundary is None,
    }
    cursor = conn.execute(INSERT_TICK, parameters)
    if cursor.rowcount != 1:
        raise Unavailable("postgres", NOT_WRITTEN)
    return cursor


def as_parameters(added: Accumulator) -> dict[str, object]:
    """Return what was added up in memory, for INSERT_TICK."""
    # As literals of arrays: psycopg's own take 5 ms for 1,000 elements, not 0.3.
    return {
        **fresh_after(added.snapshot),
        "added_ids": f"{{{','.join(map(str, added.sums))}}}",
        "added_sums": f"{{{','.join(map(str, added.sums.values()))}}}",
        "added_rows": added.rows,
    }


def fresh_after(snapshot: str) -> dict[str, object]:
    """Return the parameters that say what is fresh after `snapshot`.

    Taken from its text here, not by the statement: so a fold is planned for few fresh rows, mostly
    for no transaction in progress. A tick's plan is generic: it knows no values (`LOCK`).
    """
    _, xmax, xip = snapshot.split(":")
    return {"xmax": xmax, "xip": xip.split(",") if xip else []}


def written_tick(cursor: psycopg.Cursor) -> WrittenTick:
    """Return what `insert_tick` wrote."""
    ((rows, snapshot, keys_changed, keys, balances),) = cursor.fetchall()
    shown = zip(keys, balances, strict=True)
    values = {key: balance for key, balance in shown if key is not None}
    return WrittenTick(rows, len(keys), snapshot, None if keys_changed else values)


def take_baseline(conn: psycopg.Connection, watermark: Watermark, boundary: datetime) -> None:
    """Count all again from the user's tables and empty the outbox. The caller holds the lock."""
    values = {"epoch": watermark.epoch, "token": watermark.token, "boundary": boundary}
    with without_timeout(conn):  # it reads the whole history
        conn.execute(TAKE_BASELINE, values)


def take_boundaries_back(conn: psycopg.Connection, boundary: datetime) -> int:
    """Leave no tick at or after `boundary` its boundary; return how many there were.

    The clock was wrong then, and that time is in the future. What they count stays counted.
    """
    return conn.execute(TAKE_BOUNDARIES_BACK, {"boundary": boundary}).rowcount
