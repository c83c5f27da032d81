"""A message that came before its provider waits, and becomes a row, once, when that appears."""

import itertools
import threading
import time
from functools import partial

import psycopg
import pytest
from prometheus_client import REGISTRY

from services.ingest import parked, service
from services.ingest.parked import Releaser
from shared.health import Health
from tests.support import locks, messages, refusing_trigger
from tests.support.eventually import eventually
from tests.support.messages import (
    body,
    counted,
    dead_letters,
    reasons,
    received,
    rows,
    store_batch,
    truth,
)
from tests.support.parked_messages import ADD, wait_for_99
from tests.support.timing import at_best_s

pytestmark = pytest.mark.usefixtures("providers")

AGE = """
UPDATE dead_letter
   SET received_at = now() - make_interval(secs => %s)
 WHERE message_id = %s
"""


def oldest_s(conn: psycopg.Connection) -> float:
    messages.release_parked(conn)
    return REGISTRY.get_sample_value("minutebook_oldest_waiting_seconds") or 0.0


def test_once_its_provider_is_there_a_waiting_message_is_a_row_in_its_place(
    dsn: str, amqp_url: str, ours: psycopg.Connection
) -> None:
    messages.publish(amqp_url, *(body(99, value) for value in range(20)), body(1, 600))
    with messages.ingest(dsn, amqp_url) as program:
        eventually(lambda: len(dead_letters(ours)) == 20)
        eventually(lambda: rows(ours) == [(1, 600)])
        assert {state for _, state, _ in dead_letters(ours)} == {"waiting"}
        ours.execute(ADD)
        eventually(lambda: len(rows(ours)) == 21)
        eventually(lambda: program.metric("minutebook_ingest_promoted_total") == 20)
    assert rows(ours) == [(1, 600), *((99, value) for value in range(20))]
    assert dead_letters(ours) == []
    assert counted(ours) == truth(ours) == {1: 1600, 2: 2000, 99: 290}


def test_a_waiting_message_is_a_row_within_a_second_of_its_provider(
    dsn: str, amqp_url: str, ours: psycopg.Connection
) -> None:
    late = itertools.count(100)

    def released_s() -> float:
        number = next(late)
        messages.publish(amqp_url, body(number, 1))
        eventually(lambda: len(dead_letters(ours)) == 1)
        began = time.monotonic()
        ours.execute("INSERT INTO initial_data VALUES (%s, 'Late', 0)", [number])
        eventually(lambda: (number, 1) in rows(ours))
        return time.monotonic() - began

    with messages.ingest(dsn, amqp_url):
        assert at_best_s(released_s, 1) <= 1


def test_a_waiting_message_that_is_delivered_again_waits_once(ours: psycopg.Connection) -> None:
    for _ in range(3):
        wait_for_99(ours, "m1", None)
    assert len(dead_letters(ours)) == 2
    ours.execute(ADD)
    assert messages.release_parked(ours) == 2
    assert messages.release_parked(ours) == 0
    assert rows(ours) == [(99, 1), (99, 2)]


def test_how_long_the_oldest_has_waited_is_known_over_all_providers(
    ours: psycopg.Connection,
) -> None:
    assert oldest_s(ours) == 0
    wait_for_99(ours, "a", "b")
    store_batch(ours, [received(body(7), "c"), received(b"unfit", "d")])
    ours.execute(AGE, [500, "d"])
    assert oldest_s(ours) < 100
    ours.execute(AGE, [400, "a"])
    assert 400 <= oldest_s(ours) < 450
    ours.execute(AGE, [450, "c"])
    assert oldest_s(ours) >= 450


def test_one_that_is_delivered_again_after_its_provider_came_is_one_row(
    ours: psycopg.Connection,
) -> None:
    wait_for_99(ours, "m1")
    ours.execute(ADD)
    assert store_batch(ours, [received(body(99, 1), "m1")]).inserted == 1
    assert messages.release_parked(ours) == 0
    assert (rows(ours), dead_letters(ours)) == ([(99, 1)], [])
    assert counted(ours) == truth(ours)


def test_one_whose_identity_was_used_meanwhile_for_something_else_is_a_conflict(
    ours: psycopg.Connection,
) -> None:
    wait_for_99(ours, "m1", "m2")
    store_batch(ours, [received(body(99, 3), "m1")])
    store_batch(ours, [received(body(1, 600), "m2")])
    ours.execute(ADD)
    assert messages.release_parked(ours) == 1
    assert rows(ours) == [(1, 600), (99, 1)]
    assert dead_letters(ours) == [
        ("id_conflict", "open", body(99, 2)),
        ("id_conflict", "open", body(99, 3)),
    ]
    assert counted(ours) == truth(ours)


def test_many_are_released_in_several_transactions_and_stopping_waits_for_one_of_them(
    ours: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parked, "RELEASED_MAX", 4)
    wait_for_99(ours, *[None] * 10)
    ours.execute(ADD)
    stop, health = threading.Event(), Health()
    unused = partial(pytest.fail, "the test brings its own connection")
    releaser = Releaser(unused, messages.rules(ours), health, stop)
    stop.set()
    assert releaser.run_once(ours) == 4
    stop.clear()
    assert releaser.run_once(ours) == 6
    assert rows(ours) == [(99, value) for value in range(1, 11)]
    assert counted(ours) == truth(ours)


def test_one_that_the_database_refuses_does_not_hold_back_the_others(
    ours: psycopg.Connection,
) -> None:
    wait_for_99(ours, *[None] * 10)
    ours.execute("ALTER TABLE historical_transactions ADD CHECK (transaction_value <> 4)")
    ours.execute(ADD)
    assert messages.release_parked(ours) == 9
    assert dead_letters(ours) == [("refused_by_database", "open", body(99, 4))]
    assert rows(ours) == [(99, value) for value in range(1, 11) if value != 4]
    assert counted(ours) == truth(ours)


def test_a_server_that_refuses_every_row_alike_turns_no_waiting_message_into_a_refused_one(
    ours: psycopg.Connection,
) -> None:
    wait_for_99(ours, None, None, None)
    refusing_trigger.create(ours, "P0002")
    ours.execute(ADD)
    assert messages.release_parked(ours) == 0
    assert reasons(ours) == ["unknown_provider"] * 3
    refusing_trigger.drop(ours)
    assert messages.release_parked(ours) == 3


def test_a_sequence_left_behind_delays_waiting_messages_and_loses_none(
    ours: psycopg.Connection,
) -> None:
    wait_for_99(ours, *[None] * 10)
    ours.execute(
        "INSERT INTO historical_transactions (id, provider_id, transaction_value)"
        " SELECT n, 1, 0 FROM generate_series(1, 30) n"
    )
    ours.execute("SET minutebook.writer = ''")
    ours.execute(ADD)
    eventually(lambda: messages.release_parked(ours) == 10)
    assert rows(ours)[30:] == [(99, value) for value in range(1, 11)]
    assert dead_letters(ours) == []


def test_a_provider_that_is_deleted_under_its_message_makes_it_wait(
    dsn: str, conn: psycopg.Connection, ours: psycopg.Connection
) -> None:
    batch = [received(body(1), tag=1), received(body(2), tag=2), received(body(1), tag=3)]
    outcomes: list[service.Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(store_batch(ours, batch)))
    with psycopg.connect(dsn) as user:
        user.execute("DELETE FROM initial_data WHERE id = 2")
        thread.start()
        locks.awaited(conn)
        user.commit()
    thread.join(30)
    assert [(one.inserted, one.dead) for one in outcomes] == [(2, {"unknown_provider": 1})]
    assert dead_letters(conn) == [("unknown_provider", "waiting", body(2))]
    assert counted(conn) == truth(conn) == {1: 2200}
