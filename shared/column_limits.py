"""Which ids and values fit into the columns of transactions."""

from dataclasses import replace
from typing import LiteralString

import psycopg

from shared.errors import Unavailable
from shared.transaction_body import Limits

SELECT_COLUMN_BYTES: LiteralString = """
SELECT a.attrelid::regclass::text, a.attname, a.attlen
  FROM pg_attribute a
 WHERE (a.attrelid, a.attname) IN (
       ('initial_data'::regclass, 'id'),
       ('historical_transactions'::regclass, 'provider_id'),
       ('historical_transactions'::regclass, 'transaction_value'))
   AND a.atttypid IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype)
"""


def read(conn: psycopg.Connection, known: Limits) -> Limits:
    """Return the same limits with what fits into the columns as they are (integer or bigint).

    Raises `Unavailable` if one is renamed or no integer by now: the next connection says which.
    """
    bits = {
        (relation, name): 8 * length - 1
        for relation, name, length in conn.execute(SELECT_COLUMN_BYTES)
    }
    try:
        ids = 2 ** min(bits["initial_data", "id"], bits["historical_transactions", "provider_id"])
        values = 2 ** bits["historical_transactions", "transaction_value"]
    except KeyError as missing:
        says = f"the column {'.'.join(missing.args[0])} is renamed, or no integer any more"
        raise Unavailable("postgres", says) from None
    return replace(
        known,
        provider_id_min=-ids,
        provider_id_max=ids - 1,
        value_min=-values,
        value_max=values - 1,
    )
