"""A row the database will not take is its message's fault only if others go through."""

import psycopg
import pytest

from services.ingest import core
from shared.errors import Unavailable
from tests.support import messages, refusing_trigger
from tests.support.messages import (
    body,
    counted,
    dead_letters,
    reasons,
    received,
    rows,
    store_batch,
    truth,
)

pytestmark = pytest.mark.usefixtures("providers")

EXPLICIT = """
INSERT INTO historical_transactions (id, provider_id, transaction_value)
SELECT n, 2, 0 FROM generate_series(1, 30) n
"""


def batch_of(size: int) -> list[core.Delivery]:
    """Return messages of values 1 to `size`."""
    return [received(body(1, value), tag=value) for value in range(1, size + 1)]


def values(conn: psycopg.Connection, provider_id: int = 1) -> list[int]:
    return [value for provider, value in rows(conn) if provider == provider_id]


def test_only_rows_at_fault_are_refused_and_their_neighbours_are_rows_in_order(
    ours: psycopg.Connection,
) -> None:
    ours.execute("ALTER TABLE historical_transactions ADD CHECK (transaction_value % 40 <> 7)")
    batch = [*batch_of(100), received(b"{", tag=101), received(body(99, 1), tag=102)]
    outcome = store_batch(ours, batch)
    at_fault = [7, 47, 87]
    assert outcome.inserted == 97
    assert outcome.dead == {"refused_by_database": 3, "not_json": 1, "unknown_provider": 1}
    assert values(ours) == [value for value in range(1, 101) if value not in at_fault]
    refused = [text for reason, _, text in dead_letters(ours) if reason == "refused_by_database"]
    assert refused == [body(1, value) for value in at_fault]
    assert counted(ours) == truth(ours)


def test_a_refused_one_that_is_delivered_again_is_still_one_dead_letter(
    ours: psycopg.Connection,
) -> None:
    ours.execute("ALTER TABLE historical_transactions ADD CHECK (transaction_value <> 2)")
    for _ in range(2):
        assert store_batch(ours, batch_of(3)).dead == {"refused_by_database": 1}
    assert values(ours) == [1, 3]
    assert len(dead_letters(ours)) == 1


def test_what_the_database_said_is_kept_without_the_row_it_quotes(
    ours: psycopg.Connection,
) -> None:
    ours.execute("ALTER TABLE historical_transactions ADD CHECK (transaction_value <> 4711)")
    store_batch(ours, [received(body(1, 4711))])
    error = ours.execute("SELECT error FROM dead_letter").fetchone()
    assert error is not None
    assert error[0].startswith("23514: ")
    assert "4711" not in error[0]


@pytest.mark.parametrize("state", ["P0001", "22003", "23514", "ZZ999"])
def test_a_batch_of_which_every_row_is_at_fault_is_refused(
    state: str, ours: psycopg.Connection
) -> None:
    refusing_trigger.create(ours, state)
    assert store_batch(ours, batch_of(3)).dead == {"refused_by_database": 3}


@pytest.mark.parametrize("state", ["P0002", "42501", "55000", "XX000", "0A000", "42P01"])
@pytest.mark.parametrize("size", [1, 5])
def test_where_every_row_fails_alike_and_not_for_its_own_sake_nothing_is_a_dead_letter(
    state: str, size: int, ours: psycopg.Connection
) -> None:
    refusing_trigger.create(ours, state)
    with pytest.raises(Unavailable, match=state):
        store_batch(ours, [*batch_of(size), received(b"{", tag=9)])
    assert (rows(ours), dead_letters(ours)) == ([], [])
    refusing_trigger.drop(ours)
    assert store_batch(ours, batch_of(size)).inserted == size


def test_what_our_own_tables_refuse_is_not_the_messages_fault(ours: psycopg.Connection) -> None:
    ours.execute("ALTER TABLE outbox ADD CONSTRAINT theirs CHECK (amount < 0) NOT VALID")
    with pytest.raises(Unavailable, match="refuses every row alike: 23514: new row for relation"):
        store_batch(ours, batch_of(3))
    ours.execute("ALTER TABLE outbox DROP CONSTRAINT theirs")
    assert store_batch(ours, batch_of(3)).inserted == 3


def test_a_privilege_that_is_missing_is_not_the_messages_fault(
    dsn: str, ours: psycopg.Connection
) -> None:
    ours.execute("CREATE ROLE test_without_insert")
    try:
        ours.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO test_without_insert")
        with messages.ingest_connection(dsn) as poor:
            poor.execute("SET ROLE test_without_insert")
            with pytest.raises(Unavailable, match="42501"):
                store_batch(poor, batch_of(2))
        assert (rows(ours), dead_letters(ours)) == ([], [])
    finally:
        ours.execute("DROP OWNED BY test_without_insert; DROP ROLE test_without_insert")


@pytest.mark.parametrize("state", ["P0002", "42501", "XX000"])
def test_one_of_several_that_fails_alone_is_at_fault_whatever_the_reason(
    state: str, ours: psycopg.Connection
) -> None:
    refusing_trigger.create(ours, state, where="NEW.transaction_value = 3")
    outcome = store_batch(ours, batch_of(5))
    assert (outcome.inserted, outcome.dead) == (4, {"refused_by_database": 1})
    assert values(ours) == [1, 2, 4, 5]


@pytest.mark.parametrize("state", ["40001", "40P01", "53100", "57014", "25006", "55P03"])
def test_trouble_of_the_servers_in_the_middle_of_a_batch_is_nobodys_fault(
    state: str, ours: psycopg.Connection
) -> None:
    refusing_trigger.create(ours, state, where="NEW.transaction_value = 3")
    with pytest.raises(Unavailable, match=state):
        store_batch(ours, batch_of(5))
    assert (rows(ours), dead_letters(ours)) == ([], [])


def test_ids_that_were_loaded_ahead_of_the_sequence_cost_no_message(
    ours: psycopg.Connection,
) -> None:
    ours.execute(EXPLICIT)
    outcome = store_batch(ours, batch_of(20))
    assert (outcome.inserted, outcome.duplicates, outcome.dead) == (20, 0, {})
    assert values(ours) == list(range(1, 21))
    assert ours.execute("SELECT max(id) FROM historical_transactions").fetchone() == (50,)


def test_ids_loaded_ahead_into_a_column_that_is_unique_but_no_primary_key_cost_none_either(
    ours: psycopg.Connection,
) -> None:
    ours.execute(
        "ALTER TABLE historical_transactions DROP CONSTRAINT historical_transactions_pkey,"
        " ADD CONSTRAINT their_ids UNIQUE (id)"
    )
    ours.execute(EXPLICIT)
    outcome = store_batch(ours, batch_of(20))
    assert (outcome.inserted, outcome.dead) == (20, {})


def test_a_sequence_behind_and_a_row_at_fault_in_one_batch_are_both_dealt_with(
    ours: psycopg.Connection,
) -> None:
    ours.execute(EXPLICIT)
    ours.execute("ALTER TABLE historical_transactions ADD CHECK (transaction_value <> 3)")
    outcome = store_batch(ours, batch_of(5))
    assert (outcome.inserted, outcome.dead) == (4, {"refused_by_database": 1})
    assert reasons(ours) == ["refused_by_database"]
    assert values(ours) == [1, 2, 4, 5]
