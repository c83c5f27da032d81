"""Queues that give a message back after a time: the broker waits, nobody sleeps."""

from collections.abc import Callable, Mapping

from shared.amqp.topic import TopicPublisher


class DelayingPublisher(TopicPublisher):
    """Publishes to queues that delay, through an exchange of their own."""

    def open_delays(
        self,
        exchange: str,
        delays_ms: Mapping[str, int],
        back_to: str,
        on_wait: Callable[[], object],
    ) -> None:
        """Make exchange and queues, by whose names it is published to; messages go `back_to`.

        That queue, which is there, is reached by its own name, too. At least once: a message that
        it does not take stays where it is. `on_wait` is as of `open_topic`. Raises `Unavailable`.
        """
        self.open_topic(exchange, on_wait)
        self._asked(self._channel.queue_bind, back_to, exchange, back_to)
        for queue, delay_ms in delays_ms.items():
            arguments = {
                "x-queue-type": "quorum",
                "x-message-ttl": delay_ms,
                "x-dead-letter-exchange": exchange,
                "x-dead-letter-routing-key": back_to,
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
            }
            self._declared(queue, durable=True, arguments=arguments)
            self._asked(self._channel.queue_bind, queue, exchange, queue)
