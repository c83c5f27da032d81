"""Which partitions the outbox has ahead: four hours each, and no hour without one."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import psycopg
import pytest

from ops.repair import partitions
from services.syncer import retention
from services.syncer.partitions import Kept
from tests.support import ledger
from tests.support.partitions import drop_made, in_default, made, spans


def test_partitions_are_made_ahead_for_these_four_hours_and_the_next_ones(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    drop_made(conn)
    assert [retention.run_once(ours, Kept(24, 30)).made for _ in range(2)] == [2, 0]
    expected = conn.execute(
        "SELECT 'outbox_' || to_char(date_bin('4 hours', now(), '1970-01-01 00:00Z')"
        " AT TIME ZONE 'UTC' + make_interval(hours => h), 'YYYYMMDD_HH24')"
        " FROM unnest(ARRAY[0, 4]) h"
    ).fetchall()
    assert made(conn) == [name for (name,) in expected]
    ledger.add_provider(conn, "Visa")
    rows = conn.execute("SELECT tableoid::regclass::text FROM outbox").fetchall()
    assert [name for (name,) in rows] == [made(conn)[0]]


@pytest.mark.parametrize("hourly", [[0], [1], [0, 1, 2], [2, 5], [-1, 3]])
def test_beside_hourly_partitions_they_take_the_gaps(
    ours: psycopg.Connection, conn: psycopg.Connection, hourly: list[int]
) -> None:
    drop_made(conn)
    for hour in hourly:
        conn.execute(
            "DO $$ DECLARE at timestamptz := date_trunc('hour', now(), 'UTC')"
            f" + interval '{hour} hours';"
            " BEGIN EXECUTE format('CREATE TABLE outbox_%s PARTITION OF outbox"
            " FOR VALUES FROM (%L) TO (%L)',"
            " to_char(at AT TIME ZONE 'UTC', 'YYYYMMDD_HH24'), at, at + interval '1 hour');"
            " END $$"
        )
    retention.run_once(ours, Kept(24, 30))
    now = datetime.now(UTC)
    found = [(begins, ends) for _, begins, ends in spans(conn) if ends > now]
    assert found[0][0] <= now
    assert found[-1][1] > now + timedelta(hours=4)
    assert all(ends == begins for (_, ends), (begins, _) in pairwise(found)), "no gap"
    assert all(ends - begins <= timedelta(hours=4) for begins, ends in found)


def test_of_a_long_retention_each_takes_longer_and_beside_others_the_gaps(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    drop_made(conn)
    day = 24
    conn.execute("SELECT minutebook_make_partition(now() + make_interval(hours => 2 * %s))", [day])
    retention.run_once(ours, Kept(365 * day, 30))
    assert retention.run_once(ours, Kept(day, 30)).made == 0
    conn.execute("SELECT minutebook_make_partition(now() + make_interval(hours => 4 * %s))", [day])
    found = [(begins, ends) for _, begins, ends in spans(conn)]
    lengths = [ends - begins for begins, ends in found]
    now = datetime.now(UTC)
    assert found[0][0] <= now
    assert max(lengths) > timedelta(hours=8)
    assert all(ends <= begins for (_, ends), (begins, _) in pairwise(found)), "none overlaps"


def test_where_ticks_are_rare_there_are_enough_until_after_the_next_one(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    retention.run_once(ours, Kept(24, 30), interval_s=86_400)
    assert spans(conn)[-1][2] > datetime.now(UTC) + timedelta(hours=48)


def test_what_has_the_name_of_the_next_one_is_left_alone_and_in_nobodys_way(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    drop_made(conn)
    retention.run_once(ours, Kept(24, 30))
    names = made(conn)
    drop_made(conn)
    for name in names:
        conn.execute(f"CREATE TABLE {name} (x int)")
    assert retention.run_once(ours, Kept(24, 30)).made == len(names)
    assert made(conn) == [f"{name}_2" for name in names]
    ledger.add_provider(conn, "Visa")
    ledger.count_all(conn)
    assert in_default(conn) == 0
    assert retention.run_once(ours, Kept(-48, 30)).dropped == len(names)


def test_a_repair_goes_round_what_has_the_name_of_a_partition(
    conn: psycopg.Connection, stray_visa: int
) -> None:
    ledger.add(conn, stray_visa, 7)
    conn.execute(
        "DO $$ BEGIN EXECUTE format('CREATE TABLE outbox_%s (x int)',"
        " to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD_HH24')); END $$"
    )
    assert partitions.repair_default(conn) == 2
    (name,) = made(conn)
    assert name.endswith("_2")
    assert in_default(conn) == 0
