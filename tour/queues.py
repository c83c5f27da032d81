"""What comes by message: replies, notifications, events.

The queues are the tour's own, and gone with it.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pika

from demo.failure import DemoFailed
from shared.unique_ids import time_ordered

PAUSE_S = 0.05
EVENTS = ("transaction.*", "balance.changed", "tick.closed")

Document = dict[str, Any]
Message = tuple[pika.BasicProperties, Document]


class Queues:
    """One channel, and a queue for each kind."""

    def __init__(self, connection: pika.BlockingConnection) -> None:
        """Declare the queues. What was published before is not in them."""
        self._connection = connection
        self._channel = connection.channel()
        self.replies = self._queue(f"replies.tour-{time_ordered()}")
        self.notifications = self._bound("notifications", ["#"])
        self.events = self._bound("changes", EVENTS)

    def await_message(
        self, queue: str, what: str, wanted: Callable[[Message], bool], timeout_s: float
    ) -> Message:
        """Take messages until one is wanted, and return that. Raises `DemoFailed` if none comes."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for message in self.take(queue):
                if wanted(message):
                    return message
            self._connection.sleep(PAUSE_S)
        raise DemoFailed(f"no {what} came within {timeout_s:g} s; see 'make logs'")

    def take(self, queue: str) -> Iterator[Message]:
        """Yield what is in a queue now."""
        while True:
            found, properties, body = self._channel.basic_get(queue, auto_ack=True)
            if found is None or properties is None or body is None:
                return
            yield properties, json.loads(body)

    def _queue(self, name: str = "") -> str:
        return str(self._channel.queue_declare(name, exclusive=True).method.queue)

    def _bound(self, exchange: str, keys: Sequence[str]) -> str:
        queue = self._queue()
        for key in keys:
            self._channel.queue_bind(queue, exchange, key)
        return queue
