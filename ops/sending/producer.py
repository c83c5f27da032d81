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
from typing import NamedTuple

from shared.amqp.channel import Channel
from shared.amqp.confirms import PERSISTENT, Fate, InFlight
from shared.errors import Unavailable
from shared.settings import RabbitmqSettings
from shared.shard import EXCHANGE, SENT_ON

WINDOW_MAX = 2000
"""Messages on their way at once, at most."""
POLL_S = 0.2
IDENTITY_BYTES_MAX = 255
"""AMQP's own limit of a `message_id`."""


class Outgoing(NamedTuple):
    """A message to be published, persistent, known by its `message_id`.

    `routing_key` leads it through the exchange of shards; without one it goes to the queue.
    `sent_on`: it was a dead letter of another shard.
    """

    body: bytes
    message_id: str
    routing_key: str = ""
    sent_on: bool = False


OnFate = Callable[[Outgoing, Fate], None]


@contextlib.contextmanager
def producing(
    settings: RabbitmqSettings, queue: str, on_fate: OnFate, *, name: str, header: str = ""
) -> Iterator["Producer"]:
    """Connect, and close at the end without waiting for anything. Raises `Unavailable`.

    `on_fate` is called in another thread, once for each message that was decided. `header` names
    one that is to carry the identity, too.
    """
    with Channel.connected(settings, name=name) as channel:
        producer = Producer(channel, queue, on_fate, header)
        try:
            yield producer
        finally:
            producer.close()


class Producer:
    """A thread that runs a channel; `put` and `flush` are for one other thread."""

    def __init__(self, channel: Channel, queue: str, on_fate: OnFate, header: str) -> None:
        """Messages without a key go to `queue`; all are mandatory. Raises `Unavailable`."""
        self._channel = channel
        self._queue = queue
        self._on_fate = on_fate
        self._header = header
        self._changed = threading.Condition()
        self._waiting: deque[Outgoing] = deque()
        self._in_flight: InFlight[Outgoing] = InFlight()
        self._woken = False
        self._closing = False
        self._failure: Exception | None = None
        channel.when_blocked(lambda _: None)  # it is in the log
        channel.confirm(self._on_confirm, self._in_flight.on_return)
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)
        self._thread.start()

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
                self._changed.wait(POLL_S)
            if self._failure:
                raise self._failure
            self._waiting.append(message)
            wake, self._woken = not self._woken, True
        if wake:
            with contextlib.suppress(Unavailable):  # then the thread has the reason, or will
                self._channel.from_thread(self._pump)
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
            return [*self._in_flight.messages(), *self._waiting]

    def close(self) -> None:
        """End the thread; what is undecided stays so, whatever the broker still says."""
        self._closing = True
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._closing:
                self._channel.poll(POLL_S, lambda: not self._closing)
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _pump(self) -> None:
        with self._changed:
            self._woken = False
            batch, self._waiting = self._waiting, deque()
            for message in batch:
                self._in_flight.add(message.message_id, message)
        for message in batch:
            headers = {self._header: message.message_id} if self._header else {}
            headers |= {SENT_ON: "yes"} if message.sent_on else {}
            self._channel.publish(
                EXCHANGE if message.routing_key else "",
                message.routing_key or self._queue,
                message.body,
                mandatory=True,
                delivery_mode=PERSISTENT,
                message_id=message.message_id,
                headers=headers or None,
            )

    def _on_confirm(self, tag: int, multiple: bool, taken: bool) -> None:  # noqa: FBT001 - AMQP's order
        with self._changed:
            if self._closing:
                return
            for message, fate in self._in_flight.decided(tag, multiple=multiple, taken=taken):
                self._on_fate(message, fate)
            self._changed.notify_all()
