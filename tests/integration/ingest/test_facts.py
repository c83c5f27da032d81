"""What was looked up at the connection is looked at again before a message is refused for it."""

from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest

from adoption import existing
from services.ingest import core, service
from shared import tracing
from shared.errors import Unavailable
from tests.support import messages
from tests.support.messages import body, counted, dead_letters, received, rows, truth

NARROW = "ALTER TABLE historical_transactions ALTER transaction_value TYPE integer"
REWRITE = """
CREATE FUNCTION their_fee() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.transaction_value := NEW.transaction_value - 1; RETURN NEW; END $$;
CREATE TRIGGER their_fee BEFORE INSERT ON historical_transactions
    FOR EACH ROW EXECUTE FUNCTION their_fee()
"""
BIG = 2**40


@pytest.fixture
def ours(dsn: str, conn: psycopg.Connection) -> Iterator[psycopg.Connection]:
    messages.add_providers(conn)
    with messages.ingest_connection(dsn) as ours:
        yield ours
    tracing.configure(on=False)


def test_a_value_that_fits_since_the_columns_were_widened_is_a_row(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    conn.execute(NARROW)
    rules = messages.rules(ours)
    texts = [body(1, BIG), body(1, 1), body(1, 2**70)]
    batch = [
        core.validate(received(text, f"m{tag}", tag=tag), rules.limits, rules.identity_source)
        for tag, text in enumerate(texts)
    ]
    assert service.store_batch(ours, batch[:1], rules).dead == {"out_of_range": 1}
    conn.execute("DELETE FROM dead_letter")

    existing.widen(conn)

    outcome = service.store_batch(ours, batch, rules)
    assert (outcome.inserted, outcome.dead) == (2, {"out_of_range": 1})
    assert rules.limits.value_max == 2**63 - 1
    assert rows(conn) == [(1, BIG), (1, 1)]
    assert [text for _, _, text in dead_letters(conn)] == [body(1, 2**70)]
    assert counted(conn) == truth(conn)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE historical_transactions ALTER transaction_value TYPE numeric",
        "ALTER TABLE historical_transactions ALTER transaction_value TYPE double precision",
        "ALTER TABLE historical_transactions RENAME provider_id TO bank",
    ],
)
def test_columns_that_are_no_integers_any_more_are_no_fault_of_a_message(
    ours: psycopg.Connection, conn: psycopg.Connection, change: LiteralString
) -> None:
    rules = messages.rules(ours)
    limits = rules.limits
    beyond = received(body(1, 2**70), "m1")
    conn.execute(change)

    with pytest.raises(Unavailable, match="is renamed, or no integer any more"):
        service.store_batch(ours, [core.validate(beyond, limits, "property")], rules)

    assert rules.limits == limits
    assert dead_letters(conn) == []


@pytest.mark.parametrize("traced", [False, True])
def test_a_trigger_that_was_added_meanwhile_makes_no_conflict_of_a_message_and_its_own_row(
    ours: psycopg.Connection, conn: psycopg.Connection, *, traced: bool
) -> None:
    tracing.configure(on=traced)
    rules = messages.rules(ours)

    def store(value: int, identity: str) -> tuple[int, int]:
        one = core.validate(received(body(1, value), identity), rules.limits, "property")
        outcome = service.store_batch(ours, [one], rules)
        return outcome.inserted, outcome.duplicates

    for number in range(5):  # by then the statement is prepared
        assert store(number, f"before{number}") == (1, 0)
    conn.execute(REWRITE)
    assert store(600, "m1") == (1, 0)
    assert store(600, "m1") == (0, 1)
    assert (rows(conn)[-1], dead_letters(conn)) == ((1, 599), [])
    assert counted(conn) == truth(conn)
