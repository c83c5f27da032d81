"""How transactions become rows with their outbox rows: ingest's way, tried before it is needed."""

from typing import LiteralString

# The conflict target is named: without one, a clash of primary keys (a sequence behind ids that
# were loaded explicitly) would pass for a duplicate, and the money would be gone.
STORE: LiteralString = """
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
    ON CONFLICT (message_id) DO NOTHING
    RETURNING id, provider_id, transaction_value, message_id
), noted AS (
    INSERT INTO outbox (transaction_id, provider_id, amount, operation, traceparent)
    SELECT id, provider_id, transaction_value, 'added', %(traceparents)s::jsonb ->> message_id
      FROM stored
)
"""
# Triggers of the user's that see rows before they are stored (1 row, 2 before, 4 insert) may store
# something else than was sent. Looked at each time, because one may just have been added.
MAY_BE_REWRITTEN: LiteralString = """EXISTS (
       SELECT
         FROM pg_trigger
        WHERE tgrelid = 'historical_transactions'::regclass
          AND tgtype & 7 = 7
          AND NOT tgisinternal)
"""

# A row without an identity says that rows may have been rewritten.
INSERT_TRANSACTIONS: LiteralString = (
    STORE
    + """
SELECT message_id
  FROM stored
 UNION ALL
SELECT NULL
 WHERE """
    + MAY_BE_REWRITTEN
)

# Fails, so that nothing at all is stored, unless every row was stored as it was sent: no text but
# digits can become a number.
INSERT_ALL_OR_NONE: LiteralString = (
    STORE
    + """
SELECT CASE WHEN count(*) = cardinality(%(identities)b::text[]) AND NOT """
    + MAY_BE_REWRITTEN
    + """THEN count(*)
            ELSE ('no batch that ingest can store by one statement: new are ' || count(*))::bigint
        END
  FROM stored
"""
)
