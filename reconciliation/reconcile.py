"""Three accounts of the same money compared, without a lock.

`initial_value` + the user's transactions; the newest balances + the outbox beyond them, both seen
by one statement, hence at one snapshot; and KeyDB, against the balances of the tick it shows: those
are written once, so they are the same in every snapshot.
"""

import time
from typing import LiteralString

import psycopg

from reconciliation import drift
from services.syncer import publish_store, tick_store
from services.syncer.core import ObservedWatermark
from services.syncer.projection import Projection, WatermarkChanged
from shared import postgres
from shared.errors import Unanswerable, Unavailable
from shared.ledger.balances import NEWEST_BALANCES

DRIFTS_MAX = 1000
"""How many differences of each kind are described; all are counted."""
ATTEMPTS_MAX = 5
"""How often KeyDB is read again because it was published to meanwhile."""

# READ COMMITTED on purpose: a statement that had to wait for tables that change places (partitions
# repaired or dropped) then sees all of the new ones. The syncer's own connections avoid sequential
# scans; the whole history is best read by nothing else.
FOR_THE_WHOLE_HISTORY: LiteralString = """
SET LOCAL transaction_isolation = 'read committed';
SET LOCAL enable_seqscan = on;
SET LOCAL work_mem = '64MB';
SET LOCAL statement_timeout = '15min'
"""

# The range of xids ends where the snapshot does, only so that the planner expects few rows.
ACCOUNTS: LiteralString = (
    """
WITH RECURSIVE asked AS MATERIALIZED (
    SELECT t.epoch, t.snapshot, t.system_identifier = c.system_identifier AS same_cluster
      FROM tick t,
           pg_control_system() c
     ORDER BY t.epoch DESC
     LIMIT 1
), """  # noqa: S608 - put together from constants
    + NEWEST_BALANCES
    + """, history AS MATERIALIZED (
    SELECT provider_id, coalesce(sum(transaction_value), 0)::numeric AS amount, count(*) AS rows
      FROM historical_transactions
     WHERE provider_id IS NOT NULL
     GROUP BY provider_id
), unfolded AS MATERIALIZED (
    SELECT provider_id, sum(amount) AS amount
      FROM (SELECT provider_id, amount
              FROM outbox
             WHERE xid >= pg_snapshot_xmax((SELECT snapshot FROM asked))
               AND xid < pg_snapshot_xmax(pg_current_snapshot())
             UNION ALL
            SELECT provider_id, amount
              FROM outbox
             WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip((SELECT snapshot FROM asked))))
           ) AS fresh
     GROUP BY provider_id
), account AS MATERIALIZED (
    SELECT provider_id, p.id IS NOT NULL AS present, coalesce(h.rows, 0) AS transactions,
           coalesce(p.initial_value, 0)::numeric + coalesce(h.amount, 0) AS truth,
           coalesce(b.balance, 0) AS balance, coalesce(u.amount, 0) AS unfolded,
           (p.id || '_' || p.provider_name) COLLATE "C" AS key, b.key AS shown,
           u.provider_id IS NOT NULL AS changing
      FROM (SELECT id AS provider_id, id, provider_name, initial_value FROM initial_data) AS p
      FULL JOIN history h USING (provider_id)
      FULL JOIN newest_balance b USING (provider_id)
      FULL JOIN unfolded u USING (provider_id)
), drift AS MATERIALIZED (
    SELECT provider_id, truth, balance, unfolded, key, shown
      FROM account
     WHERE truth <> balance + unfolded
        OR key IS DISTINCT FROM shown COLLATE "C" AND NOT changing -- else the next tick renames
)
"""
)

SELECT_LEDGER: LiteralString = (
    ACCOUNTS  # noqa: S608 - put together from constants
    + """
SELECT asked.epoch, asked.same_cluster, total.providers, total.transactions,
       -- In the first row only: a thousand copies of ten thousand ids would be 10 M of them.
       CASE WHEN coalesce(d.place, 1) = 1 THEN ARRAY(SELECT provider_id FROM drift) END,
       d.provider_id, d.truth::text, d.balance::text, d.unfolded::text, d.key, d.shown
  FROM asked
 CROSS JOIN (
       SELECT count(*) FILTER (WHERE present) AS providers,
              coalesce(sum(transactions), 0)::bigint AS transactions
         FROM account
       ) AS total
  LEFT JOIN (
       SELECT *, row_number() OVER (ORDER BY provider_id) AS place
         FROM drift
        ORDER BY provider_id
        LIMIT %(drifts_max)s
       ) AS d ON true
 ORDER BY d.provider_id
"""
)


def run(conn: psycopg.Connection, projection: Projection | None) -> drift.Report:
    """Compare the accounts; without a `projection`, those in Postgres.

    Reads the whole history once: seconds for ten million rows. `conn` is at rest, and not one that
    ticks wait for. Raises `Unanswerable` in a cluster to which the database has just moved, and
    `Unavailable` of Postgres; KeyDB's trouble is a state of its comparison.
    """
    started = time.monotonic()
    keydb = compare_keydb(conn, projection) if projection else drift.KeydbComparison("not_asked")
    with postgres.translating():
        ledger = compare_ledger(conn)
    return drift.Report(ledger, keydb, time.monotonic() - started)


def compare_ledger(conn: psycopg.Connection) -> drift.LedgerComparison:
    """Compare the user's tables with the ledger, at one snapshot. Raises psycopg's errors."""
    with conn.transaction():
        conn.execute(FOR_THE_WHOLE_HISTORY)
        rows = conn.execute(SELECT_LEDGER, {"drifts_max": DRIFTS_MAX}).fetchall()
    if not rows:
        raise Unanswerable(tick_store.NO_TICK)
    epoch, same_cluster, providers, transactions, drifting = rows[0][:5]
    if not same_cluster:
        raise Unanswerable(
            "the database moved to another cluster: the next tick counts everything again"
        )
    drifts = tuple(
        drift.LedgerDrift(provider_id, int(truth), int(balance), int(unfolded), key, shown)
        for *_, provider_id, truth, balance, unfolded, key, shown in rows
        if provider_id is not None
    )
    return drift.LedgerComparison(epoch, providers, transactions, frozenset(drifting), drifts)


def compare_keydb(conn: psycopg.Connection, projection: Projection) -> drift.KeydbComparison:
    """Compare KeyDB with the balances of the tick it shows. Raises `Unavailable` of Postgres."""
    for _ in range(ATTEMPTS_MAX):
        try:
            return _read_keydb(conn, projection, projection.read())
        except WatermarkChanged:
            continue  # a tick was published meanwhile
        except Unavailable as error:
            if error.server != "keydb":
                raise
            return drift.KeydbComparison("unreachable")
    return drift.KeydbComparison("moving")


def _read_keydb(
    conn: psycopg.Connection, projection: Projection, observed: ObservedWatermark
) -> drift.KeydbComparison:
    with postgres.translating():
        if observed.watermark is None or not publish_store.is_ours(conn, observed.watermark):
            return drift.KeydbComparison("unknown")
        expected = publish_store.everything(conn, observed.watermark.epoch)
    listed = projection.keys(observed)
    drifting: set[str] = set()
    drifts: list[drift.KeydbDrift] = []
    for part in projection.values(observed, expected.keys() | listed):
        for one in drift.compare(expected, listed, part):
            drifting.add(one.key)
            drifts += [one] if len(drifts) < DRIFTS_MAX else []
    epoch, keys = observed.watermark.epoch, len(expected)
    return drift.KeydbComparison("compared", epoch, keys, frozenset(drifting), tuple(drifts))
