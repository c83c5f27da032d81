"""Questions by message, where there is much to answer with."""

import psycopg
import pytest

from services.tracker import answers, core
from tests.support.tracking import Life, Sender, body, tick

BALANCES = """
INSERT INTO balance (provider_id, epoch, key, key_changed, balance)
SELECT n, 1, CASE WHEN n BETWEEN %(first)s AND %(last)s THEN n || '_name' END, false, n
  FROM generate_series(1, %(last)s::int) n
"""
SHOW = "UPDATE tick SET boundary = now() WHERE epoch = 1"


@pytest.fixture
def ticked(conn: psycopg.Connection, life: Life) -> psycopg.Connection:
    """A database whose tick of epoch 1 has the balances that the test adds."""
    del life
    tick(conn)
    conn.execute(SHOW)
    return conn


def test_of_more_balances_than_a_reply_holds_no_more_are_read(
    ticked: psycopg.Connection,
) -> None:
    ticked.execute(BALANCES, {"first": 1, "last": 5 * core.BALANCES_MAX})

    found = answers.ANSWERS["balances"](ticked, {})

    assert core.BALANCES_MAX < len(found["balances"]) <= 2 * core.BALANCES_MAX


def test_providers_that_are_gone_leave_no_balance_out(
    ticked: psycopg.Connection, life: Life, sender: Sender
) -> None:
    last = 3 * core.BALANCES_MAX
    ticked.execute(BALANCES, {"first": last - 1, "last": last})
    sender.send(body(ask="balances"))
    life.accept()

    ((_, told),) = sender.replies()
    assert [one["key"] for one in told["balances"]] == [f"{last - 1}_name", f"{last}_name"]
