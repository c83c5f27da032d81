"""Exactly once from a stream, for messages that carry nothing at all."""

import threading
from collections.abc import Iterator
from functools import partial

import pika
import psycopg
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from services.ingest import stream
from services.ingest.commit_pacing import CommitPacing
from services.ingest.stream import Message
from services.ingest.stream_reader import StreamWriter
from shared.errors import Unavailable
from shared.health import Health
from tests.support import messages, programs, streams
from tests.support.eventually import eventually

STREAM = "transactions"
BODY = b'{"id": 1, "value": 1}'


@pytest.fixture
def channel(amqp_url: str) -> Iterator[BlockingChannel]:
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    channel = connection.channel()
    channel.confirm_delivery()
    declare(channel)
    yield channel
    connection.close()


@pytest.fixture(autouse=True)
def _provider(conn: psycopg.Connection) -> None:
    conn.execute("INSERT INTO initial_data VALUES (1, 'Visa', 0)")


def declare(channel: BlockingChannel, **arguments: str | int) -> None:
    channel.queue_declare(
        STREAM,
        durable=True,
        arguments={
            "x-queue-type": "stream",
            **{k.replace("_", "-"): v for k, v in arguments.items()},
        },
    )


def publish(channel: BlockingChannel, number: int, body: bytes = BODY) -> None:
    for _ in range(number):
        channel.basic_publish("", STREAM, body)


def rows(conn: psycopg.Connection) -> int:
    row = conn.execute("SELECT count(*) FROM historical_transactions").fetchone()
    return row[0] if row else 0


def more_than(conn: psycopg.Connection, seen: int) -> bool:
    return rows(conn) > seen


def environment(dsn: str, amqp_url: str) -> dict[str, str]:
    return {"POSTGRES_DSN": dsn, "RABBITMQ_URL": amqp_url, "INGEST_STREAM": STREAM}


def test_killed_again_and_again_it_stores_every_message_exactly_once(
    dsn: str, amqp_url: str, conn: psycopg.Connection, channel: BlockingChannel
) -> None:
    publish(channel, 200)
    for round_number in range(6):
        seen = rows(conn)
        with programs.running("services.ingest", **environment(dsn, amqp_url)) as ingest:
            publish(channel, 300)
            eventually(partial(more_than, conn, seen))
            ingest.kill()
        assert rows(conn) <= 200 + 300 * (round_number + 1)
    with programs.running("services.ingest", **environment(dsn, amqp_url)):
        eventually(lambda: rows(conn) == 2000)
        publish(channel, 1)
        eventually(lambda: rows(conn) == 2001)


def test_killed_between_commit_and_acknowledgement_nothing_is_stored_again(
    dsn: str, amqp_url: str, conn: psycopg.Connection, channel: BlockingChannel
) -> None:
    publish(channel, 50)
    with programs.running("services.ingest", **environment(dsn, amqp_url)) as ingest:
        eventually(lambda: rows(conn) == 50)
        ingest.kill()
    with psycopg.connect(dsn, autocommit=True) as other:
        assert stream.position(other, STREAM).reached == 49
    with programs.running("services.ingest", **environment(dsn, amqp_url)) as ingest:
        publish(channel, 1)
        eventually(lambda: rows(conn) == 51)
        eventually(lambda: ingest.metric("minutebook_ingest_rows_total") == 1)
        assert ingest.metric("minutebook_ingest_duplicates_total") == 0


def test_unfit_messages_of_a_stream_become_dead_letters_once(
    dsn: str, amqp_url: str, conn: psycopg.Connection, channel: BlockingChannel
) -> None:
    publish(channel, 3, b"unfit")
    for _ in range(2):
        with programs.running("services.ingest", **environment(dsn, amqp_url)) as ingest:
            eventually(lambda: conn.execute("SELECT count(*) FROM dead_letter").fetchone() == (3,))
            ingest.kill()
    publish(channel, 1)
    with programs.running("services.ingest", **environment(dsn, amqp_url)):
        eventually(lambda: rows(conn) == 1)
    assert conn.execute("SELECT count(*) FROM dead_letter").fetchone() == (3,)


def test_one_reads_and_another_takes_over(
    dsn: str, amqp_url: str, conn: psycopg.Connection, channel: BlockingChannel
) -> None:
    settings = environment(dsn, amqp_url)
    with (
        programs.running("services.ingest", **settings) as first,
        programs.running("services.ingest", **settings) as second,
    ):
        eventually(lambda: ("reading_stream" in first.logs()) ^ ("reading_stream" in second.logs()))
        publish(channel, 100)
        eventually(lambda: rows(conn) == 100)
        (first if "reading_stream" in first.logs() else second).kill()
        publish(channel, 100)
        eventually(lambda: rows(conn) == 200)


def test_a_stream_that_nobody_made_is_made_as_one(
    dsn: str, amqp_url: str, conn: psycopg.Connection, channel: BlockingChannel
) -> None:
    channel.queue_delete(STREAM)
    with programs.running("services.ingest", **environment(dsn, amqp_url)) as ingest:
        eventually(lambda: "consuming" in ingest.logs())
        declare(channel)  # an error, were it no stream
        publish(channel, 1)
        eventually(lambda: rows(conn) == 1)


@pytest.mark.parametrize("length", [5, 20], ids=["shorter", "longer"])
def test_a_stream_created_again_stops_ingest_with_a_clear_error(
    dsn: str, amqp_url: str, conn: psycopg.Connection, channel: BlockingChannel, length: int
) -> None:
    publish(channel, 10)
    with programs.running("services.ingest", **environment(dsn, amqp_url)):
        eventually(lambda: rows(conn) == 10)
    channel.queue_delete(STREAM)
    declare(channel)
    publish(channel, length, b'{"id": 1, "value": 2}')
    with programs.running("services.ingest", **environment(dsn, amqp_url)) as ingest:
        assert eventually(lambda: ingest.process.poll() is not None, 30)
        assert ingest.process.returncode == 1
        assert "created again" in ingest.logs()
        nothing_came = length < 10
        assert ("unless the broker takes more than 10 s" in ingest.logs()) == nothing_came
    assert rows(conn) == 10


def test_retention_that_cut_unread_messages_stops_ingest_with_a_clear_error(
    dsn: str, amqp_url: str, conn: psycopg.Connection, channel: BlockingChannel
) -> None:
    channel.queue_delete(STREAM)
    declare(channel, x_max_length_bytes=100_000, x_stream_max_segment_size_bytes=50_000)
    publish(channel, 10)
    with programs.running("services.ingest", **environment(dsn, amqp_url)):
        eventually(lambda: rows(conn) == 10)
    publish(channel, 400, b'{"id": 1, "value": 1}' + b" " * 2000)
    streams.cut_to(amqp_url, STREAM, 11)
    with programs.running("services.ingest", **environment(dsn, amqp_url)) as ingest:
        assert eventually(lambda: ingest.process.poll() is not None, 30)
        assert "retention" in ingest.logs()
    assert rows(conn) == 10


def test_of_two_who_go_on_from_the_same_place_one_is_refused(
    dsn: str, conn: psycopg.Connection
) -> None:
    start = stream.position(conn, STREAM)
    stream.advance(conn, start, start.after(Message.of(9, BODY)))
    with (
        psycopg.connect(dsn, autocommit=True) as other,
        pytest.raises(Unavailable, match="another reader"),
    ):
        stream.advance(other, start, start.after(Message.of(4, BODY)))
    assert stream.position(conn, STREAM).reached == 9


def test_what_is_read_from_an_older_position_is_not_stored(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    unused = partial(pytest.fail, "the test brings its own connection")
    rules, pacing = messages.rules(ours), CommitPacing(60)
    writer = StreamWriter(unused, rules, pacing, Health(), threading.Event())
    writer.prepare(ours)
    channel = messages.FakeChannel()
    channel.receive(messages.validated(BODY))
    writer.read_from = writer.position.after(Message.of(9, BODY))
    writer.backlog = channel.backlog
    with pytest.raises(Unavailable, match="must be read again"):
        writer.run_once(ours)
    assert rows(conn) == 0


def test_old_positions_are_forgotten_and_the_newest_stays(conn: psycopg.Connection) -> None:
    position = stream.position(conn, STREAM)
    for offset in range(300):
        following = position.after(Message.of(offset, BODY))
        stream.advance(conn, position, following)
        position = following
    assert stream.prune(conn, STREAM) > 0
    assert stream.position(conn, STREAM) == position


def test_with_a_single_message_unacknowledged_it_goes_on_after_a_restart(
    dsn: str, amqp_url: str, conn: psycopg.Connection, channel: BlockingChannel
) -> None:
    settings = environment(dsn, amqp_url) | {"INGEST_PREFETCH": "1"}
    for total in (3, 6):
        publish(channel, 3)
        with programs.running("services.ingest", **settings):
            eventually(partial(more_than, conn, total - 1))


def test_named_messages_move_the_position_too(
    dsn: str, amqp_url: str, conn: psycopg.Connection, channel: BlockingChannel
) -> None:
    for number in range(5):
        channel.basic_publish("", STREAM, BODY, pika.BasicProperties(message_id=f"m{number}"))
    with programs.running("services.ingest", **environment(dsn, amqp_url)):
        eventually(lambda: rows(conn) == 5)
    assert stream.position(conn, STREAM).reached == 4
