"""The two threads of ingest when they read a stream: the place to go on from comes from Postgres.

A life of the writer's connection is a life of the reader: it becomes the one active reader, reads
how far the stream is stored, and all that was received under an older life is let go.
"""

import time
from collections.abc import Sequence
from functools import partial

import psycopg
import structlog

from services.ingest import service, stream
from services.ingest.backlog import Backlog
from services.ingest.core import Delivery, Validated
from services.ingest.deferred import Letters
from services.ingest.identity import Properties
from services.ingest.receiver import Receiver
from services.ingest.stream import Continuity, Gap, Overtaken, Position
from services.ingest.writer import Writer
from shared.amqp.consumer import STREAM_OFFSET, Consumer
from shared.amqp.properties import MalformedProperties
from shared.errors import Refusal, Unavailable

STANDBY_POLL_S = 1.0
ANCHOR_WAIT_S = 10.0
"""How long the broker may take to deliver a message that must be there."""
PRUNE_EVERY_BATCHES = 1000

log = structlog.get_logger()


class StreamWriter(Writer):
    """Stores batches together with how far they take the stream.

    How far is one number: a dead letter that cannot be written holds up what is behind it.
    """

    letters = Letters.MUST
    position: Position | None = None
    _batches = 0

    def begin(self, conn: psycopg.Connection) -> None:
        """Wait to be the stream's one active reader, then see how far it is stored."""
        if self.backlog is not None:
            self.backlog.close()
            self.backlog = None
        name = self.intake.queue
        while not stream.try_lock(conn, name):
            self.health.progress("writer")
            self.health.progress("receiver")
            if self.stopping.wait(STANDBY_POLL_S):
                raise Unavailable("postgres", "stopped while standing by")
        self.position = stream.position(conn, name)
        log.info("stream_position", stream=name, offset=self.position.reached)

    def run_once(self, conn: psycopg.Connection) -> None:
        """As a writer does; a new reading of the stream needs a new position, hence a new life."""
        if self.backlog is not None and not self.backlog.open:
            raise Unavailable("rabbitmq", "the stream is to be read anew")
        super().run_once(conn)

    def store(
        self, conn: psycopg.Connection, _backlog: Backlog, messages: Sequence[Validated]
    ) -> service.Outcome:
        """Commit a batch and the position after it, or neither. Raises `Unavailable`."""
        before = self.position
        if before is None:
            raise LookupError("no position: the writer has not begun")
        last = offset_of(messages[-1].delivery.properties)
        if last <= before.reached:
            raise Unavailable("rabbitmq", "these were read from an older position")
        after = before.after(last, messages[-1].delivery.body)
        move = partial(stream.advance, conn, before, after)
        try:
            outcome = service.store_batch(conn, messages, self.intake, move)
        except Overtaken as error:
            raise Unavailable("postgres", str(error)) from error
        self.position = after
        self._batches += 1
        if self._batches % PRUNE_EVERY_BATCHES == 0:
            stream.prune(conn, before.stream)
        return outcome


class StreamReceiver(Receiver):
    """Reads a stream from where Postgres stands, and watches that nothing is missing."""

    def __init__(self, broker: Consumer, writer: StreamWriter) -> None:
        """`writer` has begun: its position is where reading starts."""
        super().__init__(broker, writer)
        if writer.position is None:
            raise LookupError("no position: the writer has not begun")
        self._start = writer.position
        self._continuity = Continuity(writer.position)
        self._gap = ""
        self._started_at = 0.0

    def start(self, queue: str, prefetch: int) -> None:
        """Find or make the stream and start deliveries from the last message stored."""
        state = self.broker.declare(queue, kind="stream")
        self.broker.consume(
            queue,
            prefetch=prefetch,
            on_message=self.on_message,
            stream_offset=self._continuity.ask_for(),
        )
        self.writer.serve(self.backlog)
        self._started_at = time.monotonic()
        self.health.progress("receiver")
        log.info("reading_stream", stream=queue, messages=state.messages)

    def check(self) -> None:
        """Raise `Refusal` when the stream is another one, `Unavailable` when to read anew."""
        super().check()
        waited_s = time.monotonic() - self._started_at
        if not self._continuity.anchored and waited_s > ANCHOR_WAIT_S:
            raise stream.made_anew(self._start)
        if self._gap and self.backlog.in_hand() == 0:
            raise Unavailable("rabbitmq", self._gap)

    def on_message(
        self,
        tag: int,
        redelivered: bool,  # noqa: FBT001 - the order in which a delivery has them
        properties: Properties,
        body: bytes,
    ) -> None:
        """Take one delivery in; its offset is its identity if it carries none."""
        if self._gap:
            return
        offset = offset_of(properties)
        try:
            if self._continuity.accept(offset, body):
                identity = self._start.identity(offset)
                self.take(Delivery(tag, redelivered, properties, body, identity))
            else:
                self.broker.ack(tag)  # the last one stored: its credit is needed
        except Gap as gap:
            # What came before it is stored first; then its last message must still be there.
            self._gap = str(gap)


def offset_of(properties: Properties) -> int:
    """Return a delivery's offset in its stream. Raises `Refusal` for one that shows none."""
    try:
        offset = (properties.headers or {}).get(STREAM_OFFSET)
    except MalformedProperties:
        offset = None
    if not isinstance(offset, int):
        raise Refusal("a delivery without an offset: is INGEST_STREAM a stream?")
    return offset
