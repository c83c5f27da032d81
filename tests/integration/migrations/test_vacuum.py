"""How Postgres is told to vacuum what only grows."""

import psycopg
import pytest

from migrations import runner
from ops.doctor import growth_checks
from ops.doctor.growth_checks import VACUUM_WANTED
from tests.support import partitions
from tests.support.table_changes import THEIR_TABLES

PARAMETERS = """
SELECT option_name, option_value
  FROM pg_class c, pg_options_to_table(c.reloptions)
 WHERE c.oid = %s::regclass
"""
UNTOUCHED_BY_INSERTS = {"autovacuum_vacuum_insert_threshold": "-1"}


def parameters(conn: psycopg.Connection, table: str) -> dict[str, str]:
    return dict(conn.execute(PARAMETERS, [table]).fetchall())


@pytest.mark.parametrize("tables", ["SELECT", THEIR_TABLES], ids=["new", "adopted"])
def test_history_is_frozen_as_it_comes_and_doctor_has_nothing_to_add(
    empty_dsn: str, tables: str
) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute(tables.encode())
        runner.apply(conn, runner.read())

        assert parameters(conn, "historical_transactions") == VACUUM_WANTED
        found = {one.name: one.verdict for one in growth_checks.inspect(conn)}
        assert found["vacuum of historical_transactions"] == "ok"
        conn.execute("ALTER TABLE historical_transactions RESET (autovacuum_freeze_min_age)")
        found = {one.name: one.verdict for one in growth_checks.inspect(conn)}
        assert found["vacuum of historical_transactions"] == "warn"


def test_what_the_owner_of_adopted_tables_has_set_for_vacuum_stays(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute(THEIR_TABLES)
        conn.execute("ALTER TABLE historical_transactions SET (autovacuum_freeze_min_age = 1000)")
        runner.apply(conn, runner.read())

        assert parameters(conn, "historical_transactions") == {"autovacuum_freeze_min_age": "1000"}


def test_partitions_of_the_outbox_are_not_vacuumed_for_inserts_alone(
    conn: psycopg.Connection,
) -> None:
    made = partitions.made(conn)
    assert made
    partitions.drop_made(conn)
    conn.execute("INSERT INTO outbox (provider_id, amount, operation) VALUES (1, 0, 'added')")
    conn.execute("SELECT minutebook_repair_default()")
    conn.execute("SELECT minutebook_make_partition(now() + interval '1 day')")

    made += partitions.made(conn)
    assert len(partitions.made(conn)) == 2
    for name in partitions.made(conn):
        assert parameters(conn, name) == UNTOUCHED_BY_INSERTS
