"""A provider's balance, boundary by boundary."""

from datetime import timedelta

import psycopg
import pytest

from services.syncer import tick_store
from shared.errors import Refusal, Unanswerable
from shared.ledger.series import POINTS_MAX, SELECT_SERIES, Point, series
from tests.support import ledger, query_plans
from tests.support.ledger import add, minute

MINUTE = timedelta(minutes=1)


def tick(conn: psycopg.Connection, number: int) -> None:
    with conn.transaction():
        tick_store.lock_ticks(conn)
        ledger.tick_within(conn, minute(number))


@pytest.fixture
def visa(conn: psycopg.Connection) -> int:
    """A provider that comes after minute 1, has ticks at 2, 3, 5, and goes before 6."""
    tick(conn, 1)
    number = ledger.add_provider(conn, "Visa", 1000)
    tick(conn, 2)
    add(conn, number, 600)
    tick(conn, 3)
    add(conn, number, -50)
    tick(conn, 5)
    conn.execute("DELETE FROM historical_transactions")
    conn.execute("DELETE FROM initial_data")
    tick(conn, 6)
    return number


def test_each_minute_has_its_balance_or_is_a_gap(conn: psycopg.Connection, visa: int) -> None:
    found = series(conn, visa, minute(1), minute(6), MINUTE)

    assert found.points == [
        Point(minute(1), 1, None),
        Point(minute(2), 2, "1000"),
        Point(minute(3), 3, "1600"),
        Point(minute(4), None, None),
        Point(minute(5), 4, "1550"),
        Point(minute(6), 5, None),
    ]
    assert found.kept_since is None


def test_a_step_takes_its_multiples_only(conn: psycopg.Connection, visa: int) -> None:
    found = series(conn, visa, minute(1) + timedelta(seconds=1), minute(5), 3 * MINUTE)
    assert [one.at for one in found.points] == [minute(3)]


def test_what_is_past_its_retention_is_left_out_and_said(
    conn: psycopg.Connection, visa: int
) -> None:
    found = series(conn, visa, minute(-10), minute(2), MINUTE)
    assert (found.kept_since, [one.at for one in found.points]) == (
        minute(1),
        [minute(1), minute(2)],
    )
    with pytest.raises(Unanswerable, match="2020-01-01T00:01:00Z"):
        series(conn, visa, minute(-10), minute(0), MINUTE)
    with pytest.raises(Refusal, match="longer step"):
        series(conn, visa, minute(1), minute(POINTS_MAX + 9), MINUTE)


def test_a_point_is_a_few_index_entries(conn: psycopg.Connection, visa: int) -> None:
    conn.execute("SET enable_seqscan = off")
    times = [minute(number) for number in range(1, 7)]
    plan = query_plans.explain(conn, SELECT_SERIES, {"times": times, "provider_id": visa})
    for table in ("tick", "balance"):
        for one in query_plans.scans(plan, table):
            assert query_plans.visited(one) <= len(times)
