"""Ticks: their exchange, the syncer's queue, publishing with confirms, and consuming.

pika's blocking connection raises nothing when the broker closes a channel or cancels a consumer
(a queue deleted, say); `Broker.poll` watches for both and raises `Unavailable`. A broken connection
is thrown away, never repaired.
"""

import contextlib
from collections.abc import Callable, Iterator

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from shared.amqp.connection import BLOCKED, parameters, translating
from shared.errors import Unavailable
from shared.settings import RabbitmqSettings

EXCHANGE = "ticks"
QUEUE = "syncer.ticks"
QUEUE_ARGUMENTS = {
    "x-queue-type": "quorum",
    "x-single-active-consumer": True,
    "x-max-length": 1,
    "x-overflow": "drop-head",
}

Delivered = tuple[int, bytes]
"""A tick's delivery tag and body."""


@contextlib.contextmanager
def connection(settings: RabbitmqSettings, *, name: str) -> Iterator["Broker"]:
    """Open one connection with one channel and close both at the end. Raises `Unavailable`."""
    to = parameters(settings, name)
    with translating(to):
        broker = Broker(pika.BlockingConnection(to))
    try:
        with translating():
            yield broker
    finally:
        broker.close()


class Broker:
    """One connection, one channel, one thread."""

    def __init__(self, connection: pika.BlockingConnection) -> None:
        """Take over an open connection."""
        self._connection = connection
        self._channel = connection.channel()
        self._delivered: Delivered | None = None
        self._cancelled = False

    def declare_exchange(self) -> None:
        """Make the fanout exchange that ticks go to."""
        self._channel.exchange_declare(EXCHANGE, exchange_type="fanout", durable=True)

    def declare_queue(self) -> None:
        """Make the syncer's queue: one active consumer, the newest tick only."""
        self.declare_exchange()
        self._channel.queue_declare(QUEUE, durable=True, arguments=QUEUE_ARGUMENTS)
        self._channel.queue_bind(QUEUE, EXCHANGE)

    def confirm(self) -> None:
        """Ask the broker to confirm what is published here from now on."""
        self._channel.confirm_delivery()

    def when_blocked(self, on_change: Callable[[str | None], None]) -> None:
        """Have `on_change` told why the broker takes nothing, and with None that it does again.

        It learns so only once something is published, and that then waits for the end of it.
        """
        # pika's blocking connection tells its users only when what waits is over: too late.
        impl = vars(self._connection)["_impl"]
        impl.add_on_connection_blocked_callback(
            lambda _, frame: on_change(f"rabbitmq: {BLOCKED} ({frame.method.reason})")
        )
        impl.add_on_connection_unblocked_callback(lambda *_: on_change(None))

    def publish(self, body: bytes, *, expires_s: int) -> None:
        """Publish a tick and wait for the broker's confirm. Raises `Unavailable`."""
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=pika.DeliveryMode.Transient,
            expiration=str(expires_s * 1000),
        )
        with translating():
            self._channel.basic_publish(EXCHANGE, "", body, properties)

    def consume(self) -> None:
        """Start deliveries, one at a time; `poll` returns them."""
        self._channel.basic_qos(prefetch_count=1)
        self._channel.add_on_cancel_callback(self._on_cancelled)
        self._channel.basic_consume(QUEUE, self._on_delivered, auto_ack=False)

    def poll(self, timeout_s: float) -> Delivered | None:
        """Keep the heartbeat alive, and wait up to `timeout_s` for a tick.

        Raises `Unavailable` when the connection, the channel or the consumer is gone.
        """
        with translating():
            self._connection.process_data_events(time_limit=timeout_s)
        if self._cancelled:
            raise Unavailable("rabbitmq", "the broker cancelled the consumer (queue deleted?)")
        if not self._channel.is_open:
            raise Unavailable("rabbitmq", "the broker closed the channel")
        delivered, self._delivered = self._delivered, None
        return delivered

    def ack(self, tag: int) -> None:
        """Acknowledge a tick."""
        self._channel.basic_ack(tag)

    def close(self) -> None:
        """Close what is open; a connection that is already broken is simply let go."""
        with contextlib.suppress(AMQPError, OSError):
            self._connection.close()

    def _on_cancelled(self, _frame: object) -> None:
        self._cancelled = True

    def _on_delivered(
        self,
        _channel: BlockingChannel,
        method: pika.spec.Basic.Deliver,
        _properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        self._delivered = (method.delivery_tag or 0, body)
