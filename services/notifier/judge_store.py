"""Judging alerts, in SQL: which of them are met at a tick and were not met before.

An alert is judged by two neighbouring due ticks, and by nothing else: the balances in the tick, and
those in the due tick before it. A provider's balance in a tick is its newest row up to that tick;
without a key the provider is not there.
"""

from collections import Counter
from typing import LiteralString

import psycopg

from shared.follower import RowsGone
from shared.follower_store import Span

OPTIONS = (
    # As of the syncer: plans do not depend on how the tables looked earlier.
    "-c plan_cache_mode=force_custom_plan -c enable_seqscan=off"
    # However many providers have changed, one statement judges them.
    " -c statement_timeout=15min"
    # Who freezes in the transaction holds the row of the follower no longer than this.
    " -c idle_in_transaction_session_timeout=5s"
    " -c max_parallel_workers_per_gather=0"
    # 100,000 providers that changed, in memory.
    " -c work_mem=64MB"
)
# An alert is judged at a tick that sees the commit which added or changed it, whenever the notifier
# looks: `since_epoch` was read before that commit, perhaps some ticks before. In a dump that was
# restored, ids of transactions are another cluster's and say nothing; its ticks are long past.
IS_JUDGED: LiteralString = """since_epoch < %(epoch)s
       AND (pg_visible_in_snapshot(xid, %(snapshot)s::pg_snapshot)
            OR NOT EXISTS (
               SELECT
                 FROM tick AS since
                 JOIN tick AS judged USING (system_identifier)
                WHERE since.epoch = since_epoch
                  AND judged.epoch = %(epoch)s))"""
# For each provider that changed, the range of thresholds that it meets now and did not before. A
# balance that is the threshold is neither below nor above it: that end of the range is left out.
# Ranges are looked up in an index: to compare each of 100 alerts with each of 100,000 providers
# would take several times as long.
INSERT_CROSSINGS: LiteralString = f"""
WITH changed AS MATERIALIZED (
    SELECT DISTINCT ON (provider_id) provider_id, key, balance
      FROM balance
     WHERE epoch > %(before)s
       AND epoch <= %(epoch)s
     ORDER BY provider_id, epoch DESC
), range AS MATERIALIZED (
    SELECT c.provider_id, c.balance, b.previous, r.condition, r.least, r.most
      FROM changed c
      LEFT JOIN LATERAL (
           SELECT CASE WHEN key IS NOT NULL THEN balance END AS previous
             FROM balance
            WHERE provider_id = c.provider_id
              AND epoch <= %(before)s
            ORDER BY epoch DESC
            LIMIT 1
           ) AS b ON true
     CROSS JOIN LATERAL (
           VALUES ('below', c.balance, coalesce(b.previous, 'Infinity')),
                  ('above', coalesce(b.previous, '-Infinity'), c.balance),
                  ('change', 0, abs(c.balance - b.previous))
           ) AS r (condition, least, most)
     WHERE c.key IS NOT NULL
       AND r.least < r.most
       AND (EXISTS (
               SELECT
                 FROM alert
                WHERE provider_id IS NULL
                  AND active)
            OR c.provider_id IN (
               SELECT provider_id
                 FROM alert
                WHERE active))
), met AS (
    SELECT a.*, r.provider_id AS met_by, r.balance, r.previous
      FROM range r
      JOIN alert a ON a.provider_id = r.provider_id
                  AND a.active
                  AND a.condition = r.condition
                  AND a.threshold BETWEEN r.least AND r.most
     UNION ALL
    SELECT a.*, r.provider_id, r.balance, r.previous
      FROM range r
     CROSS JOIN LATERAL (
           SELECT *
             FROM alert
            WHERE provider_id IS NULL
              AND active
              AND condition = r.condition
              AND threshold BETWEEN r.least AND r.most
           OFFSET 0 -- so that the planner does not join them otherwise
           ) AS a
), written AS (
    INSERT INTO notification (id, alert_id, provider_id, epoch, boundary, condition, threshold,
           balance, previous)
    SELECT %(token)s || ':n:' || id || ':' || met_by, id, met_by, %(epoch)s,
           %(boundary)s::timestamptz, condition, threshold, balance, previous
      FROM met
     WHERE {IS_JUDGED}
       AND (condition = 'change' OR threshold <> balance)
    ON CONFLICT (id) DO NOTHING
    RETURNING condition
)
SELECT condition, count(*)
  FROM written
 GROUP BY condition
"""  # noqa: S608 - put together from constants
# A movement is a row of `balance`; it happened at the boundary of the first due tick that has it.
# So those of the time (P - for, T - for] are the rows after the last tick up to P - for, up to the
# last one up to T - for. Where no tick is as old as P - for, it is from the first one on: what was
# there at the beginning moved then. Silent is whose newest row is one of them.
INSERT_SILENCES: LiteralString = f"""
WITH period AS MATERIALIZED (
    SELECT a.for_seconds,
           coalesce((SELECT epoch
                       FROM tick
                      WHERE boundary <= (SELECT max(boundary)
                                           FROM tick
                                          WHERE boundary < %(boundary)s::timestamptz)
                                        - make_interval(secs => a.for_seconds)
                      ORDER BY boundary DESC
                      LIMIT 1),
                    (SELECT min(epoch) FROM tick) - 1) AS after,
           (SELECT epoch
              FROM tick
             WHERE boundary <= %(boundary)s::timestamptz - make_interval(secs => a.for_seconds)
             ORDER BY boundary DESC
             LIMIT 1) AS until
      FROM (SELECT DISTINCT for_seconds
              FROM alert
             WHERE condition = 'silent'
               AND active) AS a
), changed AS MATERIALIZED (
    SELECT DISTINCT provider_id
      FROM balance
     WHERE epoch > %(before)s
       AND epoch <= %(epoch)s
), moved AS MATERIALIZED (
    SELECT p.for_seconds, b.provider_id, b.epoch, b.key, b.balance
      FROM period p
      JOIN balance b ON b.epoch > p.after
                    AND b.epoch <= p.until
     WHERE p.for_seconds IN (
           SELECT for_seconds
             FROM alert
            WHERE provider_id IS NULL
              AND condition = 'silent'
              AND active)
       AND NOT EXISTS (
           SELECT
             FROM changed
            WHERE provider_id = b.provider_id)
), met AS (
    SELECT a.*, m.provider_id AS met_by, m.key, m.balance
      FROM moved m
     CROSS JOIN LATERAL (
           SELECT epoch
             FROM balance
            WHERE provider_id = m.provider_id
              AND epoch <= %(epoch)s
            ORDER BY epoch DESC
            LIMIT 1
           ) AS newest
      JOIN alert a ON a.provider_id IS NULL
                  AND a.for_seconds = m.for_seconds
     WHERE newest.epoch = m.epoch
     UNION ALL
    SELECT a.*, a.provider_id, b.key, b.balance
      FROM alert a
      JOIN period p ON p.for_seconds = a.for_seconds
     CROSS JOIN LATERAL (
           SELECT epoch, key, balance
             FROM balance
            WHERE provider_id = a.provider_id
              AND epoch <= %(epoch)s
            ORDER BY epoch DESC
            LIMIT 1
           ) AS b
     WHERE b.epoch > p.after
       AND b.epoch <= p.until
), written AS (
    INSERT INTO notification (id, alert_id, provider_id, epoch, boundary, condition, threshold,
           balance, previous)
    SELECT %(token)s || ':n:' || id || ':' || met_by, id, met_by, %(epoch)s,
           %(boundary)s::timestamptz, condition, threshold, balance, balance
      FROM met
     WHERE condition = 'silent'
       AND active
       AND {IS_JUDGED}
       AND key IS NOT NULL
    ON CONFLICT (id) DO NOTHING
    RETURNING condition
)
SELECT condition, count(*)
  FROM written
 GROUP BY condition
"""  # noqa: S608 - put together from constants
SELECT_KEPT: LiteralString = """
SELECT
  FROM tick
 WHERE epoch = %(before)s
"""

STATEMENTS = (INSERT_CROSSINGS, INSERT_SILENCES, SELECT_KEPT)
"""Tried out at each connection: they need all rights that judging needs."""


def judge(conn: psycopg.Connection, span: Span) -> Counter[str]:
    """Write what the alerts, as they are now, say of a tick; return how many of each condition.

    In the transaction that moves the follower's position. Raises `RowsGone` if retention has
    removed the tick before, by whose balances it is judged.
    """
    given = {
        "before": span.before.epoch,
        "epoch": span.tick.epoch,
        "token": span.tick.token,
        "boundary": span.tick.boundary,
        "snapshot": span.tick.snapshot,
    }
    written: Counter[str] = Counter()
    for query in (INSERT_CROSSINGS, INSERT_SILENCES):
        written.update(dict(conn.execute(query, given).fetchall()))
    # Afterwards: what is there now was there when it was read, and the caller rolls back.
    if not conn.execute(SELECT_KEPT, given).rowcount:
        raise RowsGone
    return written
