"""A channel that receives messages, fast and whatever they carry: pika, without its decoding.

pika handles the connection, the channel, heartbeats and acknowledgements. Deliveries never reach
it: `protocol_tap.py` takes them before. That makes receiving several times cheaper, and a header
that pika cannot decode (a timestamp in milliseconds: pika issue 1698) does not bring the connection
down with all messages that it holds.
"""

from shared.amqp.channel import Channel
from shared.amqp.connection import translating
from shared.amqp.delivery_parser import OnMessage
from shared.errors import Unavailable

STREAM_OFFSET = "x-stream-offset"
"""The argument of a stream's consumer, and the header of each of its messages."""
CONSUMER_TAG = "minutebook"


class Consumer(Channel):
    """One connection, one channel, one consumer."""

    def consume(
        self,
        queue: str,
        *,
        prefetch: int,
        on_message: OnMessage,
        stream_offset: int | str | None = None,
    ) -> None:
        """Start deliveries: `on_message(tag, redelivered, properties, body)` from `poll`.

        `stream_offset` is where to begin in a stream: an offset, or `first`. Raises `Unavailable`.
        """
        arguments = None if stream_offset is None else {STREAM_OFFSET: stream_offset}
        self._asked(self._channel.basic_qos, prefetch_count=prefetch)
        self._channel.add_on_cancel_callback(self._on_cancelled)
        self._tap.deliveries.start(self._channel.channel_number, on_message)
        consume = self._channel.basic_consume
        self._asked(consume, queue, _never, consumer_tag=CONSUMER_TAG, arguments=arguments)

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge `tag`, or all up to it; it is sent while `poll` runs."""
        with translating():
            self._channel.basic_ack(tag, multiple=multiple)

    def cancel(self) -> None:
        """Stop deliveries; what was delivered may still be acknowledged. Raises `Unavailable`."""
        self._asked(self._channel.basic_cancel, CONSUMER_TAG)

    def _on_cancelled(self, _frame: object) -> None:
        gone = Unavailable("rabbitmq", "the broker cancelled the consumer (queue deleted?)")
        self._on_lost(None, gone)


def _never(*_: object) -> None:
    raise AssertionError("a delivery reached pika")
