"""Postgres as a replica that never got the newest commits, without a replica."""

import psycopg

PLACE = """
SELECT token, pg_snapshot_xmax(snapshot)::text, ARRAY(SELECT pg_snapshot_xip(snapshot)::text)
  FROM tick
 WHERE epoch = %s
"""
LATER = """
DELETE FROM historical_transactions
 WHERE id IN (SELECT transaction_id
                FROM outbox
               WHERE xid >= %(xmax)s::xid8
                  OR xid = ANY (%(xip)s::xid8[]))
"""
OUTBOX = """
DELETE FROM outbox
 WHERE xid >= %(xmax)s::xid8
    OR xid = ANY (%(xip)s::xid8[])
"""
POSITION = "UPDATE follower SET epoch = %(epoch)s, token = %(token)s WHERE epoch > %(epoch)s"
STATEMENTS = (
    LATER,
    OUTBOX,
    "DELETE FROM balance WHERE epoch > %(epoch)s",
    "DELETE FROM tick WHERE epoch > %(epoch)s",
    POSITION,
)


def lose_after(conn: psycopg.Connection, epoch: int) -> None:
    """Leave what was there at the tick `epoch`, followers' positions included.

    Of later changes only transactions that were added may have been made.
    """
    row = conn.execute(PLACE, [epoch]).fetchone()
    assert row
    given = {"epoch": epoch, "token": row[0], "xmax": row[1], "xip": row[2]}
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")  # no triggers
        for statement in STATEMENTS:
            conn.execute(statement, given)
