"""The statements by which ingest stores transactions, each with its outbox row."""

from typing import LiteralString

INSERT: LiteralString = """
WITH batch AS (
    SELECT *
      FROM unnest(%(provider_ids)b::bigint[], %(values)b::bigint[], %(identities)b::text[])
           WITH ORDINALITY AS b (provider_id, value, message_id, n)
), stored AS (
    INSERT INTO historical_transactions (provider_id, transaction_value, message_id)
    SELECT b.provider_id, b.value, b.message_id
      FROM batch b
      JOIN initial_data p ON p.id = b.provider_id
     ORDER BY b.n
"""
# The conflict target is named: without one, a clash of primary keys (a sequence behind ids that
# were loaded explicitly) would pass for a duplicate, and the money would be gone.
SKIP_DUPLICATES: LiteralString = "    ON CONFLICT (message_id) DO NOTHING\n"
WITH_OUTBOX_ROWS: LiteralString = """    RETURNING id, provider_id, transaction_value, message_id
), noted AS (
    INSERT INTO outbox (transaction_id, provider_id, amount, operation, traceparent)
    SELECT id, provider_id, transaction_value, 'added', %(traceparents)s::jsonb ->> message_id
      FROM stored
)
"""
# Triggers of the user's that see rows before they are stored may store something else than was
# sent. Looked for each time, because one may just have been added. Bits of tgtype: 1 for each row,
# 2 before, 4 insert.
MAY_BE_REWRITTEN: LiteralString = """EXISTS (
       SELECT
         FROM pg_trigger
        WHERE tgrelid = 'historical_transactions'::regclass
          AND tgtype & 7 = 7
          AND NOT tgisinternal)
"""

# Returns the identities that were new, and a NULL if rows may have been rewritten.
INSERT_TRANSACTIONS: LiteralString = (
    INSERT
    + SKIP_DUPLICATES
    + WITH_OUTBOX_ROWS
    + """
SELECT message_id
  FROM stored
 UNION ALL
SELECT NULL
 WHERE """
    + MAY_BE_REWRITTEN
)

# Fails, so that nothing at all is stored, unless every row was stored as it was sent. A duplicate
# breaks the unique constraint: ON CONFLICT would cost each row a seventh more. If a row is missing
# otherwise, or may be rewritten, a text that is no number is cast to one: that is the error.
INSERT_ALL_OR_NONE: LiteralString = (
    INSERT
    + WITH_OUTBOX_ROWS
    + """
SELECT CASE WHEN count(*) = cardinality(%(identities)b::text[]) AND NOT """
    + MAY_BE_REWRITTEN
    + """THEN count(*)
            ELSE ('ingest: not stored by one statement (new rows: ' || count(*) || ')')::bigint
        END
  FROM stored
"""
)
