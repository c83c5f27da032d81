"""The SQL of requests: what became of the items of each, and what is known of it.

Whatever is kept, a request costs a few look-ups by index for each of its items that is not decided.
"""

from typing import LiteralString

# The items of requests `asked`, and what each is now: the first that holds. `writer` is the
# Postgres transaction that wrote the row, or that changed or deleted it since. OFFSET 0 keeps each
# look-up one of its own: joined otherwise, all rows that are kept might be read. A dead letter is
# the item's if it has its bytes, too: another message of this identity may have been one.
ITEMS: LiteralString = """
clock AS MATERIALIZED (
    SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS now
), item AS MATERIALIZED (
    SELECT a.id, i.number, h.row_id,
           h.alike IS TRUE OR n.xid IS NOT NULL AS stored,
           CASE WHEN h.alike THEN (now - ((now - h.xmin) & 4294967295))::text::xid8
                ELSE n.xid
           END AS writer,
           h.alike IS NULL AND d.state IS NOT DISTINCT FROM 'waiting' AS waiting,
           d.state IS NOT NULL AS is_dead_letter,
           CASE WHEN h.alike IS TRUE OR n.xid IS NOT NULL THEN NULL
                WHEN h.alike IS FALSE THEN 'id_conflict'
                WHEN d.state = 'open' THEN d.reason
           END AS reason,
           CASE WHEN h.alike IS FALSE
                THEN 'a transaction with this identity and other content exists'
                ELSE d.error
           END AS error
      FROM asked a
     CROSS JOIN clock
     CROSS JOIN LATERAL unnest(a.numbers, a.provider_ids, a."values", a.message_ids,
                               a.bodies_sha256)
           AS i (number, provider_id, value, message_id, body_sha256)
      LEFT JOIN LATERAL (
           SELECT id AS row_id, xmin::text::bigint AS xmin,
                  coalesce(provider_id = i.provider_id AND transaction_value = i.value, false)
                  AS alike
             FROM historical_transactions
            WHERE message_id = i.message_id
           OFFSET 0
           ) AS h ON true
      LEFT JOIN LATERAL (
           SELECT xid
             FROM received_message
            WHERE message_id = i.message_id
              AND provider_id = i.provider_id
              AND value = i.value
              AND h.alike IS NOT TRUE
           OFFSET 0
           ) AS n ON true
      LEFT JOIN LATERAL (
           SELECT state, reason, error
             FROM dead_letter
            WHERE message_id = i.message_id
              AND body_sha256 = i.body_sha256
              AND h.alike IS NOT TRUE
              AND n.xid IS NULL
           OFFSET 0
           ) AS d ON true
)
"""
"""Common table expressions that need one before them, `asked`: rows of `request`."""

ERRORS: LiteralString = """
jsonb_agg(jsonb_build_object('item', number, 'reason', reason, 'error', error) ORDER BY number)
FILTER (WHERE reason IS NOT NULL)
"""

SELECT_FATES: LiteralString = (
    """
WITH asked AS MATERIALIZED (
    SELECT *
      FROM request
     WHERE id = ANY (%(ids)s)
       AND decided_at IS NULL
), """  # noqa: S608 - put together from constants
    + ITEMS
    + """
SELECT id, count(*) FILTER (WHERE stored), count(*) FILTER (WHERE waiting), """
    + ERRORS
    + """
  FROM item
 GROUP BY id
"""
)

COLUMNS: LiteralString = """
id, kind, submitted_by, state, items, outcome, accepted_at, published_at, decided_at, counted_by,
shown_at, reply_to, replied_at, error
"""
SELECT_REQUEST: LiteralString = f"SELECT {COLUMNS} FROM request WHERE id = %(key)s"  # noqa: S608 - constants
SELECT_NEWEST: LiteralString = f"""
SELECT {COLUMNS}
  FROM request
 WHERE (accepted_at, id) < (%(accepted_at)s, %(key)s)
 ORDER BY accepted_at DESC, id DESC
 LIMIT %(most)s
"""  # noqa: S608 - constants
SELECT_NEWEST_OF_STATE: LiteralString = f"""
SELECT {COLUMNS}
  FROM request
 WHERE state = %(state)s
   AND (accepted_at, id) < (%(accepted_at)s, %(key)s)
 ORDER BY accepted_at DESC, id DESC
 LIMIT %(most)s
"""  # noqa: S608 - constants
SELECT_ASKED: LiteralString = """
SELECT submitted_by, digest
  FROM request
 WHERE id = %(key)s
"""
