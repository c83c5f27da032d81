"""Sequences of the user's are moved on after ids that were loaded explicitly."""

import psycopg
import pytest

from migrations import runner

TABLE = """
CREATE SEQUENCE s;
CREATE TABLE initial_data (id bigint PRIMARY KEY, provider_name text, initial_value bigint)
"""


@pytest.mark.parametrize(
    ("sequence", "loaded", "then"),
    [
        ("SELECT setval('s', 1, false)", 900, 901),
        ("SELECT setval('s', 1, false)", 1, 2),
        ("SELECT setval('s', 5000)", 900, 5001),
        # Another server gives the even ones.
        ("ALTER SEQUENCE s INCREMENT 2", 900, 903),
        ("DROP SEQUENCE s; CREATE SEQUENCE s INCREMENT -1", -900, -901),
        ("ALTER SEQUENCE s MAXVALUE 1000", 2**40, 1),
        ("ALTER SEQUENCE s CACHE 50; SELECT nextval('s')", 900, 901),
    ],
)
def test_a_sequence_goes_on_after_ids_loaded_explicitly_in_its_own_steps(
    sequence: str, loaded: int, then: int, empty_dsn: str
) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute(TABLE)
        runner.apply(conn, runner.read())
        conn.execute(sequence.encode())
        conn.execute("ALTER TABLE initial_data ALTER COLUMN id SET DEFAULT nextval('s')")
        conn.execute("INSERT INTO initial_data VALUES (%s, 'Visa', 0)", [loaded])

        for _ in range(2):  # the second time there is nothing to do
            conn.execute("SELECT minutebook_advance_sequence('initial_data')")

        assert conn.execute("SELECT nextval('s')").fetchone() == (then,)
