"""How fast the database grows is what was noted against what is there now."""

from datetime import timedelta
from typing import LiteralString

import psycopg
import pytest

from shared.ledger import disk_usage

NOTE: LiteralString = (
    "INSERT INTO disk_usage (measured_at, database_bytes)"
    " VALUES (now() - %s, pg_database_size(current_database()) + %s)"
)
NOTED: LiteralString = "SELECT count(*) FROM disk_usage"
HOUR = timedelta(hours=1)


def noted(conn: psycopg.Connection, ago: timedelta, more_bytes: int = 0) -> None:
    """Note the size as of then: what it is now and so much more."""
    conn.execute(NOTE, [ago, more_bytes])


def used(conn: psycopg.Connection) -> int:
    return disk_usage.read(conn, None).database_bytes


def test_a_growth_that_is_known_is_found_with_the_time_until_the_disk_is_full(
    conn: psycopg.Connection,
) -> None:
    noted(conn, 2 * HOUR)
    noted(conn, HOUR / 2)
    before = used(conn)
    conn.execute("CREATE TABLE theirs AS SELECT repeat('x', 1000) FROM generate_series(1, 10000)")

    found = disk_usage.read(conn, before + 10**9)

    grown = found.database_bytes - before
    assert grown > 10**7
    assert found.growth_bytes_per_h == pytest.approx(grown / 2, rel=0.01)
    assert found.full_in_s == pytest.approx((10**9 - grown) / grown * 2 * 3600, rel=0.01)


def test_the_outbox_is_all_of_its_partitions_with_their_indexes(conn: psycopg.Connection) -> None:
    before = disk_usage.read(conn, None).outbox_bytes
    conn.execute(
        "INSERT INTO outbox (provider_id, amount, operation, created_at)"
        " SELECT 1, 0, 'modified', now() - make_interval(days => n %% 2)"
        " FROM generate_series(1, 20000) n".replace("%%", "%")
    )

    found = disk_usage.read(conn, None)

    assert found.outbox_bytes - before > 20_000 * 60
    assert found.outbox_bytes < found.database_bytes


def test_a_full_disk_is_full_now_and_one_of_unknown_size_never(conn: psycopg.Connection) -> None:
    noted(conn, 3 * HOUR, -(10**8))

    assert disk_usage.read(conn, used(conn)).full_in_s == 0
    assert disk_usage.read(conn, 1).full_in_s == 0
    unknown = disk_usage.read(conn, None)
    assert unknown.full_in_s is None
    assert unknown.growth_bytes_per_h == pytest.approx(1e8 / 3, rel=0.01)


def test_what_shrinks_is_never_full(conn: psycopg.Connection) -> None:
    noted(conn, HOUR, 10**8)

    found = disk_usage.read(conn, 1e12)

    assert found.growth_bytes_per_h == pytest.approx(-1e8, rel=0.01)
    assert found.full_in_s is None


@pytest.mark.parametrize("ago", [HOUR / 3, 7 * HOUR, -HOUR], ids=["young", "old", "in the future"])
def test_of_a_point_too_near_too_old_or_of_a_wrong_clock_nothing_follows(
    conn: psycopg.Connection, ago: timedelta
) -> None:
    noted(conn, ago, -(10**8))

    found = disk_usage.read(conn, 1e12)

    assert (found.growth_bytes_per_h, found.full_in_s) == (None, None)


def test_a_size_is_noted_every_ten_minutes_and_forgotten_after_the_window(
    conn: psycopg.Connection,
) -> None:
    for ago in (7 * HOUR, -HOUR, 5 * HOUR):
        noted(conn, ago)
    for _ in range(3):
        disk_usage.note(conn)

    assert conn.execute(NOTED).fetchone() == (2,), "that of five hours ago, and now's"
    conn.execute("UPDATE disk_usage SET measured_at = measured_at - interval '11 minutes'")
    disk_usage.note(conn)
    assert conn.execute(NOTED).fetchone() == (3,)
