"""A notification is noted as sent once the broker has confirmed it; what no queue takes waits."""

import psycopg
import pytest
from prometheus_client import REGISTRY

from services.notifier.service import Limits
from tests.support import ledger, partitions
from tests.support.notifying import Life, Listener, add_alert, notifier_life

STATES = "SELECT sent_at IS NOT NULL, error FROM notification ORDER BY created_at, id"
NOT_TAKEN = "minutebook_notifications_not_taken_total"


@pytest.fixture(autouse=True)
def alert(conn: psycopg.Connection, providers: tuple[int, int]) -> int:
    """One that each movement of either provider meets."""
    return add_alert(conn, "change", 1)


def states(conn: psycopg.Connection) -> list[tuple[bool, str | None]]:
    """Return of each notification whether it is sent, and why not."""
    return conn.execute(STATES).fetchall()


def tell(conn: psycopg.Connection, life: Life, provider: int = 1) -> None:
    """Have a provider's movement told."""
    ledger.add(conn, provider, 1)
    ledger.count_all(conn)
    life.run()


def attempts(error: str) -> float:
    return REGISTRY.get_sample_value(NOT_TAKEN, {"error": error}) or 0.0


def test_a_message_says_all_of_the_notification(
    conn: psycopg.Connection, life: Life, listener: Listener, alert: int
) -> None:
    tell(conn, life)

    (body,) = listener.listen().values()
    assert list(body.items()) == [
        ("id", f"by-hand-2:n:{alert}:1"),
        ("alert_id", alert),
        ("source", "test"),
        ("source_id", "change of None"),
        ("condition", "change"),
        ("threshold", "1"),
        ("provider_id", 1),
        ("key", "1_Visa"),
        ("balance", "1001"),
        ("previous", "1000"),
        ("tick", "2020-01-01T00:02:00Z"),
        ("epoch", 2),
    ]
    assert states(conn) == [(True, None)]


def test_what_no_queue_takes_is_tried_at_each_tick_until_one_does(
    conn: psycopg.Connection, life: Life, listener: Listener
) -> None:
    listener.unbind()
    tell(conn, life)
    assert states(conn) == [(False, "unroutable")]

    before = attempts("unroutable")
    ledger.count_all(conn)
    life.run()
    life.run()  # no tick, no attempt
    assert attempts("unroutable") == before + 1
    assert REGISTRY.get_sample_value("minutebook_notifications_waiting") == 1

    listener.bind()
    ledger.count_all(conn)
    life.run()
    assert states(conn) == [(True, None)]
    assert len(listener.listen()) == 1
    assert REGISTRY.get_sample_value("minutebook_notifications_waiting") == 0


def test_one_that_no_queue_took_for_a_day_is_not_tried_any_more_and_says_why(
    conn: psycopg.Connection, life: Life, listener: Listener
) -> None:
    listener.unbind()
    for provider in (1, 2):
        tell(conn, life, provider)
    conn.execute(
        "UPDATE notification SET created_at = created_at - interval '24 hours 1 second'"
        " WHERE provider_id = 1"
    )

    listener.bind()
    ledger.count_all(conn)
    life.run()

    assert states(conn) == [(False, "unroutable"), (True, None)]


def test_a_queue_that_is_bound_to_some_takes_those_and_holds_up_no_other(
    conn: psycopg.Connection, life: Life, listener: Listener
) -> None:
    listener.unbind()
    listener.bind("change.2")
    ledger.add(conn, 2, 1)
    tell(conn, life)

    assert sorted(states(conn)) == [(False, "unroutable"), (True, None)]
    assert [one["provider_id"] for one in listener.listen().values()] == [2]


def test_a_queue_that_is_full_refuses_and_takes_it_once_there_is_room(
    conn: psycopg.Connection, life: Life, listener: Listener
) -> None:
    listener.unbind()
    with listener.full_queue():
        tell(conn, life)
        assert states(conn) == [(False, "refused")]

    listener.bind()
    ledger.count_all(conn)
    life.run()
    assert states(conn) == [(True, None)]


def test_more_than_can_be_tried_at_one_tick_are_tried_in_turn(
    conn: psycopg.Connection, dsn: str, amqp_url: str, life: Life, listener: Listener
) -> None:
    listener.unbind()
    for provider in (1, 1, 2, 2, 2):
        tell(conn, life, provider)
    listener.bind("change.2")

    with notifier_life(dsn, amqp_url, limits=Limits(page=2, again=2)) as other:
        for done in (0, 2, 3):
            ledger.count_all(conn)
            other.run()
            assert states(conn).count((True, None)) == done

    listener.listen()
    assert listener.times == 3


def test_what_was_written_and_not_published_is_published_by_the_next_life(
    conn: psycopg.Connection, dsn: str, amqp_url: str, life: Life, listener: Listener
) -> None:
    ledger.add(conn, 1, 1)
    ledger.count_all(conn)
    life.look()
    assert states(conn) == [(False, None)]

    with notifier_life(dsn, amqp_url) as other:
        other.run()

    assert states(conn) == [(True, None)]
    assert len(listener.listen()) == 1


def test_an_alert_that_is_changed_meanwhile_does_not_change_what_was_told(
    conn: psycopg.Connection, life: Life, listener: Listener
) -> None:
    listener.unbind()
    tell(conn, life)
    conn.execute("UPDATE alert SET condition = 'below', threshold = 7, active = false")

    listener.bind()
    ledger.count_all(conn)
    life.run()

    (body,) = listener.listen().values()
    assert (body["condition"], body["threshold"]) == ("change", "1")


def test_notifications_that_are_past_their_days_go_and_others_stay(
    conn: psycopg.Connection, dsn: str, amqp_url: str, life: Life
) -> None:
    for _ in range(4):
        tell(conn, life)
    conn.execute(
        "UPDATE notification SET created_at = now() - interval '2 days 1 minute' WHERE epoch < 5"
    )

    with notifier_life(dsn, amqp_url, kept_d=2) as by_a_clock_that_may_be_wrong:
        by_a_clock_that_may_be_wrong.run()
        assert len(states(conn)) == 4
    conn.execute(partitions.GO_ON)
    with notifier_life(dsn, amqp_url, kept_d=2, limits=Limits(pruned=2)) as other:
        other.run()
        assert len(states(conn)) == 2  # the rest of them at the next look
        other.run()

    assert conn.execute("SELECT epoch FROM notification").fetchall() == [(5,)]
