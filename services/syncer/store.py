"""The syncer's SQL: reads of the outbox by snapshot difference, and the tick transaction.

Fresh is what became visible between two snapshots (PgQ's technique): with `last` the older one,
a row that is visible now is fresh exactly if `xid >= xmax(last)` or `xid` was in progress in
`last`. Ids or times would miss rows of transactions that commit late.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg

from services.syncer.core import NewestTick, Watermark
from shared.errors import Unavailable
from shared.ledger.balances import NEWEST_BALANCES

# Plans must not depend on how the tables looked at the fifth execution (the tick's own: see LOCK).
# A backlog, however large, must be countable in one statement.
# A syncer that freezes in its transaction holds the lock of the others: not for long.
# Starting parallel workers takes longer than reading what became visible in half a second.
OPTIONS = (
    "-c plan_cache_mode=force_custom_plan -c enable_seqscan=off -c statement_timeout=15min"
    " -c idle_in_transaction_session_timeout=5s -c max_parallel_workers_per_gather=0"
)

# What a tick executes is planned once and not at every boundary, where planning took as long as the
# rest of it. Its statements leave no choice that could turn out wrong: each row by an index.
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

SELECT_PASSED_OVER: LiteralString = """
SELECT EXISTS (
       SELECT
         FROM tick
        WHERE epoch > %(known)s
          AND epoch < %(target)s
          AND NOT interim)
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

SELECT_ALL: LiteralString = (
    """
WITH RECURSIVE asked AS MATERIALIZED (
    SELECT %(target)s::bigint AS epoch
), """  # noqa: S608 - put together from constants
    + NEWEST_BALANCES
    + """
SELECT key, balance::text
  FROM newest_balance
 WHERE key IS NOT NULL
"""
)

SELECT_INTERVAL: LiteralString = """
SELECT extract(epoch FROM nullif(max(boundary) - min(boundary), interval '0'))::float8
  FROM (SELECT boundary
          FROM tick
         WHERE NOT interim
         ORDER BY epoch DESC
         LIMIT 2) AS last
"""

UPDATE_PUBLISHED: LiteralString = """
UPDATE tick
   SET published_at = to_timestamp(%(applied_at_s)s)
 WHERE epoch = %(epoch)s
   AND published_at IS NULL
"""

EMPTY = "table tick is empty, and nothing says what was counted: bring its rows back"


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
    """Return what became visible since the snapshot `last`. Reads only; raises as `newest_tick`."""
    rows = conn.execute(SELECT_FRESH, since(last)).fetchall()
    if not rows:
        raise Unavailable("postgres", EMPTY)
    found = [row for row in rows if row[2] is not None]
    return Fresh(
        snapshot=rows[0][0],
        newest=rows[0][1],
        sums=[(provider_id, int(amount)) for _, _, provider_id, amount, _, _ in found],
        rows=sum(row[4] for row in found),
        age_s=max((row[5] for row in found), default=0.0),
    )


def since(snapshot: str) -> dict[str, object]:
    """Return the parameters that say what is fresh after `snapshot`.

    Given as constants, not taken from the snapshot by the statement: then the planner sees that
    mostly nothing was in progress, and how few rows are fresh.
    """
    _, xmax, xip = snapshot.split(":")
    return {"xmax": xmax, "xip": xip.split(",") if xip else []}


def take_baseline(conn: psycopg.Connection, mark: Watermark, boundary: datetime) -> None:
    """Count all anew from the user's tables and empty the outbox. The caller holds the lock."""
    conn.execute(UNLIMITED)  # it reads the whole history
    conn.execute(TAKE_BASELINE, {"epoch": mark.epoch, "token": mark.token, "boundary": boundary})


def is_noted(conn: psycopg.Connection, mark: Watermark) -> bool | None:
    """Say of a tick whether it is noted when it was shown; None if this database never wrote it."""
    row = conn.execute(SELECT_NOTED, {"epoch": mark.epoch, "token": mark.token}).fetchone()
    return None if row is None else bool(row[0])


def is_next(conn: psycopg.Connection, known: int, target: int) -> bool:
    """Say whether no tick that was to be shown lies between `known` and `target`."""
    row = conn.execute(SELECT_PASSED_OVER, {"known": known, "target": target}).fetchone()
    return row == (False,)


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


def interval_s(conn: psycopg.Connection) -> float | None:
    """Return what lies between the last two boundaries; None without two of them."""
    row = conn.execute(SELECT_INTERVAL).fetchone()
    return row[0] if row else None


def note_published(conn: psycopg.Connection, epoch: int, applied_at_s: float) -> None:
    """Remember when KeyDB applied the tick, by KeyDB's clock."""
    conn.execute(UPDATE_PUBLISHED, {"epoch": epoch, "applied_at_s": applied_at_s})
