"""What drifts apart: changes that nothing of ours is told of."""

from typing import LiteralString

import psycopg


def behind_the_triggers(conn: psycopg.Connection, *statements: LiteralString) -> None:
    """Execute them where no trigger sees it, as a replica role or a disabled trigger lets."""
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            conn.execute(statement)
