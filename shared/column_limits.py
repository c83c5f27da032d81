"""Which ids and values fit into the columns of transactions."""

from dataclasses import replace
from typing import LiteralString

import psycopg

from shared.transaction_body import Limits

SELECT_COLUMN_BYTES: LiteralString = """
SELECT a.attrelid::regclass::text, a.attname, a.attlen
  FROM pg_attribute a
 WHERE (a.attrelid, a.attname) IN (
       ('initial_data'::regclass, 'id'),
       ('historical_transactions'::regclass, 'provider_id'),
       ('historical_transactions'::regclass, 'transaction_value'))
"""


def read(conn: psycopg.Connection, known: Limits) -> Limits:
    """Return the same limits with what fits into the columns as they are (integer or bigint)."""
    bits = {
        (relation, name): 8 * length - 1
        for relation, name, length in conn.execute(SELECT_COLUMN_BYTES)
    }
    ids = 2 ** min(bits["initial_data", "id"], bits["historical_transactions", "provider_id"])
    values = 2 ** bits["historical_transactions", "transaction_value"]
    return replace(
        known,
        provider_id_min=-ids,
        provider_id_max=ids - 1,
        value_min=-values,
        value_max=values - 1,
    )
