"""RabbitMQ, the only module that knows pika. A broken connection is thrown away, never repaired.

pika's blocking connection raises nothing when the broker closes a channel or cancels a consumer
(a queue deleted, say); `Broker.poll` watches for both and raises `Unavailable`.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pika
import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from shared.errors import Unavailable, Undecodable
from shared.settings import RabbitmqSettings

HEARTBEAT_S = 5
CONNECT_TIMEOUT_S = 5.0
TICK_EXCHANGE = "ticks"
TICK_QUEUE = "syncer.ticks"
TICK_QUEUE_ARGUMENTS = {
    "x-queue-type": "quorum",
    "x-single-active-consumer": True,
    "x-max-length": 1,
    "x-overflow": "drop-head",
}
NOT_FOUND = 404
STREAM_OFFSET = "x-stream-offset"
"""The argument of a stream's consumer, and the header of each of its messages."""
# What pika's decoder of headers raises, for instance for a timestamp in milliseconds: its year does
# not exist (pika issue 1698). pika gives the connection up and keeps the cause as text only.
UNDECODABLE = re.compile(
    r"Stream connection lost: "
    r"((ValueError|OverflowError|error|RecursionError|InvalidFieldTypeException)\(|OSError\(75,)"
)

Properties = pika.BasicProperties
OnMessage = Callable[[int, bool, Properties, bytes], None]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class QueueState:
    """What the broker said of a queue when it was declared."""

    name: str
    messages: int
    consumers: int


@contextlib.contextmanager
def translating() -> Iterator[None]:
    """Turn what the broker or the network did into `Unavailable`; let the rest pass.

    It is `Undecodable` when a message brought the connection down.
    """
    try:
        yield
    except (AMQPError, OSError) as error:
        if UNDECODABLE.match(str(error)):
            raise Undecodable("rabbitmq", f"undecodable header: {error}") from error
        raise Unavailable("rabbitmq", _detail(error)) from error


@contextlib.contextmanager
def connection(settings: RabbitmqSettings, *, name: str) -> Iterator["Broker"]:
    """Open one connection with one channel and close both at the end. Raises `Unavailable`.

    `name` is shown on the broker's management page.
    """
    parameters = pika.URLParameters(settings.rabbitmq_url.get_secret_value())
    parameters.heartbeat = HEARTBEAT_S
    parameters.socket_timeout = CONNECT_TIMEOUT_S
    parameters.stack_timeout = CONNECT_TIMEOUT_S
    parameters.blocked_connection_timeout = None
    parameters.connection_attempts = 1
    parameters.client_properties = {"connection_name": f"minutebook-{name}"}
    with translating():
        broker = Broker(pika.BlockingConnection(parameters))
    try:
        with translating():
            yield broker
    finally:
        broker.close()


class Broker:
    """One connection, one channel. Only `from_thread` may be called by another thread."""

    def __init__(self, connection: pika.BlockingConnection) -> None:
        """Take over an open connection."""
        self._connection = connection
        self._channel = connection.channel()
        self._cancelled = False
        self._tag = ""

    def declare_transactions(self, queue: str) -> QueueState:
        """Find the users' queue whatever its type; make it durable and plain if there is none.

        Passively first: a declare with other arguments than the queue has would fail.
        """
        return self._declare(queue, None)

    def declare_stream(self, stream: str) -> QueueState:
        """Find the users' stream, or make one that keeps everything."""
        return self._declare(stream, {"x-queue-type": "stream"})

    def declare_ticks(self) -> None:
        """Make the fanout exchange that ticks go to."""
        self._channel.exchange_declare(TICK_EXCHANGE, exchange_type="fanout", durable=True)

    def declare_tick_queue(self) -> None:
        """Make the syncer's queue: one active consumer, the newest tick only."""
        self.declare_ticks()
        self._channel.queue_declare(TICK_QUEUE, durable=True, arguments=TICK_QUEUE_ARGUMENTS)
        self._channel.queue_bind(TICK_QUEUE, TICK_EXCHANGE)

    def consume(
        self,
        queue: str,
        *,
        prefetch: int,
        on_message: OnMessage,
        stream_offset: int | str | None = None,
    ) -> None:
        """Start deliveries: `on_message(tag, redelivered, properties, body)` from `poll`.

        `stream_offset` is where to begin in a stream: an offset, or `first`.
        """
        self._channel.basic_qos(prefetch_count=prefetch)
        self._channel.add_on_cancel_callback(self._on_cancelled)

        def deliver(
            _channel: BlockingChannel,
            method: pika.spec.Basic.Deliver,
            properties: pika.BasicProperties,
            body: bytes,
        ) -> None:
            on_message(method.delivery_tag or 0, method.redelivered, properties, body)

        arguments = None if stream_offset is None else {STREAM_OFFSET: stream_offset}
        self._tag = self._channel.basic_consume(queue, deliver, auto_ack=False, arguments=arguments)

    def poll(self, timeout_s: float) -> None:
        """Handle what has come, waiting up to `timeout_s` for the first; keep the heartbeat alive.

        Raises `Unavailable` when the connection, the channel or the consumer is gone, and
        `Undecodable` when a message brought the connection down.
        """
        with translating():
            self._connection.process_data_events(time_limit=timeout_s)
        if self._cancelled:
            raise Unavailable("rabbitmq", "the broker cancelled the consumer (queue deleted?)")
        if not self._channel.is_open:
            raise Unavailable("rabbitmq", "the broker closed the channel")

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge `tag`, or all up to it."""
        self._channel.basic_ack(tag, multiple=multiple)

    def publish_tick(self, body: bytes, *, expires_s: int) -> None:
        """Publish a tick and wait for the broker's confirm. Raises `Unavailable`."""
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=pika.DeliveryMode.Transient,
            expiration=str(expires_s * 1000),
        )
        with translating():
            self._channel.basic_publish(TICK_EXCHANGE, "", body, properties)

    def confirm(self) -> None:
        """Ask the broker to confirm what is published here from now on."""
        self._channel.confirm_delivery()

    def cancel(self) -> None:
        """Stop deliveries; what was delivered may still be acknowledged."""
        self._channel.basic_cancel(self._tag)

    def from_thread(self, call: Callable[[], None]) -> None:
        """Have `call` run by the thread that polls. Raises `Unavailable` if that is too late."""
        with translating():
            self._connection.add_callback_threadsafe(call)

    def close(self) -> None:
        """Close what is open; a connection that is already broken is simply let go."""
        with contextlib.suppress(AMQPError, OSError):
            self._connection.close()

    def _declare(self, queue: str, arguments: dict[str, str] | None) -> QueueState:
        try:
            answer = self._channel.queue_declare(queue, passive=True)
        except ChannelClosedByBroker as error:
            if error.reply_code != NOT_FOUND:
                raise
            self._channel = self._connection.channel()
            answer = self._channel.queue_declare(queue, durable=True, arguments=arguments)
        return QueueState(queue, answer.method.message_count, answer.method.consumer_count)

    def _on_cancelled(self, _frame: object) -> None:
        self._cancelled = True


def _detail(error: Exception) -> str:
    # Never str(error) of a connection failure: pika puts addresses in it, some versions the URL.
    if isinstance(error, ChannelClosedByBroker):
        return f"channel closed: {error.reply_code} {error.reply_text}"
    return type(error).__name__
