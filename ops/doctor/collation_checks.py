"""Postgres: whether text still sorts as it did when its indexes were built.

An upgrade of the operating system may change the order. Then a unique index may not find an
identity that is there, and a message counts twice.
"""

from collections.abc import Sequence
from typing import LiteralString

import psycopg

from ops.doctor import core
from ops.doctor.core import Check

# What was noted when the database, or a collation that an index on our tables or yours goes by, was
# made, and what the operating system says now. Without a note there is nothing to compare.
SELECT_CHANGED: LiteralString = """
SELECT 'DATABASE ' || quote_ident(datname), datcollversion,
       pg_database_collation_actual_version(oid)
  FROM pg_database
 WHERE datname = current_database()
   AND datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid)
   AND datcollversion IS NOT NULL
 UNION ALL
SELECT 'COLLATION ' || c.oid::regcollation, c.collversion, pg_collation_actual_version(c.oid)
  FROM pg_collation c
 WHERE c.collversion IS DISTINCT FROM pg_collation_actual_version(c.oid)
   AND c.collversion IS NOT NULL
   AND c.oid IN (SELECT unnest(i.indcollation)
                   FROM pg_index i
                   JOIN pg_class t ON t.oid = i.indrelid
                  WHERE t.relnamespace = current_schema()::regnamespace)
"""


def inspect(conn: psycopg.Connection) -> Check:
    """Look what has changed, and assess."""
    return assess(conn.execute(SELECT_CHANGED).fetchall())


def assess(changed: Sequence[tuple[str, str, str | None]]) -> Check:
    """Assess databases and collations, each with the version noted and the one of today."""
    refresh = "; ".join(
        f"ALTER {what} REFRESH {'COLLATION ' if what.startswith('DATABASE') else ''}VERSION"
        for what, _, _ in changed
    )
    return core.check(
        "postgres",
        "collation version",
        "; ".join(f"{what} was {noted}, is {actual}" for what, noted, actual in changed)
        or "unchanged",
        fail=bool(changed),
        advice="stop ingest, REINDEX DATABASE, then "
        f"{refresh}: until then a unique index may miss an identity that is there, and its"
        " message counts twice",
    )
