"""The receiving side: one broker connection, its deliveries and their acknowledgements."""

import threading
import time
from collections.abc import Mapping, Sequence

import structlog

from services.ingest import metrics
from services.ingest.backlog import Backlog
from services.ingest.core import Delivery, validate
from services.ingest.writer import Writer
from shared.amqp.consumer import Consumer
from shared.amqp.properties import Properties
from shared.errors import Unavailable
from shared.unique_ids import FIRST_NUMBER, time_ordered

POLL_S = 0.5
ROOM_WAIT_S = 2.0
"""Below the heartbeat: while we wait for room nobody answers the broker."""
STOP_WAIT_S = 12.0
"""Inside the stop grace period of compose.yaml (20 s)."""

log = structlog.get_logger()


class Receiver:
    """One life of the broker connection."""

    stream_arguments: Mapping[str, str] | None = None  # to make the stream with if there is none
    begin_at: int | str | None = None  # where deliveries of the stream begin

    def __init__(self, broker: Consumer, writer: Writer) -> None:
        """`broker` is of this life alone; `writer` outlives it."""
        self.backlog = Backlog(self._acknowledge)
        metrics.UNACKNOWLEDGED.set_function(self.backlog.unacknowledged)
        self.broker = broker
        self.writer = writer
        self.health = writer.health
        self._ids = f"local:{time_ordered().hex}"

    def start(self, queue: str, prefetch: int) -> None:
        """Find or make the queue and start deliveries."""
        state = self.broker.declare(queue, self.stream_arguments)
        self.broker.consume(
            queue, prefetch=prefetch, on_message=self.on_message, stream_offset=self.begin_at
        )
        self.writer.backlog = self.backlog
        self.health.progress("receiver")
        log.info("consuming", queue=queue, messages=state.messages, consumers=state.consumers)

    def run(self, stop: threading.Event) -> None:
        """Receive until `stop`. Raises `Unavailable` when the broker is gone."""
        try:
            while not stop.is_set():
                self.broker.poll(POLL_S, on_piece=self._hand_over)
                self.backlog.announce()  # also what came while we waited for room
                self.check()
                self._wait_for_room(stop)
            self._finish()
        finally:
            self.backlog.close()

    def check(self) -> None:
        """Say that this thread turns. Raises `Unavailable` if no acknowledgement can be sent."""
        self.health.progress("receiver")
        self.backlog.turn()
        if not self.backlog.open:
            raise Unavailable("rabbitmq", "deliveries can no longer be acknowledged")

    def on_message(
        self,
        tag: int,
        redelivered: bool,  # noqa: FBT001 - the order in which a delivery has them
        properties: Properties,
        body: bytes,
    ) -> None:
        """Take one delivery in; its identity, if it carries none, is of this connection."""
        self.take(Delivery(tag, redelivered, properties, body, f"{self._ids}:{FIRST_NUMBER + tag}"))

    def take(self, delivery: Delivery) -> None:
        """Validate a message and add it to the backlog."""
        if delivery.redelivered:
            metrics.REDELIVERED.inc()
        rules = self.writer.rules
        self.backlog.add(validate(delivery, rules.limits, rules.identity_source))

    def _acknowledge(self, tags: Sequence[int], *, multiple: bool) -> None:
        """Have the receiving thread acknowledge deliveries: called by the writing one."""

        def acknowledge() -> None:
            for tag in tags:
                self.broker.ack(tag, multiple=multiple)

        try:
            self.broker.from_thread(acknowledge)
        except Unavailable:
            self.backlog.close()  # all of it comes again, and what was stored is a duplicate

    def _hand_over(self) -> bool:
        """Show the writer what came in one piece; say whether to read on."""
        self.backlog.announce()
        return self.backlog.open and self.backlog.has_room()

    def _wait_for_room(self, stop: threading.Event) -> None:
        """Read next to nothing while the backlog has no room, but keep the connection alive.

        If it were lost, the whole backlog would be delivered again, up to a queue's delivery limit.
        """
        while not self.backlog.wait_for_room(ROOM_WAIT_S) and not stop.is_set():
            self.broker.poll(0)
            self.check()

    def _finish(self) -> None:
        """Stop deliveries, let what came be committed, acknowledge it."""
        self.broker.cancel()
        deadline = time.monotonic() + STOP_WAIT_S
        while self.backlog.unacknowledged() and time.monotonic() < deadline:
            if self.writer.ended.is_set():
                break
            self.broker.poll(0.05)
            self.backlog.turn()
        self.broker.poll(0.05)  # sends the acknowledgements
