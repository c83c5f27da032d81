"""A queue around the core whose consumer died keeps its bound, and the ticker goes on."""

from collections.abc import Iterator

import docker
import pika
import pytest
from docker.models.containers import Container
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import NackError

from tests.support import containers, programs, servers
from tests.support.containers import published_port
from tests.support.eventually import eventually
from tests.support.readiness import await_broker

BOUND_BYTES, MESSAGE_BYTES, MESSAGES = 1_000_000, 100_000, 100
BODY = b"x" * MESSAGE_BYTES
HELD_MAX = BOUND_BYTES // MESSAGE_BYTES + 1


@pytest.fixture
def broker(engine: docker.DockerClient) -> Iterator[Container]:
    """A broker as compose starts it, with a small bound for queues around the core."""
    options = servers.rabbitmq_options()
    options["environment"] |= {"RABBITMQ_QUEUE_MAX_BYTES": str(BOUND_BYTES)}
    with containers.running(engine, "RABBITMQ_IMAGE", **options) as container:
        await_broker(container)
        yield container


def bind(channel: BlockingChannel, exchange: str) -> str:
    """Make a topic exchange and a queue bound to it that nobody consumes."""
    queue = f"{exchange}.of the dead"
    channel.exchange_declare(exchange, "topic", durable=True)
    channel.queue_declare(queue, durable=True)
    channel.queue_bind(queue, exchange, "#")
    return queue


def ready(channel: BlockingChannel, queue: str) -> int:
    return int(channel.queue_declare(queue, passive=True).method.message_count)


def test_full_queues_hold_no_more_than_their_bound_and_stop_no_tick(broker: Container) -> None:
    url = servers.Rabbitmq(published_port(broker, 5672), published_port(broker, 15672)).url("/")
    persistent = pika.BasicProperties(delivery_mode=2)
    with (
        programs.running("services.ticker", RABBITMQ_URL=url, TICK_INTERVAL_SECONDS="1") as ticker,
        pika.BlockingConnection(pika.URLParameters(url)) as connection,
    ):
        channel = connection.channel()
        channel.confirm_delivery()
        changes, notifications = bind(channel, "changes"), bind(channel, "notifications")

        for _ in range(MESSAGES):  # each is taken: the oldest one goes
            channel.basic_publish("changes", "x", BODY, persistent)
        eventually(lambda: 0 < ready(channel, changes) <= HELD_MAX)

        def publish_all() -> None:
            for _ in range(MESSAGES):
                channel.basic_publish("notifications", "x", BODY, persistent)

        with pytest.raises(NackError):  # here it is refused: nothing is lost silently
            publish_all()
        assert ready(channel, notifications) < MESSAGES

        sent = ticker.metric("minutebook_ticks_published_total")
        eventually(lambda: ticker.metric("minutebook_ticks_published_total") >= sent + 2, 20)
        assert ticker.health() == (200, '{"ok": true, "problems": {}}')
