"""Publishing to an exchange for many who wait at once: each message's own fate is known.

Persistent, mandatory, confirmed. What was not settled when the connection was lost may have come
all the same.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from shared.amqp.channel import Channel
from shared.amqp.confirms import PERSISTENT, Failure, InFlight
from shared.errors import Unavailable


class Submission(NamedTuple):
    """A message; `settle` is told its fate by the thread that polls.

    None: the broker has it safe. `Unavailable` by who gives it up: its fate is not known.
    """

    routing_key: str
    message_id: str
    body: bytes
    properties: Mapping[str, object]
    settle: Callable[[Failure | Unavailable | None], None]


class DirectPublisher(Channel):
    """One connection, one channel, one exchange that is there already."""

    _exchange: str
    _in_flight: InFlight[Submission]

    def open_exchange(self, exchange: str) -> None:
        """Have what goes to `exchange` confirmed. Raises `Unavailable`."""
        self._exchange, self._in_flight = exchange, InFlight()
        self.confirm(self._on_confirm, self._in_flight.on_return)

    def submit(self, one: Submission) -> None:
        """Publish; it is sent while `poll` runs. Raises `Unavailable`."""
        self._in_flight.add(one.message_id, one)
        self.publish(
            self._exchange,
            one.routing_key,
            one.body,
            mandatory=True,
            delivery_mode=PERSISTENT,
            message_id=one.message_id,
            **one.properties,
        )

    def forget(self) -> list[Submission]:
        """Return what has no fate yet, and wait for it no longer."""
        return self._in_flight.forget()

    def _on_confirm(self, tag: int, multiple: bool, taken: bool) -> None:  # noqa: FBT001 - AMQP's order
        for one, fate in self._in_flight.decided(tag, multiple=multiple, taken=taken):
            one.settle(None if fate == "confirmed" else fate)
