"""Publishing to an exchange for many who wait at once: each message's own fate is known.

Persistent, mandatory, confirmed. What was not settled when the connection was lost may have come
all the same.
"""

from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import NamedTuple

from shared.amqp.channel import Channel
from shared.amqp.confirms import PERSISTENT, Failure
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
    _published = 0
    _in_flight: dict[int, Submission]
    _returned: set[int]

    def open_exchange(self, exchange: str) -> None:
        """Have what goes to `exchange` confirmed. Raises `Unavailable`."""
        self._exchange, self._in_flight, self._returned = exchange, {}, set()
        self.confirm(self._on_confirm, self._on_return)

    def submit(self, one: Submission) -> None:
        """Publish; it is sent while `poll` runs. Raises `Unavailable`."""
        self._published += 1
        self._in_flight[self._published] = one
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
        unsettled = list(self._in_flight.values())
        self._in_flight.clear()
        return unsettled

    def _on_return(self, message_id: str | None) -> None:
        # All of one id: which of several came back is not said, and none may pass for taken.
        self._returned.update(
            number for number, one in self._in_flight.items() if one.message_id == message_id
        )

    def _on_confirm(self, tag: int, multiple: bool, taken: bool) -> None:  # noqa: FBT001 - AMQP's order
        decided = [tag]
        if multiple:
            decided = list(takewhile(lambda number: number <= tag, self._in_flight))
        for number in decided:
            one = self._in_flight.pop(number, None)
            unroutable = number in self._returned
            self._returned.discard(number)
            if one:
                one.settle("unroutable" if unroutable else None if taken else "refused")
