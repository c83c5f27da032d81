"""An alert is judged from the first tick that sees its commit, whenever the notifier looks."""

import psycopg
import pytest

from tests.support import ledger
from tests.support.notifying import Life, add_alert

TOLD = "SELECT epoch, balance::int, previous::int FROM notification ORDER BY epoch"


def move(conn: psycopg.Connection, *values: int) -> None:
    """Add each value to Visa's balance of 1000, a tick each."""
    for value in values:
        ledger.add(conn, 1, value)
        ledger.count_all(conn)


@pytest.mark.parametrize("kind", ["added", "changed"])
def test_an_alert_is_not_judged_at_ticks_that_came_before_its_commit(
    conn: psycopg.Connection, dsn: str, life: Life, kind: str
) -> None:
    if kind == "changed":
        add_alert(conn, "below", 1, provider=1, name="A")
    with psycopg.connect(dsn) as late:
        add_alert(late, "below", 1000, provider=1, name="A")
        move(conn, -1, 1, -1)  # at ticks 2 and 4 it is below
        late.commit()
    move(conn, 1, -1)

    life.run()

    assert conn.execute(TOLD).fetchall() == [(6, 999, 1000)]


def test_an_alert_is_judged_at_no_tick_up_to_the_one_that_it_names(
    conn: psycopg.Connection, life: Life
) -> None:
    add_alert(conn, "below", 1000, provider=1)
    conn.execute("UPDATE alert SET since_epoch = 2")
    move(conn, -1, 1, -1)

    life.run()

    assert conn.execute(TOLD).fetchall() == [(4, 999, 1000)]


def test_an_alert_that_is_said_again_late_goes_on_being_judged_meanwhile(
    conn: psycopg.Connection, dsn: str, life: Life
) -> None:
    add_alert(conn, "below", 1000, provider=1, name="A")
    with psycopg.connect(dsn) as late:
        add_alert(late, "below", 1000, provider=1, name="A")
        move(conn, -1)
        late.commit()

    life.run()

    assert conn.execute(TOLD).fetchall() == [(2, 999, 1000)]


def test_alerts_of_a_dump_are_judged_in_a_cluster_whose_transactions_number_from_less(
    conn: psycopg.Connection, life: Life
) -> None:
    add_alert(conn, "below", 1000, provider=1)
    conn.execute("UPDATE alert SET xid = '900000000000'")
    move(conn, 0)
    conn.execute("UPDATE tick SET system_identifier = 1 WHERE epoch < 2")
    life.run()  # it starts anew at what is the first tick of another cluster
    move(conn, -1)

    life.run()

    assert conn.execute(TOLD).fetchall() == [(3, 999, 1000)]
