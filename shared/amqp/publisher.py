"""Publishes many persistent messages at a time, each of them confirmed.

Up to a window of messages are on their way at once. What was not confirmed when a connection was
lost may have come all the same: whoever publishes again gives it the same `message_id`.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from shared.amqp import publish_frames
from shared.amqp.consumer import Consumer
from shared.errors import Unavailable

WINDOW_MAX = 1000
"""Messages on their way at once, at most, and one call's more."""
POLL_S = 0.5

T = TypeVar("T")


class Stopped(Exception):
    """We were asked to stop before all was published and confirmed."""


class Message(Protocol):
    """What is published: `name` is its `type`, `id` its `message_id`."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def body(self) -> bytes: ...  # noqa: D102
    @property
    def traceparent(self) -> str | None: ...  # noqa: D102


class Publisher(Consumer):
    """One connection, one channel. Begin with `confirm_all`.

    It may consume as well: what comes while confirms are waited for goes to `on_message` as usual.
    """

    _published = 0
    _confirmed = 0
    """All messages up to this number are confirmed."""
    _ahead: set[int]
    """Numbers above it that are, too."""
    _refused = False
    _unroutable = False
    _stop: threading.Event
    _on_wait: Callable[[], object]

    def confirm_all(
        self, stop: threading.Event, on_wait: Callable[[], object] = lambda: None
    ) -> None:
        """Have the broker confirm what is published from now on. Raises `Unavailable`.

        After `stop` nothing more is published or waited for, however long an alarm lasts. `on_wait`
        is called again and again while the broker is waited for.
        """
        self._stop, self._on_wait, self._ahead = stop, on_wait, set()
        self.confirm(self._on_confirm, self._on_return)

    def publish_all(
        self,
        exchange: str,
        messages: Sequence[Message],
        to: str | None = None,
        *,
        mandatory: bool = False,
    ) -> None:
        """Publish messages by their names as routing keys, or all of them by `to`.

        Waits for room first; `flush` waits for the confirms. Raises `Unavailable`, also where the
        broker refuses one, or has no queue for one that is `mandatory`; and `Stopped`.
        """
        self._wait_until(lambda: self._in_flight <= WINDOW_MAX)
        number = self._channel.channel_number
        frames: list[bytes] = []
        for one in messages:
            frames.append(
                publish_frames.method(number, exchange, to or one.name, mandatory=mandatory)
            )
            frames.append(
                publish_frames.content(number, one.name, one.id, one.body, one.traceparent)
            )
        self._published += len(messages)
        self._tap.write(b"".join(frames))  # behind what pika wrote, by the same way
        self.poll(0.0)

    def flush(self) -> None:
        """Wait until all that was published is confirmed, however long an alarm lasts.

        Raises as `publish_all` does.
        """
        self._wait_until(lambda: not self._in_flight)

    def beside(self, call: Callable[[], T]) -> T:
        """Return what `call` returns; a thread runs it, so that the connection stays alive."""
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(call)
            future.add_done_callback(lambda _future: self.wake())
            while not future.done():
                self.poll(POLL_S)
            return future.result()

    @property
    def _in_flight(self) -> int:
        return self._published - self._confirmed - len(self._ahead)

    def _wait_until(self, done: Callable[[], bool]) -> None:
        while True:
            if self._unroutable:  # said before its confirm
                raise Unavailable("rabbitmq", "no queue takes a message (was it deleted?)")
            if self._refused:  # also one that was refused while we did something else
                raise Unavailable("rabbitmq", "the broker refused a message (a queue is full?)")
            if done():
                return
            if self._stop.is_set():
                raise Stopped
            self._on_wait()
            self.poll(POLL_S)

    def _on_return(self, _message_id: str | None) -> None:
        self._unroutable = True

    def _on_confirm(self, tag: int, multiple: bool, taken: bool) -> None:  # noqa: FBT001 - AMQP's order
        self._refused = self._refused or not taken
        if multiple:
            self._confirmed = max(self._confirmed, tag)
            self._ahead = {one for one in self._ahead if one > tag}
        elif tag > self._confirmed:
            self._ahead.add(tag)
        while self._confirmed + 1 in self._ahead:
            self._confirmed += 1
            self._ahead.remove(self._confirmed)
