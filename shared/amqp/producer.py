"""A producer with publisher confirms: many messages in flight, each accounted for.

pika's blocking channel waits for the confirm of each message (under 700/s measured). Here one
thread runs the connection and its heartbeat, and up to a window of messages are on their way at
once. A connection that broke is thrown away; what was not confirmed is handed back, to be sent
over the next one: its `message_id` makes a second sending harmless.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Literal, NamedTuple, TypeAlias

import pika
import structlog
from pika.channel import Channel

from shared.amqp import write_coalescing
from shared.amqp.connection import parameters, translated
from shared.errors import Unavailable
from shared.settings import RabbitmqSettings

START_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 5.0
WINDOW_MAX = 2000
"""Messages on their way at once, at most."""
LOOK_AGAIN_S = 0.2
IDENTITY_BYTES_MAX = 255
"""AMQP's own limit of a `message_id`."""

Fate = Literal["confirmed", "unroutable", "refused"]

log = structlog.get_logger()


class Outgoing(NamedTuple):
    """A message to be published, persistent, known by its `message_id`."""

    body: bytes
    message_id: str


Confirm: TypeAlias = "pika.frame.Method[pika.spec.Basic.Ack | pika.spec.Basic.Nack]"
OnFate = Callable[[Outgoing, Fate], None]


@contextlib.contextmanager
def producing(
    settings: RabbitmqSettings, queue: str, on_fate: OnFate, *, name: str, header: str = ""
) -> Iterator["Producer"]:
    """Connect, and close at the end without waiting for anything. Raises `Unavailable`.

    `on_fate` is called in another thread, once for each message that was decided. `header` names
    one that is to carry the identity, too.
    """
    producer = Producer(parameters(settings, name), queue, on_fate, header)
    try:
        producer.start()
        yield producer
    finally:
        producer.close()


class Producer:
    """One connection in a thread of its own; `put` and `flush` are for one other thread."""

    def __init__(
        self, how: pika.URLParameters, queue: str, on_fate: OnFate, header: str = ""
    ) -> None:
        """Messages go to `queue` by the default exchange, mandatory."""
        self._queue = queue
        self._on_fate = on_fate
        self._header = header
        self._changed = threading.Condition()
        self._waiting: deque[Outgoing] = deque()
        self._in_flight: dict[int, Outgoing] = {}
        self._returned: set[str] = set()
        self._published = 0
        self._woken = False
        self._closing = False
        self._closed = False
        self._to = how
        self._failure: BaseException | None = None
        self._channel: Channel | None = None
        self._connection = pika.SelectConnection(
            how,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_gone,
            on_close_callback=self._on_gone,
            custom_ioloop=write_coalescing.services(),
        )
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)

    def start(self) -> None:
        """Wait until messages can be published. Raises `Unavailable`."""
        self._thread.start()
        with self._changed:
            ready = self._changed.wait_for(
                lambda: self._channel is not None or self._failure, START_TIMEOUT_S
            )
            if self._failure:
                raise self._failure
            if not ready:
                raise Unavailable("rabbitmq", f"not ready within {START_TIMEOUT_S:g} s")

    def put(self, message: Outgoing, stop: threading.Event) -> bool:
        """Hand a message over, waiting for room in the window; False if `stop` came first.

        Raises `Unavailable` once the connection is lost; then the message was not taken. Raises
        `ValueError` for an identity that AMQP cannot carry: to pika that would end the connection.
        """
        if len(message.message_id.encode()) > IDENTITY_BYTES_MAX:
            raise ValueError(f"an identity of more than {IDENTITY_BYTES_MAX} bytes")
        with self._changed:
            while len(self._waiting) + len(self._in_flight) >= WINDOW_MAX and not self._failure:
                if stop.is_set():
                    return False
                self._changed.wait(LOOK_AGAIN_S)
            if self._failure:
                raise self._failure
            self._waiting.append(message)
            wake, self._woken = not self._woken, True
        if wake:
            self._connection.ioloop.add_callback_threadsafe(self._pump)
        return True

    def flush(self, timeout_s: float) -> bool:
        """Wait until every message put is decided. Raises `Unavailable` if the connection goes."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._failure or not (self._waiting or self._in_flight), timeout_s
            )
            if self._failure:
                raise self._failure
            return not (self._waiting or self._in_flight)

    def undecided(self) -> list[Outgoing]:
        """Return what was put and neither confirmed nor returned, in order."""
        with self._changed:
            return [*self._in_flight.values(), *self._waiting]

    def close(self) -> None:
        """Close the connection; what is undecided stays so."""
        self._closing = True
        if self._thread.is_alive():
            with contextlib.suppress(Exception):  # the loop may end at this very moment
                self._connection.ioloop.add_callback_threadsafe(self._hang_up)
            self._thread.join(CLOSE_TIMEOUT_S)
        if not self._thread.is_alive():
            self._connection.ioloop.close()
        with self._changed:
            self._closed = True  # a broker that stood still may answer after all: too late

    def _run(self) -> None:
        try:
            self._connection.ioloop.start()
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits
            self._fail(error)

    def _hang_up(self) -> None:
        if self._connection.is_open:
            self._connection.close()
        else:
            self._connection.ioloop.stop()

    def _on_open(self, connection: pika.SelectConnection) -> None:
        connection.add_on_connection_blocked_callback(
            lambda *_: log.warning("broker_blocks", hint="memory or disk alarm: it takes nothing")
        )
        connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Channel) -> None:
        channel.add_on_close_callback(lambda _, error: self._fail(error))
        channel.add_on_return_callback(self._on_return)

        def ready(_frame: object) -> None:
            with self._changed:
                self._channel = channel
                self._changed.notify_all()

        channel.confirm_delivery(self._on_confirm, callback=ready)

    def _pump(self) -> None:
        with self._changed:
            self._woken = False
            batch, self._waiting = self._waiting, deque()
            first = self._published + 1
            self._published += len(batch)
            self._in_flight.update(enumerate(batch, start=first))
        if self._channel is None or not self._channel.is_open:
            return  # the failure is known, or will be at once; what is in flight is undecided
        for message in batch:
            properties = pika.BasicProperties(
                content_type="application/json",
                delivery_mode=2,
                message_id=message.message_id,
                headers={self._header: message.message_id} if self._header else None,
            )
            self._channel.basic_publish("", self._queue, message.body, properties, mandatory=True)

    def _on_return(
        self, _channel: Channel, _method: object, properties: pika.BasicProperties, _body: bytes
    ) -> None:
        self._returned.add(properties.message_id or "")

    def _on_confirm(self, frame: Confirm) -> None:
        tag = frame.method.delivery_tag or 0
        acknowledged = isinstance(frame.method, pika.spec.Basic.Ack)
        with self._changed:
            if self._closed:
                return
            for one in self._settled_by(tag, multiple=frame.method.multiple):
                message = self._in_flight.pop(one)
                self._on_fate(message, self._fate(message, acknowledged=acknowledged))
            self._changed.notify_all()

    def _settled_by(self, tag: int, *, multiple: bool) -> list[int]:
        if not multiple:
            return [tag] if tag in self._in_flight else []
        return list(takewhile(lambda one: one <= tag, self._in_flight))

    def _fate(self, message: Outgoing, *, acknowledged: bool) -> Fate:
        if message.message_id in self._returned:  # a return comes before its confirm
            self._returned.discard(message.message_id)
            return "unroutable"
        return "confirmed" if acknowledged else "refused"

    def _on_gone(self, connection: pika.SelectConnection, error: BaseException) -> None:
        self._fail(error)
        connection.ioloop.stop()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if self._failure is None and not self._closing:
                self._failure = translated(error, self._to)
            self._changed.notify_all()
