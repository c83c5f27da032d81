"""A tick recomputed from the outbox rows that are kept, compared with what it wrote.

The rows of a tick are those that its snapshot sees and the snapshot of the tick before does not.
What an interim tick wrote belongs to the tick that shows it.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import LiteralString

import psycopg

from services.syncer.core import rfc3339
from shared import postgres
from shared.errors import Unanswerable

DIFFERENCES_MAX = 1000
"""How many differing providers are returned; all are counted."""

SELECT_TICK: LiteralString = """
SELECT t.epoch, t.boundary, t.snapshot::text, noted.rows,
       t.system_identifier = c.system_identifier AS same_cluster,
       p.snapshot::text, p.system_identifier = t.system_identifier AS continued,
       noted.amount, p.epoch
  FROM pg_control_system() c
 CROSS JOIN tick t
  LEFT JOIN LATERAL (
       SELECT epoch, snapshot, system_identifier
         FROM tick
        WHERE epoch < t.epoch
          AND NOT interim
        ORDER BY epoch DESC
        LIMIT 1
       ) AS p ON true
 CROSS JOIN LATERAL (
       SELECT sum(rows)::bigint AS rows, sum(amount) AS amount
         FROM tick
        WHERE epoch > coalesce(p.epoch, t.epoch - 1)
          AND epoch <= t.epoch
       ) AS noted
 WHERE t.epoch = %(epoch)s
    OR t.boundary = %(boundary)s
"""

# An old tick's rows are few among many: never all of them.
INDEXES_ONLY: LiteralString = "SET LOCAL enable_seqscan = off"

SELECT_DIFFERENCES: LiteralString = """
WITH counted AS MATERIALIZED (
    SELECT provider_id, sum(amount) AS amount, count(*) AS rows
      FROM (SELECT provider_id, amount
              FROM outbox
             WHERE xid >= pg_snapshot_xmax(%(before)s::pg_snapshot)
               AND xid < pg_snapshot_xmax(%(snapshot)s::pg_snapshot)
               AND pg_visible_in_snapshot(xid, %(snapshot)s::pg_snapshot)
             UNION ALL
            SELECT provider_id, amount
              FROM outbox
             WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip(%(before)s::pg_snapshot)))
               AND pg_visible_in_snapshot(xid, %(snapshot)s::pg_snapshot)) AS fresh
     GROUP BY provider_id
), written AS MATERIALIZED (
    SELECT b.provider_id, b.balance - coalesce(p.balance, 0) AS amount
      FROM (SELECT DISTINCT ON (provider_id) provider_id, balance
              FROM balance
             WHERE epoch > %(epoch_before)s
               AND epoch <= %(epoch)s
             ORDER BY provider_id, epoch DESC) AS b
      LEFT JOIN LATERAL (
           SELECT balance
             FROM balance
            WHERE provider_id = b.provider_id
              AND epoch <= %(epoch_before)s
            ORDER BY epoch DESC
            LIMIT 1
           ) AS p ON true
), total AS (
    SELECT coalesce(sum(rows), 0)::bigint AS rows, coalesce(sum(amount), 0) AS amount
      FROM counted
), difference AS MATERIALIZED (
    SELECT provider_id, c.amount AS counted, w.amount AS written, coalesce(c.rows, 0) AS rows
      FROM counted c
      FULL JOIN written w USING (provider_id)
     WHERE c.amount IS DISTINCT FROM w.amount
)
SELECT t.rows, t.amount::text, (SELECT count(*) FROM difference),
       d.provider_id, d.counted::text, d.written::text, d.rows
  FROM total t
  LEFT JOIN (SELECT * FROM difference ORDER BY provider_id LIMIT %(differences_max)s) AS d ON true
 ORDER BY d.provider_id
"""

SELECT_DROPPED: LiteralString = """
SELECT EXISTS (
       SELECT
         FROM outbox_dropped d
         JOIN pg_control_system() c ON c.system_identifier = d.system_identifier
        WHERE d.last_xid >= pg_snapshot_xmin(%(before)s::pg_snapshot))
"""


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick as written, with the interim ticks that it shows.

    `before` and `epoch_before` are snapshot and epoch of the one before, if that is kept.
    """

    epoch: int
    boundary: datetime | None
    snapshot: str
    rows: int
    same_cluster: bool
    before: str | None
    continued: bool | None
    amount: Decimal
    epoch_before: int | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A provider of which the tick wrote something else than its `rows` add up to.

    `counted` is their sum, `written` what the tick added to the balance; None where there is none.
    """

    provider_id: int
    counted: int | None
    written: int | None
    rows: int


@dataclass(frozen=True, slots=True)
class Audit:
    """`tick` and what its outbox rows say: how many, what sum, and where that differs.

    `differing` counts the providers of which `differences` has the first `DIFFERENCES_MAX`.
    """

    tick: Tick
    rows: int
    amount: int
    differing: int
    differences: tuple[Difference, ...]

    @property
    def clean(self) -> bool:
        """Say whether the tick wrote exactly what its rows add up to."""
        as_noted = (self.rows, self.amount) == (self.tick.rows, int(self.tick.amount))
        return as_noted and not self.differing


def audit(
    conn: psycopg.Connection, *, epoch: int | None = None, boundary: datetime | None = None
) -> Audit:
    """Recompute the tick of `epoch`, or of `boundary`, in READ COMMITTED on a connection at rest.

    Raises `Unanswerable` for no such tick, a baseline, a tick of another cluster, and one whose
    rows, or whose predecessor, retention has removed; and `Unavailable`.
    """
    with postgres.translating():
        row = conn.execute(SELECT_TICK, {"epoch": epoch, "boundary": boundary}).fetchone()
        if row is None:
            raise Unanswerable(
                f"there is no tick {epoch if boundary is None else rfc3339(boundary)}"
            )
        tick = Tick(*row)
        before = check(tick)
        done = _recompute(conn, tick, before)
        if done.rows < tick.rows:
            # A statement after the count: a partition that was missing then is noted by now.
            dropped = conn.execute(SELECT_DROPPED, {"before": before}).fetchone() == (True,)
            check_kept(done, dropped=dropped)
    return done


def check(tick: Tick) -> str:
    """Return the snapshot that `tick` continued from. Raises `Unanswerable` if there is none."""
    if not tick.same_cluster:
        raise Unanswerable(f"tick {tick.epoch} was written in another cluster")
    if (tick.boundary is None and tick.before is None) or tick.continued is False:
        raise Unanswerable(f"tick {tick.epoch} is a baseline: it counted the tables themselves")
    if tick.before is None:
        raise Unanswerable(f"the tick before {tick.epoch} was pruned (HISTORY_RETENTION_DAYS)")
    return tick.before


def check_kept(found: Audit, *, dropped: bool) -> None:
    """Raise `Unanswerable` if the missing rows can be those that retention `dropped`."""
    if dropped:
        raise Unanswerable(
            f"of the {found.tick.rows} outbox rows of tick {found.tick.epoch} only {found.rows}"
            " are kept (OUTBOX_RETENTION_HOURS)"
        )


def _recompute(conn: psycopg.Connection, tick: Tick, before: str) -> Audit:
    query = {
        "epoch": tick.epoch,
        "epoch_before": tick.epoch_before,
        "before": before,
        "snapshot": tick.snapshot,
        "differences_max": DIFFERENCES_MAX,
    }
    with conn.transaction():
        conn.execute(INDEXES_ONLY)
        rows = conn.execute(SELECT_DIFFERENCES, query).fetchall()
    return Audit(
        tick=tick,
        rows=rows[0][0],
        amount=int(rows[0][1]),
        differing=rows[0][2],
        differences=tuple(
            Difference(provider_id, _number(counted), _number(written), count)
            for _, _, _, provider_id, counted, written, count in rows
            if provider_id is not None
        ),
    )


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
