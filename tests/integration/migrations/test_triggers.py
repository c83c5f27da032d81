"""Every change to the user's tables counts, whoever makes it and by whatever statement."""

import random
from typing import LiteralString

import psycopg
import pytest

from tests.support.messages import add_providers, counted, truth

STATEMENTS: dict[str, LiteralString] = {
    "insert": "INSERT INTO historical_transactions (provider_id, transaction_value)"
    " VALUES (1, %(a)s), (2, %(b)s), (1, %(a)s)",
    "insert nothing": "INSERT INTO historical_transactions (provider_id, transaction_value)"
    " SELECT 1, 1 WHERE false",
    "update value": "UPDATE historical_transactions SET transaction_value = %(a)s"
    " WHERE id %% 3 = %(n)s",
    "update provider": "UPDATE historical_transactions SET provider_id = 1 + id %% 3"
    " WHERE id %% 2 = %(n)s",
    "update both": "UPDATE historical_transactions SET provider_id = 3 - provider_id,"
    " transaction_value = transaction_value + %(b)s WHERE provider_id < 3 AND id %% 4 = %(n)s",
    "update id": "UPDATE historical_transactions SET id = id + 100000 WHERE id %% 7 = %(n)s"
    " AND id < 100000",
    "update nothing": "UPDATE historical_transactions SET transaction_value = transaction_value",
    "delete": "DELETE FROM historical_transactions WHERE id %% 5 = %(n)s",
    "upsert": "INSERT INTO historical_transactions (id, provider_id, transaction_value)"
    " SELECT id, 2, %(a)s FROM historical_transactions WHERE id %% 6 = %(n)s"
    " ON CONFLICT (id) DO UPDATE SET transaction_value = excluded.transaction_value",
    "merge": "MERGE INTO historical_transactions h USING (VALUES (%(n)s)) AS s (id) ON h.id = s.id"
    " WHEN MATCHED THEN DELETE"
    " WHEN NOT MATCHED THEN INSERT (provider_id, transaction_value) VALUES (1, %(b)s)",
    "in one statement": "WITH gone AS (DELETE FROM historical_transactions WHERE id %% 4 = %(n)s"
    " RETURNING provider_id, transaction_value)"
    " INSERT INTO historical_transactions (provider_id, transaction_value)"
    " SELECT provider_id, transaction_value * 2 FROM gone",
    "initial value": "UPDATE initial_data SET initial_value = %(a)s WHERE id = 1 + %(n)s",
    "rename": "UPDATE initial_data SET provider_name = provider_name || 'x' WHERE id = 1 + %(n)s",
    "new provider": "INSERT INTO initial_data (id, provider_name, initial_value)"
    " SELECT max(id) + 1, 'new', %(a)s FROM initial_data",
    "provider gone": "DELETE FROM initial_data WHERE id > 3 AND id %% 3 = %(n)s",
}


@pytest.fixture(autouse=True)
def providers(conn: psycopg.Connection) -> None:
    add_providers(conn)
    conn.execute("INSERT INTO initial_data VALUES (3, 'Amex', -5)")


def numbers(chance: random.Random) -> dict[str, int]:
    return {"a": chance.randint(-999, 999), "b": chance.randint(-9, 9), "n": chance.randint(0, 2)}


def copy(conn: psycopg.Connection, text: str) -> None:
    command = "COPY historical_transactions (provider_id, transaction_value) FROM STDIN"
    with conn.cursor().copy(command) as target:
        target.write(text)


def outbox(conn: psycopg.Connection) -> list[tuple[int, int, str]]:
    return conn.execute("SELECT provider_id, amount, operation FROM outbox ORDER BY id").fetchall()


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_changes_what_is_counted_by_what_it_changed(
    name: str, conn: psycopg.Connection
) -> None:
    copy(conn, "".join(f"{1 + n % 3}\t{n * n}\n" for n in range(40)))
    conn.execute(STATEMENTS[name], {"a": 77, "b": -3, "n": 1})
    assert counted(conn) == truth(conn)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_counted_is_the_truth_after_any_statements_some_of_them_rolled_back(
    seed: int, conn: psycopg.Connection
) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        names = chance.choices([*STATEMENTS, "copy"], k=chance.randint(1, 3))
        with conn.transaction(force_rollback=chance.random() < 0.2):
            for name in names:
                with conn.transaction(force_rollback=chance.random() < 0.2):  # a savepoint
                    if name == "copy":
                        copy(conn, f"1\t{chance.randint(-9, 9)}\n2\t{chance.randint(-9, 9)}\n")
                    else:
                        conn.execute(STATEMENTS[name], numbers(chance))
        assert counted(conn) == truth(conn), names
    assert conn.execute("SELECT count(*) > 50 FROM outbox").fetchone() == (True,)


def test_each_row_says_what_happened_and_where_it_came_from(conn: psycopg.Connection) -> None:
    conn.execute("DELETE FROM outbox")
    conn.execute(
        "INSERT INTO historical_transactions (id, provider_id, transaction_value)"
        " VALUES (77, 1, 100)"
    )
    conn.execute("UPDATE historical_transactions SET provider_id = 2, transaction_value = 60")
    conn.execute("DELETE FROM historical_transactions")
    assert outbox(conn) == [
        (1, 100, "added"), (1, -100, "modified"), (2, 60, "modified"), (2, -60, "removed"),
    ]  # fmt: skip
    assert conn.execute("SELECT DISTINCT transaction_id FROM outbox").fetchall() == [(77,)]


def test_an_update_that_changes_nothing_that_counts_is_no_change(conn: psycopg.Connection) -> None:
    copy(conn, "1\t5\n")
    before = outbox(conn)
    conn.execute("UPDATE historical_transactions SET created_at = now(), message_id = 'm'")
    conn.execute("UPDATE initial_data SET initial_value = initial_value")
    assert outbox(conn) == before


def test_a_rename_is_a_change_of_nothing_that_still_reaches_the_outbox(
    conn: psycopg.Connection,
) -> None:
    before = len(outbox(conn))
    conn.execute("UPDATE initial_data SET provider_name = 'Visa Europe' WHERE id = 1")
    fresh = outbox(conn)[before:]
    assert {provider for provider, _, _ in fresh} == {1}
    assert sum(amount for _, amount, _ in fresh) == 0


def test_null_values_count_as_nothing_and_rows_without_provider_nowhere(
    conn: psycopg.Connection,
) -> None:
    conn.execute(
        "ALTER TABLE historical_transactions ALTER COLUMN provider_id DROP NOT NULL,"
        " ALTER COLUMN transaction_value DROP NOT NULL"
    )
    copy(conn, "1\t\\N\n\\N\t5\n1\t3\n")
    assert counted(conn) == truth(conn)
    conn.execute("UPDATE historical_transactions SET provider_id = 1 WHERE provider_id IS NULL")
    assert counted(conn)[1] == truth(conn)[1] == 1008
    conn.execute("UPDATE historical_transactions SET provider_id = NULL, transaction_value = 8")
    assert counted(conn)[1] == 1000
    conn.execute("DELETE FROM historical_transactions")
    assert counted(conn) == truth(conn)


def test_rows_that_are_equal_in_everything_count_each(conn: psycopg.Connection) -> None:
    conn.execute("ALTER TABLE historical_transactions DROP CONSTRAINT historical_transactions_pkey")
    conn.execute(
        "INSERT INTO historical_transactions (id, provider_id, transaction_value)"
        " VALUES (7, 1, 5), (7, 1, 5), (7, 1, 5)"
    )
    conn.execute("UPDATE historical_transactions SET transaction_value = 6")
    assert counted(conn) == truth(conn) == {1: 1018, 2: 2000, 3: -5}


@pytest.mark.parametrize("value", [-(2**63), 2**63 - 1])
def test_a_row_of_an_extreme_value_can_be_changed_and_taken_back(
    value: int, conn: psycopg.Connection
) -> None:
    conn.execute(STATEMENTS["insert"], {"a": value, "b": 1, "n": 0})
    conn.execute("UPDATE historical_transactions SET provider_id = 2")
    conn.execute("DELETE FROM historical_transactions")
    total = "SELECT sum(amount)::bigint FROM outbox WHERE provider_id = 1"
    assert conn.execute(total).fetchone() == (1000,)


@pytest.mark.parametrize("table", ["historical_transactions", "initial_data CASCADE"])
def test_truncate_is_refused_with_what_to_do_instead(table: str, conn: psycopg.Connection) -> None:
    copy(conn, "1\t5\n")
    with pytest.raises(psycopg.errors.RaiseException, match="TRUNCATE of") as caught:
        conn.execute(f"TRUNCATE {table}")
    assert "DELETE" in str(caught.value.diag.message_hint)
    assert counted(conn) == truth(conn) == {1: 1005, 2: 2000, 3: -5}
