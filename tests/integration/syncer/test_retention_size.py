"""Counted partitions go, the oldest first, while the outbox is larger than it may be."""

from datetime import UTC, datetime, timedelta
from typing import LiteralString

import psycopg
import pytest
import redis

from services.syncer import retention
from services.syncer.partitions import Kept
from tests.support import programs
from tests.support.eventually import eventually
from tests.support.ledger import count_all
from tests.support.partitions import GO_ON, drop_made, made

MAKE: LiteralString = "SELECT minutebook_make_partition(%s, interval '1 hour')"
FILL: LiteralString = (
    "INSERT INTO outbox (provider_id, amount, operation, created_at)"
    " SELECT 1, 0, 'modified', %s FROM generate_series(1, %s)"
)
BYTES: LiteralString = (
    "SELECT inhrelid::regclass::text, pg_total_relation_size(inhrelid)"
    " FROM pg_inherits WHERE inhparent = 'outbox'::regclass"
)
ROWS = 2000


def fill(conn: psycopg.Connection, hours_ago: int, rows: int = ROWS) -> str:
    """Make the partition of an hour that is over and fill it; returns its name."""
    at = datetime.now(UTC) - timedelta(hours=hours_ago)
    conn.execute(MAKE, [at])
    conn.execute(FILL, [at, rows])
    return f"outbox_{at:%Y%m%d_%H}"


def span(conn: psycopg.Connection, name: str, first_min: int, last_min: int, rows: int) -> None:
    """Make and fill a partition between two times, in minutes from now."""
    now = datetime.now(UTC)
    begins, ends = (now + timedelta(minutes=one) for one in (first_min, last_min))
    conn.execute(
        f"CREATE TABLE {name} PARTITION OF outbox FOR VALUES FROM ('{begins}') TO ('{ends}')"
    )
    conn.execute(FILL, [begins, rows])


def size(conn: psycopg.Connection, *names: str) -> int:
    """Return the bytes of these partitions, or of all."""
    found: dict[str, int] = dict(conn.execute(BYTES).fetchall())
    return sum(found[name] for name in names or found)


def test_the_oldest_go_until_the_rest_fits(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    names = [fill(conn, hours_ago) for hours_ago in (20, 19, 18, 17, 16)]
    count_all(conn)
    before = set(made(conn))
    fits = size(conn) - size(conn, *names[:2])

    assert retention.run_once(ours, Kept(24, 30)).dropped == 0, "no limit"
    assert retention.run_once(ours, Kept(24, 30, size(conn) + 10**6)).dropped == 0, "all fits"
    done = retention.run_once(ours, Kept(24, 30, size(conn) - size(conn, names[0]) - 1))

    assert done.dropped == 2
    assert before - set(made(conn)) == set(names[:2])
    assert size(conn) <= fits + 10**6, "but for the empty ones that were made ahead"


def test_what_is_older_than_its_hours_goes_however_small_all_is(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    old, young = fill(conn, 30), fill(conn, 20)
    count_all(conn)

    assert retention.run_once(ours, Kept(24, 30, 1e12)).dropped == 1
    assert old not in made(conn)
    assert young in made(conn)


def test_what_no_tick_has_counted_stays_however_large_until_one_has(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    oldest, older, old = (fill(conn, hours_ago) for hours_ago in (20, 19, 18))
    count_all(conn)
    for hours_ago in (20, 18):
        conn.execute(FILL, [datetime.now(UTC) - timedelta(hours=hours_ago), 1])

    assert retention.run_once(ours, Kept(24, 30, 1)).dropped == 1
    assert older not in made(conn)
    assert {oldest, old} <= set(made(conn))
    assert conn.execute("SELECT count(*) FROM outbox").fetchone() == (2 * ROWS + 2,)
    count_all(conn)
    assert retention.run_once(ours, Kept(24, 30, 1)).dropped == 2


def test_where_rows_are_written_or_may_be_still_stays_however_large(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    drop_made(conn)
    span(conn, "outbox_20200101_01", -90, -15, 1)
    span(conn, "outbox_20200101_02", -15, -5, ROWS)
    span(conn, "outbox_20200101_03", -5, 55, ROWS)
    count_all(conn)

    assert retention.run_once(ours, Kept(24, 30, 1)).dropped == 1
    assert {"outbox_20200101_02", "outbox_20200101_03"} < set(made(conn))


def test_what_somebody_attached_counts_and_stays(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    drop_made(conn)
    span(conn, "theirs", -240, -180, 10 * ROWS)
    span(conn, "outbox_20200101_03", -180, -120, 1)
    count_all(conn)

    assert retention.run_once(ours, Kept(24, 30, size(conn, "theirs"))).dropped == 1
    assert "theirs" in made(conn)


@pytest.mark.parametrize("end", ["'infinity'", "MAXVALUE"])
def test_what_never_ends_stays_and_holds_up_no_other(
    ours: psycopg.Connection, conn: psycopg.Connection, end: str
) -> None:
    drop_made(conn)
    span(conn, "outbox_20200101_03", -1800, -1700, 1)
    conn.execute(
        "CREATE TABLE outbox_99990101_00 PARTITION OF outbox"
        f" FOR VALUES FROM (now() + interval '1 day') TO ({end})"
    )
    count_all(conn)

    assert retention.run_once(ours, Kept(24, 30)).dropped == 1
    assert "outbox_99990101_00" in made(conn)


@pytest.mark.parametrize("limit_gb", ["0", "0.000001"])
def test_the_syncer_keeps_to_the_size_that_is_set_and_says_how_full_the_disk_is(
    environment: dict[str, str], conn: psycopg.Connection, store: "redis.Redis", limit_gb: str
) -> None:
    name = fill(conn, 20)
    conn.execute(GO_ON)
    conn.execute(
        "INSERT INTO disk_usage (measured_at, database_bytes)"
        " VALUES (now() - interval '2 hours', pg_database_size(current_database()) - 10^8)"
    )
    settings = environment | {"OUTBOX_RETENTION_GB": limit_gb, "POSTGRES_DISK_GB": "0.3"}
    with (
        programs.running("services.ticker", **environment),
        programs.running("services.syncer", **settings) as syncer,
    ):
        if limit_gb != "0":
            eventually(lambda: name not in made(conn))
        eventually(lambda: syncer.metric("minutebook_postgres_disk_full_seconds") > 0)
        hours = syncer.metric("minutebook_postgres_disk_full_seconds") / 3600
        used = syncer.metric("minutebook_postgres_database_bytes")
    assert (name in made(conn)) == (limit_gb == "0")
    assert hours == pytest.approx((3e8 - used) / 5e7, rel=0.1)
