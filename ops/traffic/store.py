"""Which providers there are to make up traffic for."""

from typing import LiteralString

import psycopg

SELECT_PROVIDERS: LiteralString = """
SELECT id
  FROM initial_data
 ORDER BY id
 LIMIT %(most)s
"""


def providers(conn: psycopg.Connection, most: int) -> list[int]:
    """Return the ids of providers, `most` at most."""
    return [one for (one,) in conn.execute(SELECT_PROVIDERS, {"most": most})]
