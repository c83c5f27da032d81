"""An alert is told once, when two neighbouring ticks say that it is met now and was not before."""

from decimal import Decimal

import psycopg
import pytest

from services.notifier import judge_store
from shared.follower import RowsGone
from shared.follower_store import Span, Tick
from tests.support import ledger
from tests.support.notifying import Life, Listener, add_alert

Told = list[tuple[int, int, int | None]]


def told(conn: psycopg.Connection) -> Told:
    """Return provider, balance and previous balance of each notification, in order."""
    return conn.execute(
        "SELECT provider_id, balance::int, previous::int FROM notification ORDER BY epoch, id"
    ).fetchall()


def move(conn: psycopg.Connection, life: Life, *values: int, provider: int = 1) -> None:
    """Add each value to a balance, a tick each, and let the notifier follow."""
    for value in values:
        if value:
            ledger.add(conn, provider, value)
        ledger.count_all(conn)
    life.run()


@pytest.mark.parametrize(
    ("alert", "values", "expected"),
    [
        (("below", 1000), [-1, -5, 6, -1], [(1, 999, 1000), (1, 999, 1000)]),
        (("below", 1001), [-1, -1], []),  # met already when it was added
        (("below", 1000), [0, 5, -5], []),  # the threshold itself is not below it
        (("above", 1000), [1, 5, -6, 1], [(1, 1001, 1000), (1, 1001, 1000)]),
        (("above", 999), [1, 1], []),
        (("above", 1000), [-5, 5], []),
        (("change", 5), [4, -5, 5, 0, -6], [(1, 999, 1004), (1, 1004, 999), (1, 998, 1004)]),
    ],
)
def test_an_edge_is_told_when_it_is_crossed_and_never_while_it_stays(
    conn: psycopg.Connection, life: Life, alert: tuple[str, int], values: list[int], expected: Told
) -> None:
    add_alert(conn, *alert, provider=1)

    move(conn, life, *values)

    assert told(conn) == expected


def test_who_has_not_moved_for_so_long_is_told_once_until_it_moves(
    conn: psycopg.Connection, life: Life
) -> None:
    add_alert(conn, "silent", for_s=120, provider=1)
    add_alert(conn, "silent", for_s=180)

    move(conn, life, 1)
    ledger.add(conn, 2, 5)
    move(conn, life, 0, 0, 0, 0, 1, 0, 0)

    rows = conn.execute(
        "SELECT provider_id, boundary, balance::int FROM notification"
        " ORDER BY boundary, provider_id"
    ).fetchall()
    assert rows == [
        (1, ledger.minute(4), 1001),  # two minutes after it moved
        (1, ledger.minute(5), 1001),
        (2, ledger.minute(6), 2005),  # not at 4, three minutes after it came
        (1, ledger.minute(9), 1002),
    ]


def test_a_provider_that_comes_was_not_met_before_and_one_that_goes_is_not_judged(
    conn: psycopg.Connection, life: Life
) -> None:
    add_alert(conn, "below", 100)
    add_alert(conn, "above", 10)
    add_alert(conn, "change", 1)

    third = ledger.add_provider(conn, "New", 50)
    move(conn, life, 0)
    conn.execute("DELETE FROM initial_data WHERE id = %s", [third])
    move(conn, life, 0)

    assert told(conn) == [(third, 50, None), (third, 50, None)]


def test_a_provider_that_was_away_at_the_tick_before_was_not_met_there(
    conn: psycopg.Connection, life: Life
) -> None:
    add_alert(conn, "below", 1500, provider=2)
    add_alert(conn, "change", 1, provider=2)
    conn.execute("DELETE FROM initial_data WHERE id = 2")
    move(conn, life, 0)

    conn.execute("INSERT INTO initial_data VALUES (2, 'Mastercard', 700)")
    move(conn, life, 0)

    assert told(conn) == [(2, 700, None)]


def test_an_alert_that_is_changed_is_judged_anew_from_then_on_and_a_removed_one_no_more(
    conn: psycopg.Connection, life: Life
) -> None:
    add_alert(conn, "below", 900, provider=1)
    move(conn, life, -50)
    add_alert(conn, "below", 960, provider=1)  # met now: not told
    move(conn, life, -1, 20, -20)
    conn.execute("UPDATE alert SET active = false")
    move(conn, life, 100, -100)

    assert told(conn) == [(1, 949, 969)]


def test_an_alert_is_not_judged_at_ticks_before_it_though_the_notifier_was_away(
    conn: psycopg.Connection, life: Life
) -> None:
    for value in (-200, 200):
        ledger.add(conn, 1, value)
        ledger.count_all(conn)
    add_alert(conn, "below", 900, provider=1)

    move(conn, life, -200)

    assert told(conn) == [(1, 800, 1000)]


def test_what_only_interim_ticks_saw_is_judged_at_the_due_tick_and_what_they_skipped_is_not(
    conn: psycopg.Connection, life: Life
) -> None:
    add_alert(conn, "below", 900, provider=1)
    add_alert(conn, "above", 1100, provider=1)
    for value in (-200, 400, -350):  # 800, 1200, then 850
        ledger.add(conn, 1, value)
        ledger.write_tick(conn, None)

    move(conn, life, 0)

    assert told(conn) == [(1, 850, 1000)]


def test_each_provider_of_an_alert_without_one_and_no_other_of_one_that_has_one(
    conn: psycopg.Connection, life: Life
) -> None:
    add_alert(conn, "above", 1500)
    add_alert(conn, "above", 1600, provider=2)
    ledger.add(conn, 2, -1000)
    move(conn, life, 0)

    ledger.add(conn, 2, 1000)
    move(conn, life, 1000)

    assert sorted(told(conn)) == [(1, 2000, 1000), (2, 2000, 1000), (2, 2000, 1000)]


def test_amounts_beyond_64_bits_are_told_exactly(
    conn: psycopg.Connection, life: Life, listener: Listener
) -> None:
    add_alert(conn, "above", 10**19, provider=1)

    ledger.add(conn, 1, 9 * 10**18)
    move(conn, life, 9 * 10**18)

    ((balance,),) = conn.execute("SELECT balance FROM notification").fetchall()
    assert balance == Decimal(18 * 10**18 + 1000)
    (body,) = listener.listen().values()
    assert (body["threshold"], body["balance"]) == (str(10**19), str(18 * 10**18 + 1000))


def test_without_the_tick_before_nothing_is_told_that_was_not_so(
    conn: psycopg.Connection, life: Life
) -> None:
    add_alert(conn, "below", 1001)
    ledger.add(conn, 1, -1)
    ledger.count_all(conn)
    query = "SELECT epoch, token, boundary, snapshot::text FROM tick ORDER BY epoch DESC LIMIT 2"
    tick, before = (Tick(*row) for row in conn.execute(query))
    # Retention has come between the look and the work: below 1001 it was before as well.
    conn.execute("DELETE FROM tick WHERE epoch < %s", [tick.epoch])
    conn.execute("DELETE FROM balance WHERE epoch < %s", [tick.epoch])
    with pytest.raises(RowsGone), life.conn.transaction():
        judge_store.judge(life.conn, Span(before, tick, 0))

    assert told(conn) == []


def test_a_tick_that_is_judged_again_tells_nothing_twice(
    conn: psycopg.Connection, life: Life, listener: Listener
) -> None:
    add_alert(conn, "below", 1000, provider=1)
    add_alert(conn, "silent", for_s=60, provider=2)
    query = "UPDATE follower f SET (epoch, token) = (SELECT epoch, token FROM tick WHERE epoch = 1)"
    move(conn, life, -1)
    first = told(conn)

    conn.execute(query)
    move(conn, life, 0)

    assert told(conn) == first == [(1, 999, 1000), (2, 2000, 2000)]
    assert len(listener.listen()) == listener.times == 2
