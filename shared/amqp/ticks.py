"""Ticks: their exchange, the syncer's queue, publishing with confirms, and consuming."""

import math

from shared.amqp.channel import ORDERED
from shared.amqp.connection import translating
from shared.amqp.consumer import Consumer
from shared.errors import Unavailable

EXCHANGE = "ticks"
QUEUE = "syncer.ticks"
QUEUE_ARGUMENTS = {
    **ORDERED,
    "x-queue-type": "quorum",
    "x-max-length": 1,
    "x-overflow": "drop-head",
}
TRANSIENT = 1

Delivered = tuple[int, bytes]
"""A tick's delivery tag and body."""


class Broker(Consumer):
    """One connection, one channel, for the ticker or the syncer."""

    queue = QUEUE
    """The syncer's: a shard's has the shard's name."""
    _confirms: list[bool]
    _delivered: Delivered | None = None

    def declare_fanout(self) -> None:
        """Make the exchange that ticks go to."""
        self.declare_exchange(EXCHANGE, "fanout")

    def declare_queue(self) -> None:
        """Make the syncer's queue: one active consumer, the newest tick only."""
        self.declare_fanout()
        self._declared(self.queue, durable=True, arguments=QUEUE_ARGUMENTS)
        self._asked(self._channel.queue_bind, self.queue, EXCHANGE)

    def confirm_ticks(self) -> None:
        """Ask the broker to confirm the ticks published from now on."""
        self._confirms = []
        self.confirm(lambda _tag, _multiple, taken: self._confirms.append(taken), lambda _id: None)

    def publish_tick(self, body: bytes, *, expires_s: int) -> None:
        """Publish a tick and wait for its confirm, also while an alarm of the broker's lasts.

        Raises `Unavailable`.
        """
        self._confirms.clear()
        expiration = str(expires_s * 1000)
        self.publish(EXCHANGE, "", body, delivery_mode=TRANSIENT, expiration=expiration)
        with translating():
            self._until(lambda: self._confirms, math.inf)
        if not self._confirms[0]:
            raise Unavailable("rabbitmq", "the broker did not take the tick")

    def consume_ticks(self) -> None:
        """Start deliveries, one at a time; `next_tick` returns them."""

        def delivered(tag: int, _redelivered: object, _properties: object, body: bytes) -> None:
            self._delivered = (tag, body)

        self.consume(self.queue, prefetch=1, on_message=delivered)

    def next_tick(self, timeout_s: float) -> Delivered | None:
        """Wait up to `timeout_s` for a tick, as `poll` does; None for anything else that came."""
        # The first one may have come together with the broker's consent to consume.
        self.poll(0.0 if self._delivered else timeout_s)
        delivered, self._delivered = self._delivered, None
        return delivered
