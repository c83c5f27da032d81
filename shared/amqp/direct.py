"""Publishing to an exchange for many who wait at once: each message's own fate is known.

Persistent, mandatory, confirmed. What was not settled when the connection was lost may have come
all the same.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from shared.amqp import publish_frames
from shared.amqp.channel import Channel
from shared.amqp.confirms import PERSISTENT, Failure, InFlight
from shared.errors import Unavailable


class Submission(NamedTuple):
    """A message; `settle` is told its fate by the thread that polls.

    None: the broker has it safe. `Unavailable` by who gives it up: its fate is not known.
    """

    routing_key: str
    """Also its `type`."""
    message_id: str
    body: bytes
    traceparent: str | None
    replying: Mapping[str, str]
    """`reply_to` and `correlation_id`: few messages have any."""
    submitted_at: float
    """By the monotonic clock."""
    settle: Callable[[Failure | Unavailable | None], None]


class DirectPublisher(Channel):
    """One connection, one channel, one exchange that is there already."""

    _exchange: str
    _in_flight: InFlight[Submission]

    def open_exchange(self, exchange: str) -> None:
        """Have what goes to `exchange` confirmed. Raises `Unavailable`."""
        self._exchange, self._in_flight = exchange, InFlight()
        self.confirm(self._on_confirm, self._in_flight.on_return)

    def submit(self, messages: Sequence[Submission]) -> None:
        """Publish all; they are sent while `poll` runs. Raises `Unavailable`."""
        for one in messages:
            self._in_flight.add(one.message_id, one)
        self._check()
        for one in messages:
            self._write(one)

    def overdue(self, before: float) -> list[Submission]:
        """Return what was submitted before that time and has no fate yet; it may still get one."""
        return list(takewhile(lambda one: one.submitted_at < before, self._in_flight.messages()))

    def forget(self) -> list[Submission]:
        """Return what has no fate yet, and wait for it no longer."""
        return self._in_flight.forget()

    def _write(self, one: Submission) -> None:
        key, identity = one.routing_key, one.message_id
        if one.replying:  # pika takes several times as long
            headers = {"traceparent": one.traceparent} if one.traceparent else None
            about = {"message_id": identity, "type": key, "headers": headers, **one.replying}
            self.publish(
                self._exchange, key, one.body, mandatory=True, delivery_mode=PERSISTENT, **about
            )
            return
        number = self._channel.channel_number
        method = publish_frames.method(number, self._exchange, key, mandatory=True)
        content = publish_frames.content(number, key, identity, one.body, one.traceparent)
        self._tap.write(method + content)

    def _on_confirm(self, tag: int, multiple: bool, taken: bool) -> None:  # noqa: FBT001 - AMQP's order
        for one, fate in self._in_flight.decided(tag, multiple=multiple, taken=taken):
            one.settle(None if fate == "confirmed" else fate)
