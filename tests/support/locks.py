"""Locks in Postgres that somebody waits for."""

import psycopg

from tests.support.eventually import eventually


def awaited(conn: psycopg.Connection, many: int = 1, *, even_by_a_look: bool = False) -> None:
    """Wait until so many in this database wait for a lock.

    The look at the tables with which a service connects does not count, unless `even_by_a_look`.
    """
    query = """
    SELECT count(*) >= %s
      FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock'
       AND (%s OR NOT starts_with(query, 'EXPLAIN '))
    """
    eventually(lambda: conn.execute(query, [many, even_by_a_look]).fetchone() == (True,))
