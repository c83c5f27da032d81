"""By a clock that stepped nothing is removed; one that has gone on for an hour is believed."""

from collections.abc import Sequence

import psycopg
import pytest

from services.syncer.partitions import Kept
from services.syncer.retention import Retention
from tests.support.partitions import drop_made, made

HOUR, DAY, MONTH = 60, 1440, 31 * 1440
EXPIRED = """
SELECT minutebook_make_partition('2020-01-01 05:30+00');
UPDATE tick SET folded_at = now() - interval '31 days';
INSERT INTO received_message (message_id, provider_id, value, noted_at)
VALUES ('x', 1, 1, now() - interval '25 hours');
"""
TICK = """
INSERT INTO tick (epoch, token, boundary, snapshot, system_identifier, rows, amount, interim)
SELECT epoch + 1, epoch + 1, now() - make_interval(mins => %(ago)s), snapshot, system_identifier,
       0, 0, %(ago)s::int IS NULL
  FROM tick
 ORDER BY epoch DESC
 LIMIT 1
"""
LEFT = """
SELECT (SELECT count(*) FROM received_message),
       (SELECT count(*) FROM tick WHERE folded_at < now() - interval '30 days')
"""


def minutely(first: int, last: int) -> list[int | None]:
    return list(range(first, last - 1, -1))


@pytest.mark.parametrize(
    ("boundaries", "interval_s", "goes"),
    [
        pytest.param(minutely(3 * HOUR, 0), 60.0, True, id="it goes on"),
        pytest.param(minutely(MONTH + 3 * HOUR, MONTH), 60.0, False, id="of Postgres alone"),
        pytest.param([*minutely(DAY + 3 * HOUR, DAY), 0], 60.0, False, id="of the ticker, too"),
        pytest.param(
            [*minutely(DAY + 3 * HOUR, DAY), *minutely(HOUR + 1, 0)], 60.0, True, id="long since"
        ),
        pytest.param(minutely(3 * HOUR, -DAY), 60.0, True, id="back"),
        pytest.param([*minutely(9 * HOUR, 8 * HOUR), 0], 60.0, False, id="no ticker for hours"),
        pytest.param([0], 60.0, False, id="the first tick"),
        pytest.param([], 60.0, False, id="no tick yet"),
        pytest.param([None, None], 60.0, False, id="interim ticks"),
        pytest.param([2 * DAY, DAY, 0], 86_400.0, True, id="a tick a day"),
    ],
)
def test_by_a_clock_that_stepped_nothing_goes(
    ours: psycopg.Connection,
    conn: psycopg.Connection,
    boundaries: Sequence[int | None],
    interval_s: float,
    *,
    goes: bool,
) -> None:
    drop_made(conn)
    conn.execute(EXPIRED)
    for ago in boundaries:
        conn.execute(TICK, {"ago": ago})
    Retention(Kept(24, 30)).after_tick(ours, interval_s)
    partitions = made(conn)
    assert ("outbox_20200101_04" in partitions) != goes
    ((messages, ticks),) = conn.execute(LEFT).fetchall()
    assert (messages, ticks) == ((0, 0) if goes else (1, 1))
    assert len(partitions) > 1, "partitions are made by any clock"


def test_what_is_too_large_goes_by_any_clock(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    drop_made(conn)
    conn.execute(EXPIRED)
    conn.execute(TICK, {"ago": 0})
    Retention(Kept(24, 30, outbox_bytes=1)).after_tick(ours, 60.0)
    assert "outbox_20200101_04" not in made(conn)
    assert conn.execute(LEFT).fetchall() == [(1, 1)]
