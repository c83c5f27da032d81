"""Change records become prices: by version, in order, however often they are delivered."""

from itertools import permutations

import psycopg
import pytest

from shared.unfit import Unfit
from tests.support import alert_records, ops_tool
from tests.support.alert_records import UNFIT_RECORDS, dead_letters, publish, working
from tests.support.eventually import eventually
from tests.support.price_records import QUEUE, apply, costs, record, stored

MONEY = b'{"id": 1, "value": 600}'


def test_each_operation_does_what_it_says(conn: psycopg.Connection) -> None:
    other = costs("1.09", day="2026-11-29")
    assert apply(conn, record(), record("MODIFIED", other, source_id="B")) == ["applied"] * 2
    assert stored(conn) == {"A": ("2026-11-28", "1.0842"), "B": ("2026-11-29", "1.09")}

    apply(
        conn,
        record("MODIFIED", costs("2", day="2026-11-30")),
        record("REMOVED", None, source_id="B"),
    )

    assert stored(conn) == {"A": ("2026-11-30", "2")}


def test_in_whatever_order_versions_come_the_largest_one_is_what_is_known(
    conn: psycopg.Connection,
) -> None:
    """Each is delivered twice, too."""
    first = record(version=1)
    changed = record("MODIFIED", costs("2"), version=2)
    removed = record("REMOVED", None, version=3)
    for late, largest in ((changed, {"A": ("2026-11-28", "2")}), (removed, {})):
        for order in permutations([first, first, late, late]):
            with conn.transaction(force_rollback=True):
                apply(conn, *order)
                assert stored(conn) == largest


def test_without_versions_the_last_one_delivered_wins(conn: psycopg.Connection) -> None:
    apply(conn, record(), record(price=costs("3")), record(price=costs("2")))
    assert stored(conn) == {"A": ("2026-11-28", "2")}

    apply(conn, record("REMOVED", None), record("REMOVED", None, source_id="never known"))
    assert stored(conn) == {}
    assert apply(conn, record()) == ["applied"]


def test_a_day_has_one_price_and_another_name_for_it_is_unfit(conn: psycopg.Connection) -> None:
    apply(conn, record())

    with pytest.raises(Unfit) as caught:
        apply(conn, record(source_id="B"))
    assert caught.value.reason == "price_conflict"
    assert apply(conn, record("REMOVED", None), record(source_id="B")) == ["applied"] * 2
    assert stored(conn) == {"B": ("2026-11-28", "1.0842")}


def test_records_of_the_queue_are_stored_and_unfit_ones_hold_up_nobody(
    conn: psycopg.Connection, dsn: str, amqp_url: str
) -> None:
    unfit = [(why, body) for why, bodies in UNFIT_RECORDS.items() for body in bodies]
    unfit += [
        ("missing_field", MONEY),
        ("missing_field", alert_records.record()),
        ("wrong_type", record(price=costs(1.0842))),
        ("invalid_value", record(price=costs("-1"))),
        ("invalid_value", record(price=costs("1", day="2026-02-29"))),
        ("out_of_range", record(price=costs("0." + "1" * 19))),
        ("price_conflict", record(source_id="B")),
    ]

    with working(dsn, amqp_url, QUEUE):
        publish(amqp_url, record(), *(body for _, body in unfit), queue=QUEUE)
        publish(amqp_url, record("MODIFIED", costs("2"), source_id="A"), queue=QUEUE)
        eventually(lambda: stored(conn) == {"A": ("2026-11-28", "2")})

    assert dead_letters(conn) == [(QUEUE, why) for why, _ in unfit]
    assert alert_records.left_in_queue(amqp_url, QUEUE) == 0


def test_a_dead_letter_is_replayed_as_a_price_and_never_becomes_money(
    conn: psycopg.Connection, dsn: str, amqp_url: str
) -> None:
    ops = ops_tool.deployment(dsn)
    with working(dsn, amqp_url, QUEUE):
        publish(amqp_url, record(), record(source_id="B"), MONEY, queue=QUEUE)
        eventually(lambda: len(dead_letters(conn)) == 2)
    apply(conn, record("REMOVED", None))

    done = ops.json("dead-letters", "replay", "--all", code=1)

    assert (done["applied"], done["rows"], done["dead"]) == (1, 0, {"missing_field": 1})
    assert stored(conn) == {"B": ("2026-11-28", "1.0842")}
    assert dead_letters(conn) == [(QUEUE, "missing_field")]
    assert conn.execute("SELECT count(*) FROM historical_transactions").fetchone() == (0,)
