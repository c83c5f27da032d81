"""A connection that receives messages, fast and whatever they carry: pika, without its decoding.

pika handles the connection, the channel, heartbeats and acknowledgements. Deliveries never reach
it: `protocol_tap.py` takes them before. That makes receiving several times cheaper, and a header
that pika cannot decode (a timestamp in milliseconds: pika issue 1698) does not bring the connection
down with all messages in hand.

A broken connection is thrown away, never repaired.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from shared.amqp.connection import NOT_FOUND, QueueState, parameters, translating
from shared.amqp.delivery_parser import OnMessage
from shared.amqp.protocol_tap import TappedServices, at_each_piece
from shared.errors import Unavailable
from shared.settings import RabbitmqSettings

STREAM_OFFSET = "x-stream-offset"
"""The argument of a stream's consumer, and the header of each of its messages."""
CONSUMER_TAG = "minutebook"
ANSWER_TIMEOUT_S = 10.0


@contextlib.contextmanager
def connection(settings: RabbitmqSettings, *, name: str) -> Iterator["Consumer"]:
    """Open one connection with one channel and close both at the end. Raises `Unavailable`."""
    to = parameters(settings, name)
    consumer = Consumer(to)
    try:
        with translating(to):
            consumer.open()
            yield consumer
    finally:
        consumer.close()


class Consumer:
    """One connection, one channel. Only `from_thread` may be called by another thread."""

    def __init__(self, to: pika.URLParameters) -> None:
        """Nothing is connected before `open`."""
        self._loop = IOLoop()
        self._services = TappedServices(self._loop)
        self._lost: BaseException | None = None
        self._channel: Channel | None = None
        self._connection = pika.SelectConnection(
            to,
            on_open_error_callback=self._on_lost,
            on_close_callback=self._on_lost,
            custom_ioloop=self._services,
        )

    def open(self) -> None:
        """Connect and open the channel. Raises pika's errors, and `Unavailable` for no answer."""
        self._until(lambda: self._connection.is_open)
        self._open_channel()

    @property
    def version(self) -> str:
        """What the broker says of its version."""
        return str((self._connection.server_properties or {}).get("version", "unknown"))

    def inspect(self, queue: str) -> QueueState | None:
        """Return the state of a queue whatever its type, None without one. Raises `Unavailable`."""
        with translating():
            try:
                return self._declared(queue, passive=True)
            except ChannelClosedByBroker as error:
                if error.reply_code != NOT_FOUND:
                    raise
                self._open_channel()
                return None

    def declare(self, queue: str, *, kind: str | None = None) -> QueueState:
        """Find the users' queue whatever its type; make a durable one if there is none.

        A declare with other arguments than the queue has would fail, so it is looked for first.
        Without `kind` it is the virtual host's default. Raises `Unavailable`.
        """
        arguments = {"x-queue-type": kind} if kind else None
        with translating():
            return self.inspect(queue) or self._declared(queue, durable=True, arguments=arguments)

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
        with translating():
            self._asked(partial(self._open.basic_qos, prefetch_count=prefetch))
            self._open.add_on_cancel_callback(self._on_cancelled)
            self._services.draw(self._open.channel_number, on_message)
            consume = partial(self._open.basic_consume, queue, _never, arguments=arguments)
            self._asked(partial(consume, consumer_tag=CONSUMER_TAG))

    def poll(self, timeout_s: float, on_piece: Callable[[], bool] | None = None) -> None:
        """Handle what has come, waiting up to `timeout_s` for the first; keep the heartbeat alive.

        `on_piece` is called after each piece of data, and while it answers yes all that comes until
        the time is over is handled: to begin and end a loop costs more than a message does.

        Raises `Unavailable` when the connection, the channel or the consumer is gone, and whatever
        `on_message` raised.
        """
        usual, self._services.on_piece = self._services.on_piece, on_piece or at_each_piece
        try:
            with translating():
                self._turn(timeout_s)
                self._check()
        finally:
            self._services.on_piece = usual

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge `tag`, or all up to it."""
        self._open.basic_ack(tag, multiple=multiple)

    def cancel(self) -> None:
        """Stop deliveries; what was delivered may still be acknowledged. Raises `Unavailable`."""
        with translating():
            self._asked(partial(self._open.basic_cancel, CONSUMER_TAG))

    def from_thread(self, call: Callable[[], None]) -> None:
        """Have `call` run by the thread that polls. Raises `Unavailable` if that is too late."""
        if self._lost:
            raise Unavailable("rabbitmq", "the connection is gone")
        with translating():
            self._loop.add_callback_threadsafe(call)

    def close(self) -> None:
        """Close what is open; a connection that is already broken is simply let go."""
        self._services.close_tap()
        self._lost = None
        with contextlib.suppress(AMQPError, OSError, Unavailable):
            if not self._connection.is_closed:
                self._connection.close()
                self._until(lambda: self._connection.is_closed)
        self._lost = Unavailable("rabbitmq", "the connection is closed")
        self._loop.close()

    @property
    def _open(self) -> Channel:
        if self._channel is None:
            raise Unavailable("rabbitmq", "no channel is open")
        return self._channel

    def _open_channel(self) -> None:
        self._channel = self._lost = None
        channel = self._connection.channel()
        channel.add_on_close_callback(self._on_lost)
        self._until(lambda: channel.is_open)
        self._channel = channel

    def _declared(self, queue: str, **options: Any) -> QueueState:  # noqa: ANN401 - AMQP's own
        answer = self._asked(partial(self._open.queue_declare, queue, **options))
        return QueueState(queue, answer.method.message_count, answer.method.consumer_count)

    def _asked(self, request: Callable[..., object]) -> Any:  # noqa: ANN401 - the answer's frame
        answers: list[Any] = []
        request(callback=answers.append)
        self._until(lambda: answers)
        return answers[0]

    def _until(self, done: Callable[[], object]) -> None:
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while not done():
            self._check()
            if time.monotonic() > deadline:
                raise Unavailable("rabbitmq", f"no answer in {ANSWER_TIMEOUT_S:g} s")
            self._turn(0.1)

    def _turn(self, timeout_s: float) -> None:
        end = self._loop.call_later(timeout_s, self._loop.stop)
        try:
            self._loop.start()
        finally:
            self._loop.remove_timeout(end)

    def _check(self) -> None:
        if self._services.failure:
            raise self._services.failure
        if self._lost:
            raise self._lost

    def _on_lost(self, _which: object, reason: BaseException) -> None:
        self._lost = self._lost or reason
        self._loop.stop()

    def _on_cancelled(self, _frame: object) -> None:
        gone = Unavailable("rabbitmq", "the broker cancelled the consumer (queue deleted?)")
        self._on_lost(None, gone)


def _never(*_: object) -> None:
    raise AssertionError("a delivery reached pika")
