"""A queue whose messages are handled in order: one consumer at a time, the others stand by."""

from shared.amqp.connection import QueueState, translating
from shared.amqp.consumer import Consumer

ARGUMENTS = {"x-single-active-consumer": True}


class OrderedConsumer(Consumer):
    """One connection, one channel, one consumer of such a queue."""

    def declare_ordered(self, queue: str) -> QueueState:
        """Find the queue, however it was made, or make it. Raises `Unavailable`.

        One that somebody made without a single active consumer has its messages handled in order
        as long as there is one consumer.
        """
        with translating():
            found = self.inspect(queue)
            return found or self._declared(queue, durable=True, arguments=ARGUMENTS)
