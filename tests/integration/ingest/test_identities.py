"""The same identity twice is one row; with other content it is one row and one conflict."""

import pika
import psycopg
import pytest

from tests.support import messages
from tests.support.concurrently import at_once
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

pytestmark = pytest.mark.usefixtures("providers")


def test_same_content_in_one_batch_is_one_row(ours: psycopg.Connection) -> None:
    outcome = store_batch(ours, [received(body(), "m1"), received(body(), "m1", tag=2)])
    assert (outcome.inserted, outcome.duplicates, outcome.dead) == (1, 1, {})
    assert rows(ours) == [(1, 600)]
    assert counted(ours) == truth(ours) == {1: 1600, 2: 2000}


def test_same_content_in_two_batches_is_one_row(ours: psycopg.Connection) -> None:
    assert store_batch(ours, [received(body(), "m1")]).inserted == 1
    again = store_batch(ours, [received(body(1, 5), "m2"), received(body(), "m1", tag=2)])
    assert (again.inserted, again.duplicates) == (1, 1)
    assert rows(ours) == [(1, 600), (1, 5)]
    assert counted(ours) == truth(ours)


@pytest.mark.parametrize("other", [body(1, 601), body(2, 600)], ids=["value", "provider"])
@pytest.mark.parametrize("batches", [1, 2])
def test_other_content_is_one_row_and_one_conflict_with_its_body(
    other: bytes, batches: int, ours: psycopg.Connection
) -> None:
    both = [received(body(), "m1"), received(other, "m1", tag=2)]
    for part in [both] if batches == 1 else [[one] for one in both]:
        store_batch(ours, part)
    assert rows(ours) == [(1, 600)]
    assert dead_letters(ours) == [("id_conflict", "open", other)]
    assert counted(ours) == truth(ours) == {1: 1600, 2: 2000}


def test_a_conflict_that_is_delivered_again_is_still_one_dead_letter(
    ours: psycopg.Connection,
) -> None:
    both = [received(body(), "m1"), received(body(2), "m1", tag=2)]
    store_batch(ours, both)
    again = store_batch(ours, both)
    assert (again.inserted, again.duplicates, again.dead) == (0, 1, {"id_conflict": 1})
    assert reasons(ours) == ["id_conflict"]


def test_a_repetition_behind_other_content_in_its_batch_is_no_conflict(
    ours: psycopg.Connection,
) -> None:
    store_batch(ours, [received(body(), "m1")])
    other = body(1, 601)
    behind = [received(other, "m1"), received(body(), "m1", tag=2), received(other, "m1", tag=3)]
    again = store_batch(ours, behind)
    assert (again.inserted, again.duplicates, again.dead) == (0, 2, {"id_conflict": 1})
    assert rows(ours) == [(1, 600)]
    assert dead_letters(ours) == [("id_conflict", "open", other)]


def test_other_content_behind_one_that_waits_is_not_decided_before_one_is_a_row(
    ours: psycopg.Connection,
) -> None:
    waits, other = body(99, 1), body(1, 2)
    first = store_batch(ours, [received(waits, "m1"), received(other, "m1", tag=2)])
    assert (first.inserted, first.dead) == (0, {"unknown_provider": 2})
    # The acknowledgement was lost, and now it comes alone.
    assert store_batch(ours, [received(other, "m1")]).inserted == 1
    messages.release_parked(ours)
    assert rows(ours) == [(1, 2)]
    assert dead_letters(ours) == [("unknown_provider", "waiting", waits)]
    ours.execute("INSERT INTO initial_data VALUES (99, 'Late', 0)")
    messages.release_parked(ours)
    assert rows(ours) == [(1, 2)]
    assert dead_letters(ours) == [("id_conflict", "open", waits)]
    assert counted(ours) == truth(ours)


def test_a_batch_stored_twice_because_the_answer_was_lost_doubles_nothing(
    ours: psycopg.Connection,
) -> None:
    bodies = (body(), body(), body(2, 1), b"{", body(99, 1), body())
    batch = [received(text, tag=tag) for tag, text in enumerate(bodies, 1)]
    first = store_batch(ours, batch)
    before = (rows(ours), dead_letters(ours), counted(ours))
    second = store_batch(ours, batch)
    assert (first.inserted, first.duplicates) == (4, 0)
    assert (second.inserted, second.duplicates) == (0, 4)
    assert (rows(ours), dead_letters(ours), counted(ours)) == before
    assert counted(ours) == truth(ours)


def test_equal_messages_without_identity_are_as_many_rows(ours: psycopg.Connection) -> None:
    store_batch(ours, [received(body(), tag=tag) for tag in range(1, 6)])
    assert rows(ours) == [(1, 600)] * 5


def test_two_that_store_the_same_identities_at_once_make_one_row_of_each(dsn: str) -> None:
    batch = [received(body(1, n), f"m{n}", tag=n + 1) for n in range(50)]
    with messages.ingest_connection(dsn) as one, messages.ingest_connection(dsn) as two:
        outcomes = at_once(lambda: store_batch(one, batch), lambda: store_batch(two, batch[::-1]))
        assert [one.messages() for one in outcomes] == [50, 50]
        assert sum(one.inserted for one in outcomes) == 50
        assert sum(one.duplicates for one in outcomes) == 50
        assert counted(one) == truth(one)
        assert sorted(rows(one)) == [(1, n) for n in range(50)]


@pytest.mark.parametrize("source", ["property", "header:txn", "field:txn"])
def test_the_identity_is_found_where_the_setting_says(
    source: str, dsn: str, amqp_url: str, ours: psycopg.Connection
) -> None:
    with messages.channel(amqp_url) as producer:
        producer.queue_declare(messages.QUEUE, durable=True)
        for one, other in (("a", "x"), ("b", "x"), ("a", "y")):
            kind = source.partition(":")[0]
            producer.basic_publish(
                "",
                messages.QUEUE,
                b'{"id": 1, "value": 600, "txn": "%s"}'
                % (one if kind == "field" else other).encode(),
                pika.BasicProperties(
                    message_id=one if kind == "property" else other,
                    headers={"txn": one if kind == "header" else other},
                ),
            )
    with messages.ingest(dsn, amqp_url, INGEST_MESSAGE_ID=source) as program:
        eventually(lambda: program.metric("minutebook_ingest_duplicates_total") == 1)
        messages.queue_drained(program, amqp_url)
    found = ours.execute("SELECT message_id FROM historical_transactions ORDER BY id").fetchall()
    assert found == [("a",), ("b",)]


def test_identities_that_are_made_up_grow_with_time_over_connections(
    dsn: str, amqp_url: str, conn: psycopg.Connection
) -> None:
    for _ in range(2):
        messages.publish(amqp_url, *[body()] * 12)
        with messages.ingest(dsn, amqp_url) as program:
            messages.queue_drained(program, amqp_url)

    found = conn.execute("SELECT message_id FROM historical_transactions ORDER BY id").fetchall()
    made_up = [str(identity) for (identity,) in found]
    assert len(made_up) == 24
    assert made_up == sorted(set(made_up)), "each belongs behind the last one in the index"
