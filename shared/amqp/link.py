"""What every connection to RabbitMQ shares: parameters, and errors translated at one seam."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pika
from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorException,
)
from pika.exceptions import AMQPError, ChannelClosedByBroker

from shared.errors import Unavailable
from shared.settings import RabbitmqSettings

HEARTBEAT_S = 5
CONNECT_TIMEOUT_S = 5.0
NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class QueueState:
    """What the broker said of a queue when it was declared."""

    name: str
    messages: int
    consumers: int


def parameters(settings: RabbitmqSettings, name: str) -> pika.URLParameters:
    """Return how to connect; `name` is shown on the broker's management page."""
    made = pika.URLParameters(settings.rabbitmq_url.get_secret_value())
    made.heartbeat = HEARTBEAT_S
    made.socket_timeout = CONNECT_TIMEOUT_S
    made.stack_timeout = CONNECT_TIMEOUT_S
    made.blocked_connection_timeout = None
    made.connection_attempts = 1
    made.client_properties = {"connection_name": f"minutebook-{name}"}
    return made


@contextlib.contextmanager
def translating() -> Iterator[None]:
    """Turn what the broker or the network did into `Unavailable`; let the rest pass."""
    try:
        yield
    # Connectors' errors are no AMQPError: pika turns only a refused socket into one, and leaves
    # others as they are, a host name that cannot be resolved among them.
    except (AMQPError, AMQPConnectorException, OSError) as error:
        raise Unavailable("rabbitmq", _detail(error)) from error


def _detail(error: Exception) -> str:
    # Never str(error) of a connection failure: pika puts addresses in it, some versions the URL.
    if isinstance(error, ChannelClosedByBroker):
        return f"the broker closed the channel: {error.reply_code} {error.reply_text}"
    if isinstance(error, AMQPConnectionWorkflowFailed):
        return type(error.exceptions[-1]).__name__
    return type(error).__name__
