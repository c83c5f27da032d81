"""Which partitions the outbox has ahead: four hours each, and no hour without one."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import psycopg
import pytest

from services.syncer import upkeep
from tests.support import ledger
from tests.support.partitions import drop_made, made


def spans(conn: psycopg.Connection) -> list[tuple[datetime, datetime]]:
    """Return what the partitions cover, in order."""
    bounds = conn.execute(
        "SELECT b[1]::timestamptz, b[2]::timestamptz FROM pg_class c, regexp_match("
        " pg_get_expr(relpartbound, oid), '\\(''(.+)''\\) TO \\(''(.+)''\\)') AS b"
        " WHERE relname ~ '^outbox_2' AND relkind = 'r' ORDER BY 1"
    )
    return bounds.fetchall()


def test_partitions_are_made_ahead_for_these_four_hours_and_the_next_ones(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    drop_made(conn)
    assert [upkeep.run_once(ours, outbox_h=24, history_d=30).made for _ in range(2)] == [2, 0]
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
    upkeep.run_once(ours, outbox_h=24, history_d=30)
    now = datetime.now(UTC)
    found = [(begins, ends) for begins, ends in spans(conn) if ends > now]
    assert found[0][0] <= now
    assert found[-1][1] > now + timedelta(hours=4)
    assert all(ends == begins for (_, ends), (begins, _) in pairwise(found)), "no gap"
    assert all(ends - begins <= timedelta(hours=4) for begins, ends in found)
