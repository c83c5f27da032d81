"""A question that takes long, or fails each time, costs no connection and holds nothing up."""

import psycopg
import pytest

from services.tracker import answers
from shared.amqp import connection
from tests.support.eventually import eventually
from tests.support.tracking import Life, Sender, accepting, body, item, tick

HEARTBEAT_S = 2
STATEMENT_S = 4
"""Two statements take longer than a broker waits for a sign of life."""
HOLDING = """
INSERT INTO balance (provider_id, epoch, key, key_changed, balance)
VALUES (1, 1, '1_Visa', false, 1);
INSERT INTO provider_symbol VALUES (1, 'EUR', 2);
UPDATE tick SET boundary = now() WHERE epoch = 1
"""
SLOW = """
ALTER TABLE provider_symbol RENAME TO symbol_of_provider;
CREATE VIEW provider_symbol AS SELECT s.* FROM symbol_of_provider s, pg_sleep({});
GRANT SELECT ON provider_symbol TO PUBLIC
"""
QUESTION = body(ask="valuation", key="Q")


@pytest.fixture
def holding(conn: psycopg.Connection, sender: Sender) -> psycopg.Connection:
    """A database in which there is something to value."""
    del sender
    tick(conn)
    conn.execute(HOLDING)
    return conn


def slow(conn: psycopg.Connection, seconds: int) -> None:
    conn.execute(SLOW.format(seconds).encode())


def test_a_question_that_takes_longer_than_a_broker_waits_is_answered_once_and_a_request_accepted(
    holding: psycopg.Connection,
    sender: Sender,
    dsn: str,
    amqp_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "HEARTBEAT_S", HEARTBEAT_S)
    slow(holding, STATEMENT_S)
    with accepting(dsn, amqp_url):
        sender.send(QUESTION)
        replies = eventually(sender.replies, 60)
        sender.send(body(item(600)))
        assert [identity for identity, _ in eventually(sender.items)] == ["K:0"]

    ((_, told),) = replies + sender.replies()
    assert (told["request"], told["not_valued"]) == ("Q", {"no_price": 1})


def test_a_question_that_takes_too_long_is_refused_and_limits_nothing_else(
    holding: psycopg.Connection, life: Life, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = life.conn.execute("SHOW statement_timeout").fetchone()
    monkeypatch.setattr(answers, "LIMIT", "SET statement_timeout = '1s'")
    slow(holding, 60)
    sender.send(QUESTION)
    sender.send(body(item(600)))

    assert life.accept(2) == {"question": 1, "accepted": 1}
    ((_, told),) = sender.replies()
    assert (told["error"], told["detail"]) == (
        "too_much", "57014: canceling statement due to statement timeout",
    )  # fmt: skip
    assert life.conn.execute("SHOW statement_timeout").fetchone() == before


def test_a_question_that_fails_each_time_is_refused_and_does_not_come_again(
    holding: psycopg.Connection, life: Life, sender: Sender
) -> None:
    holding.execute("REVOKE SELECT ON provider_symbol FROM minutebook_tracker")
    sender.send(QUESTION)
    sender.send(body(item(600)))

    assert life.accept(2) == {"question": 1, "accepted": 1}
    ((_, told),) = sender.replies()
    assert told["error"] == "unanswerable"
    assert "permission denied" in told["detail"]
