"""One connection to RabbitMQ with one channel: pika's, whose loop runs while we wait for something.

A broken connection is thrown away, never repaired.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import pika
import structlog
from pika.adapters.select_connection import IOLoop
from pika.exceptions import AMQPError

from shared.amqp.connection import BLOCKED, NOT_FOUND, QueueState, parameters, translating
from shared.amqp.protocol_tap import ProtocolTap
from shared.errors import Unavailable
from shared.health import Turn, unwatched
from shared.settings import RabbitmqSettings

STREAM = {"x-queue-type": "stream"}
ORDERED = {"x-single-active-consumer": True}
"""Arguments of queues. An ordered one has one consumer at a time, and the others stand by; one that
somebody made without this is handled in order as long as it has one consumer."""
ANSWER_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 3.0
"""A broker with an alarm does not read that we close; services end within a grace period."""
OnConfirm = Callable[[int, bool, bool], None]
"""Called with the number of a message, multiple (all up to it), and whether the broker took it."""

log = structlog.get_logger()


class Channel:
    """For one thread; only `from_thread` and `wake` may be called by others."""

    def __init__(self, to: pika.URLParameters, turn: Turn = unwatched) -> None:
        """Nothing is connected before `open`; `turn` is told of each wait."""
        self._channel: pika.channel.Channel
        self._told = turn
        self._loop = IOLoop()
        self._tap = ProtocolTap(self._loop, self._received)
        self._on_piece: Callable[[], bool] | None = None
        self._lost: BaseException | None = None
        self._connection = pika.SelectConnection(
            to,
            on_open_error_callback=self._on_lost,
            on_close_callback=self._on_lost,
            custom_ioloop=self._tap,
        )

    @classmethod
    @contextlib.contextmanager
    def connected(
        cls, settings: RabbitmqSettings, *, name: str, turn: Turn = unwatched
    ) -> Iterator[Self]:
        """Open a connection with a channel to one of the hosts; close both at the end.

        Raises `Unavailable`, of the last host tried.
        """
        with contextlib.closing(cls._reaching(*parameters(settings, name), turn=turn)) as made:
            yield made

    @classmethod
    def _reaching(cls, to: pika.URLParameters, *others: pika.URLParameters, turn: Turn) -> Self:
        """Return a connection to the first of these hosts that takes one."""
        made = cls(to, turn)
        try:
            with translating(to):
                made.open()
        except BaseException as error:
            made.close()
            if others and isinstance(error, Unavailable):
                return cls._reaching(*others, turn=turn)
            raise
        return made

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
        try:
            return self._declared(queue, passive=True)
        except Unavailable as error:
            if getattr(error.__cause__, "reply_code", None) != NOT_FOUND:
                raise
        with translating():
            self._open_channel()
        return None

    def declare(self, queue: str, arguments: Mapping[str, object] | None = None) -> QueueState:
        """Find the users' queue whatever its type; make a durable one if there is none.

        A declare with other arguments than the queue has would fail, so it is looked for first.
        Without a type among them it is the virtual host's default. Raises `Unavailable`.
        """
        found = self.inspect(queue)
        return found or self._declared(queue, durable=True, arguments=arguments)

    def declare_exchange(self, exchange: str, kind: str) -> None:
        """Make a durable exchange unless it is there. Raises `Unavailable`."""
        self._asked(self._channel.exchange_declare, exchange, exchange_type=kind, durable=True)

    def bind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Have a direct exchange, made if there is none, lead to a queue. Raises `Unavailable`."""
        self.declare_exchange(exchange, "direct")
        self._asked(self._channel.queue_bind, queue, exchange, routing_key)

    def confirm(self, on_confirm: OnConfirm, on_return: Callable[[str | None], None]) -> None:
        """Have the broker confirm what is published from now on, numbered from 1.

        `on_return` is told the `message_id` of what no queue took, before its confirm.
        """
        self._channel.add_on_return_callback(
            lambda _channel, _method, about, _body: on_return(about.message_id)
        )

        def confirmed(frame: Any) -> None:  # noqa: ANN401 - pika's, of Basic.Ack or Basic.Nack
            taken = isinstance(frame.method, pika.spec.Basic.Ack)
            on_confirm(frame.method.delivery_tag, frame.method.multiple, taken)

        self._asked(self._channel.confirm_delivery, confirmed)

    def when_blocked(self, on_change: Callable[[str | None], None]) -> None:
        """Have `on_change` told why the broker takes nothing, and with None that it does again.

        A broker with an alarm says so only once something is published, and holds that up.
        """

        def blocked(_connection: object, frame: Any) -> None:  # noqa: ANN401 - Connection.Blocked
            log.warning("broker_blocks", hint="memory or disk alarm: it takes nothing")
            on_change(f"rabbitmq: {BLOCKED} ({frame.method.reason})")

        self._connection.add_on_connection_blocked_callback(blocked)
        self._connection.add_on_connection_unblocked_callback(lambda *_: on_change(None))

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        mandatory: bool = False,
        **properties: Any,  # noqa: ANN401 - those of AMQP
    ) -> None:
        """Publish JSON; it is sent while `poll` runs. Raises `Unavailable`."""
        about = pika.BasicProperties(content_type="application/json", **properties)
        with translating():
            self._check()
            self._channel.basic_publish(exchange, routing_key, body, about, mandatory=mandatory)

    def poll(self, timeout_s: float, on_piece: Callable[[], bool] | None = None) -> None:
        """Handle what has come, waiting up to `timeout_s` for the first; keep the heartbeat alive.

        `on_piece` is called after each piece of data, and while it answers yes all that comes until
        the time is over is handled: to begin and end a loop costs more than a message does.

        Raises `Unavailable` when connection or consumer is gone, and whatever `on_message` raised.
        """
        self._on_piece = on_piece
        try:
            with translating():
                self._check()
                self._turn(timeout_s)
                self._check()
        finally:
            self._on_piece = None

    def from_thread(self, call: Callable[[], None]) -> None:
        """Have `call` run by the thread that polls. Raises `Unavailable` if that is too late."""
        if self._lost:
            raise Unavailable("rabbitmq", "the connection is gone")
        with translating():
            self._loop.add_callback_threadsafe(call)

    def wake(self) -> None:
        """End the wait of the thread that polls; for other threads, as `from_thread`."""
        with contextlib.suppress(Unavailable):  # then `poll` says so
            self.from_thread(self._loop.stop)

    def close(self) -> None:
        """Close what is open; a connection that is already broken is simply let go."""
        self._tap.deliveries.stop()
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        with contextlib.suppress(AMQPError, OSError):
            if not self._connection.is_closed:
                self._connection.close()
            while not self._connection.is_closed and time.monotonic() < deadline:
                with contextlib.suppress(Unavailable):  # of a call `from_thread` that came too late
                    self._turn(0.1)
                if self._tap.failure:
                    break
        self._lost = Unavailable("rabbitmq", "the connection is closed")
        self._loop.close()

    def _received(self) -> None:
        if self._tap.failure or not (self._on_piece and self._on_piece()):
            self._loop.stop()

    def _open_channel(self) -> None:
        self._lost = None
        self._channel = self._connection.channel()
        self._channel.add_on_close_callback(self._on_lost)
        self._until(lambda: self._channel.is_open)

    def _declared(self, queue: str, **options: Any) -> QueueState:  # noqa: ANN401 - AMQP's own
        answer = self._asked(self._channel.queue_declare, queue, **options)
        return QueueState(queue, answer.method.message_count, answer.method.consumer_count)

    def _asked(self, request: Callable[..., object], *about: Any, **options: Any) -> Any:  # noqa: ANN401
        """Return the frame with which the broker answers a request. Raises `Unavailable`."""
        answers: list[Any] = []
        with translating():
            request(*about, **options, callback=answers.append)
            self._until(lambda: answers)
        return answers[0]

    def _until(self, done: Callable[[], object], timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            self._check()
            if time.monotonic() > deadline:
                raise Unavailable("rabbitmq", f"no answer in {timeout_s:g} s")
            self._turn(0.1)

    def _turn(self, timeout_s: float) -> None:
        self._told(timeout_s)
        with self._tap.listening(timeout_s):
            self._loop.start()

    def _check(self) -> None:
        if self._tap.failure:
            raise self._tap.failure
        if self._lost:
            raise self._lost

    def _on_lost(self, _which: object, reason: BaseException) -> None:
        self._lost = self._lost or reason
        self._loop.stop()
