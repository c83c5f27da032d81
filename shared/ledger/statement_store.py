"""The SQL of statements: the ticks between two times, and what each of them counted."""

from typing import LiteralString

SELECT_KNOWN: LiteralString = """
SELECT EXISTS (SELECT FROM initial_data WHERE id = %(provider_id)s)
    OR EXISTS (SELECT FROM balance WHERE provider_id = %(provider_id)s)
"""
# Ticks that changed the balance, each with the snapshot of the tick before it. Without one, and if
# not all of its rows are in the outbox any more, `before` is NULL.
SELECT_CHANGES: LiteralString = """
SELECT t.epoch, due.epoch, due.boundary, t.folded_at, b.balance::text, t.snapshot::text,
       CASE
       WHEN before.system_identifier = t.system_identifier
        AND t.system_identifier = (SELECT system_identifier FROM pg_control_system())
        AND pg_snapshot_xmin(before.snapshot) > ALL (
            SELECT last_xid
              FROM outbox_dropped
             WHERE system_identifier = t.system_identifier)
       THEN before.snapshot::text END
  FROM balance b
  JOIN tick t ON t.epoch = b.epoch
  LEFT JOIN LATERAL (
       SELECT snapshot, system_identifier
         FROM tick
        WHERE epoch < t.epoch
        ORDER BY epoch DESC
        LIMIT 1
       ) AS before ON true
  LEFT JOIN LATERAL (
       SELECT epoch, boundary
         FROM tick
        WHERE epoch >= t.epoch
          AND NOT interim
        ORDER BY epoch
        LIMIT 1
       ) AS due ON true
 WHERE b.provider_id = %(provider_id)s
   AND b.epoch > %(after)s
   AND b.epoch <= %(until)s
 ORDER BY b.epoch
"""
# Of some ticks at once, each numbered by its place; of one that has none a row of NULLs. From tick
# to tick and from row to row by index: what is sorted and joined is what the ticks counted.
SELECT_MOVEMENTS: LiteralString = """
SELECT c.place, o.created_at, o.operation, o.amount::text, o.transaction_id, h.message_id, o.reason
  FROM unnest(%(snapshots)s::pg_snapshot[], %(befores)s::pg_snapshot[])
       WITH ORDINALITY AS c (snapshot, before, place)
  LEFT JOIN LATERAL (
       SELECT id, created_at, operation, amount, transaction_id, reason
         FROM outbox
        WHERE (xid >= pg_snapshot_xmax(c.before) AND xid < pg_snapshot_xmax(c.snapshot)
               OR xid = ANY (ARRAY(SELECT pg_snapshot_xip(c.before))))
          AND pg_visible_in_snapshot(xid, c.snapshot)
          AND provider_id = %(provider_id)s
       ) AS o ON true
  LEFT JOIN LATERAL (
       SELECT message_id
         FROM historical_transactions
        WHERE id = o.transaction_id
          AND o.operation = 'added'
        LIMIT 1
       ) AS h ON true
 ORDER BY c.place, o.id
"""
