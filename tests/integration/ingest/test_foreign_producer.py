"""Any producer's message becomes a row: plain pika, plain durable declare, no message_id."""

import psycopg
import pytest

from tests.support import messages, servers
from tests.support.eventually import eventually
from tests.support.messages import QUEUE, body, counted, rows, truth

pytestmark = pytest.mark.usefixtures("providers")

GIVEN = """
INSERT INTO historical_transactions (id, provider_id, transaction_value)
VALUES (1, 1, 100), (2, 1, 200), (3, 2, -200)
"""


def publish_plainly(amqp_url: str) -> None:
    """Publish as the first page of any tutorial does."""
    with messages.channel(amqp_url) as producer:
        producer.queue_declare(QUEUE, durable=True)
        producer.basic_publish("", QUEUE, b'{"id": 1, "value": 600}')


def test_a_producer_that_came_before_us_is_served(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    conn.execute(GIVEN)
    publish_plainly(amqp_url)
    with messages.ingest(dsn, amqp_url) as program:
        eventually(lambda: len(rows(conn)) == 4)
        messages.queue_drained(program, amqp_url)
    newest = conn.execute("SELECT * FROM historical_transactions ORDER BY id DESC").fetchone()
    assert newest is not None
    assert newest[:3] == (4, 1, 600)
    assert counted(conn) == truth(conn) == {1: 1900, 2: 1800}


def test_a_producer_that_comes_after_us_finds_its_declare_accepted(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    with messages.ingest(dsn, amqp_url) as program:
        messages.consuming(program)
        publish_plainly(amqp_url)
        eventually(lambda: rows(conn) == [(1, 600)])
        messages.queue_drained(program, amqp_url)
    assert counted(conn) == truth(conn)


def test_our_declare_makes_a_durable_queue_that_keeps_messages_without_us(
    dsn: str, amqp_url: str, rabbitmq_server: servers.Rabbitmq
) -> None:
    with messages.ingest(dsn, amqp_url) as program:
        messages.consuming(program)
        queue = rabbitmq_server.manage("GET", f"queues/{amqp_url.rpartition('/')[2]}/{QUEUE}")
    assert (queue["durable"], queue["auto_delete"], queue["exclusive"]) == (True, False, False)
    assert queue["arguments"] in ({}, {"x-queue-type": "quorum"})


@pytest.mark.parametrize(
    "arguments",
    [{"x-queue-type": "classic"}, {"x-queue-type": "quorum", "x-max-length": 1000}],
    ids=["classic", "quorum with arguments"],
)
def test_a_queue_that_someone_declared_otherwise_is_taken_as_it_is(
    arguments: dict[str, object], dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    with messages.channel(amqp_url) as producer:
        producer.queue_declare(QUEUE, durable=True, arguments=arguments)
        producer.basic_publish("", QUEUE, body(1, 600))
        with messages.ingest(dsn, amqp_url) as program:
            eventually(lambda: rows(conn) == [(1, 600)])
            producer.basic_publish("", QUEUE, body(2, -1))
            eventually(lambda: rows(conn) == [(1, 600), (2, -1)])
            messages.queue_drained(program, amqp_url)


def test_messages_become_rows_in_the_order_in_which_they_were_sent(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    messages.publish(amqp_url, *(body(1, value) for value in range(200)))
    # One batch under way at a time: of two, each has a writer, and the younger may draw ids first.
    with messages.ingest(dsn, amqp_url, INGEST_BATCH_MAX="7", INGEST_PREFETCH="7"):
        eventually(lambda: len(rows(conn)) == 200)
    assert rows(conn) == [(1, value) for value in range(200)]
