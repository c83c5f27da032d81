"""Publishing to a topic exchange or to queues: persistent, mandatory, each message's fate known."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.amqp.channel import Channel
from shared.amqp.confirms import PERSISTENT, Failure, InFlight
from shared.errors import Unavailable

POLL_S = 0.5
STOP_GRACE_S = 2.0
"""Who stops waits so long for confirms that are on their way: what has none is sent again."""


class Message(NamedTuple):
    """What is published; `message_id` is what a consumer knows a repetition by."""

    message_id: str
    routing_key: str
    body: bytes
    correlation_id: str | None = None


@dataclass(slots=True)
class Fates:
    """What became of the messages of one `send`, by `message_id`."""

    confirmed: list[str] = field(default_factory=list)
    failed: dict[str, Failure] = field(default_factory=dict)


class TopicPublisher(Channel):
    """One connection, one channel, one exchange."""

    _exchange: str
    _on_wait: Callable[[], object]
    _in_flight: InFlight[str]
    _fates: Fates

    def open_topic(self, exchange: str, on_wait: Callable[[], object] = lambda: None) -> None:
        """Make the exchange, unless it is there, and have what goes to it confirmed.

        `on_wait` is called again and again while confirms are waited for.
        """
        self.declare_exchange(exchange, "topic")
        self._confirm_sent(exchange, on_wait)

    def open_queues(self, on_wait: Callable[[], object] = lambda: None) -> None:
        """Have routing keys be names of queues, and what goes there confirmed; as `open_topic`."""
        self._confirm_sent("", on_wait)

    def _confirm_sent(self, exchange: str, on_wait: Callable[[], object]) -> None:
        self._exchange, self._on_wait = exchange, on_wait
        self._in_flight, self._fates = InFlight(), Fates()
        self.confirm(self._on_confirm, self._in_flight.on_return)

    def send(self, messages: Sequence[Message], stop: threading.Event) -> Fates:
        """Publish all of it, and wait until the broker has decided on each message.

        Also while an alarm of the broker's lasts. Raises `Unavailable`, soon after `stop` is set as
        well: then some were taken, and it is not known which.
        """
        self._fates = Fates()
        for message in messages:
            self._in_flight.add(message.message_id, message.message_id)
            self.publish(
                self._exchange,
                message.routing_key,
                message.body,
                mandatory=True,
                delivery_mode=PERSISTENT,
                message_id=message.message_id,
                correlation_id=message.correlation_id,
            )
        grace_s = STOP_GRACE_S
        while self._in_flight:
            began = time.monotonic()
            self._on_wait()
            self.poll(POLL_S, lambda: bool(self._in_flight))
            if stop.is_set() and (grace_s := grace_s - (time.monotonic() - began)) <= 0:
                raise Unavailable("rabbitmq", "stopped before all was confirmed")
        return self._fates

    def _on_confirm(self, tag: int, multiple: bool, taken: bool) -> None:  # noqa: FBT001 - AMQP's order
        for message_id, fate in self._in_flight.decided(tag, multiple=multiple, taken=taken):
            if fate == "confirmed":
                self._fates.confirmed.append(message_id)
            else:
                self._fates.failed[message_id] = fate
