"""Which ids and values fit into the columns of transactions."""

from typing import LiteralString

import psycopg

from shared.transaction_body import INT64_MAX, INT64_MIN, Limits

SELECT_COLUMN_BYTES: LiteralString = """
SELECT a.attrelid::regclass::text, a.attname, a.attlen
  FROM pg_attribute a
 WHERE (a.attrelid, a.attname) IN (
       ('initial_data'::regclass, 'id'),
       ('historical_transactions'::regclass, 'provider_id'),
       ('historical_transactions'::regclass, 'transaction_value'))
"""


def read(conn: psycopg.Connection, body_bytes_max: int) -> Limits:
    """Return what fits into the columns as they are (integer or bigint)."""
    bits = {
        (relation, name): 8 * length - 1
        for relation, name, length in conn.execute(SELECT_COLUMN_BYTES)
    }
    id_bits = min(bits["initial_data", "id"], bits["historical_transactions", "provider_id"])
    value_bits = bits["historical_transactions", "transaction_value"]
    return Limits(
        body_bytes_max,
        provider_id_min=max(INT64_MIN, -(2**id_bits)),
        provider_id_max=min(INT64_MAX, 2**id_bits - 1),
        value_min=max(INT64_MIN, -(2**value_bits)),
        value_max=min(INT64_MAX, 2**value_bits - 1),
    )
