"""What a broker says of itself and of queues to someone who only looks: nothing is declared."""

from collections.abc import Sequence
from dataclasses import dataclass

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker

from shared.amqp import QueueState
from shared.errors import Unavailable
from shared.producer import parameters
from shared.settings import RabbitmqSettings

NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Look:
    """A broker's version, and its queues by name: None where there is no such queue."""

    version: str
    queues: dict[str, QueueState | None]


def look(settings: RabbitmqSettings, queues: Sequence[str], *, name: str) -> Look:
    """Ask the broker for its version and the state of `queues`. Raises `Unavailable`."""
    try:
        connection = pika.BlockingConnection(parameters(settings, name))
        try:
            # The blocking connection does not pass on what the broker said of itself.
            impl: pika.SelectConnection = vars(connection)["_impl"]
            properties = impl.server_properties or {}
            version = str(properties.get("version", "unknown"))
            return Look(version, {one: _state(connection, one) for one in queues})
        finally:
            connection.close()
    except (AMQPError, OSError) as error:
        raise Unavailable("rabbitmq", _detail(error)) from error


def _state(connection: pika.BlockingConnection, queue: str) -> QueueState | None:
    channel = connection.channel()  # one each: the broker closes it when there is no such queue
    try:
        answer = channel.queue_declare(queue, passive=True)
    except ChannelClosedByBroker as error:
        if error.reply_code == NOT_FOUND:
            return None
        raise
    return QueueState(queue, answer.method.message_count, answer.method.consumer_count)


def _detail(error: Exception) -> str:
    # Never str(error) of a connection failure: pika puts addresses in it.
    if isinstance(error, ChannelClosedByBroker):
        return f"channel closed: {error.reply_code} {error.reply_text}"
    return type(error).__name__
