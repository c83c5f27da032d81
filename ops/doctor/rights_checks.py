"""Postgres: whether the services connected now have more rights than they need."""

from collections.abc import Sequence
from typing import LiteralString

import psycopg

from ops.doctor import core
from ops.doctor.core import Check

# A login that owns the tables, or may become who does, is held back by no grant.
SELECT_MIGHTY: LiteralString = """
SELECT DISTINCT substr(a.application_name, 12), a.usename
  FROM pg_stat_activity a
  JOIN pg_class c ON c.oid = 'tick'::regclass
 WHERE a.datname = current_database()
   AND a.application_name IN ('minutebook-ingest', 'minutebook-syncer')
   AND pg_has_role(a.usesysid, c.relowner, 'MEMBER')
 ORDER BY 1
"""


def look(conn: psycopg.Connection) -> Check:
    """Look who is connected, and judge."""
    return judge(conn.execute(SELECT_MIGHTY).fetchall())


def judge(mighty: Sequence[tuple[str, str]]) -> Check:
    """Judge services that may do all that the owner may: which, and as whom."""
    who = ", ".join(f"{service} as {login}" for service, login in mighty)
    return core.check(
        "postgres",
        "services' rights",
        f"the owner's: {who}" if who else "no more than theirs",
        warn=bool(who),
        advice="give each a login of its own (POSTGRES_INGEST_PASSWORD and its like): one that is"
        " stolen can then change no balance, or add no transaction",
    )
