"""The worked example, literally, through stacks in which nothing was before."""

import psycopg

from tests.support.eventually import eventually
from tests.support.keydb_snapshot import at_next_boundary
from tests.support.stack import Stack, publish

KEYS = ("1_Visa", "2_Mastercard")
# As somebody would have made them who never heard of us.
CREATE_TABLES = """
CREATE TABLE initial_data (
    id serial PRIMARY KEY,
    provider_name varchar(100) NOT NULL,
    initial_value integer NOT NULL
);
CREATE TABLE historical_transactions (
    id serial PRIMARY KEY,
    provider_id integer NOT NULL REFERENCES initial_data (id),
    transaction_value integer NOT NULL
)
"""


def load(conn: psycopg.Connection) -> None:
    conn.execute("INSERT INTO initial_data VALUES (1, 'Visa', 1000), (2, 'Mastercard', 2000)")
    conn.execute(
        "INSERT INTO historical_transactions (id, provider_id, transaction_value)"
        " VALUES (1, 1, 100), (2, 1, 200), (3, 2, -200)"
    )


def rows(conn: psycopg.Connection) -> list[tuple[int, int, int]]:
    return conn.execute(
        "SELECT id, provider_id, transaction_value FROM historical_transactions ORDER BY id"
    ).fetchall()


def both_minutes_are_as_promised(stack: Stack, conn: psycopg.Connection) -> None:
    assert rows(conn) == [(1, 1, 100), (2, 1, 200), (3, 2, -200)]
    assert at_next_boundary(stack, *KEYS) == {"1_Visa": "1300", "2_Mastercard": "1800"}

    publish(stack, b'{"id": 1, "value": 600}')

    eventually(lambda: len(rows(conn)) == 4)
    assert rows(conn) == [(1, 1, 100), (2, 1, 200), (3, 2, -200), (4, 1, 600)]
    assert at_next_boundary(stack, *KEYS) == {"1_Visa": "1900", "2_Mastercard": "1800"}
    with stack.keydb() as keydb:
        assert keydb.smembers("minutebook:keys") == set(KEYS)


def test_the_worked_example_holds_with_rows_inserted_after_the_migration(fresh: Stack) -> None:
    fresh.up()
    with fresh.postgres() as conn, fresh.keydb() as keydb:
        assert keydb.keys("*_*") == []
        load(conn)

        both_minutes_are_as_promised(fresh, conn)


def test_the_worked_example_holds_with_tables_and_rows_older_than_the_migration(
    fresh: Stack,
) -> None:
    fresh.up("postgres")
    with fresh.postgres() as conn:
        conn.execute(CREATE_TABLES)
        load(conn)
        fresh.up()

        both_minutes_are_as_promised(fresh, conn)
