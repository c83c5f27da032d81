"""The two threads of ingest when they read a stream: the place to go on from comes from Postgres.

With each new connection the writer waits to be the one active reader and asks how far the stream is
stored. What was received before that is dropped, and delivered again from there.
"""

import time
from collections.abc import Collection, Sequence

import psycopg
import structlog

from services.ingest import service, stream
from services.ingest.backlog import Backlog
from services.ingest.core import Delivery, Validated
from services.ingest.receiver import Receiver
from services.ingest.stream import Continuity, Gap, Message, Position
from services.ingest.writer import Writer
from shared.amqp.channel import STREAM
from shared.amqp.consumer import STREAM_OFFSET, Consumer
from shared.amqp.properties import MalformedProperties
from shared.errors import Refusal, Unavailable

STANDBY_POLL_S = 1.0
ANCHOR_WAIT_S = 10.0
"""How long the broker may take to deliver a message that must be there."""
PRUNE_EVERY_BATCHES = 1000

log = structlog.get_logger()


class StreamWriter(Writer):
    """Stores batches together with how far they take the stream."""

    by_one_statement = False
    position: Position
    read_from: Position
    """Where the newest receiver began."""
    _committed: Position
    """What a commit under way makes of the position."""
    _reading: Backlog | None = None
    _last: Delivery | None = None
    """The last message of this reading that is stored or deferred."""
    _batches = 0

    def prepare(self, conn: psycopg.Connection) -> None:
        """Wait to be the stream's one active reader, then see how far it is stored."""
        super().prepare(conn)
        self._reading = self._last = None
        if self.backlog is not None:
            self.backlog.close()
            self.backlog = None
        name = self.rules.queue
        while not stream.try_lock(conn, name):
            self.health.progress("writer")
            self.health.progress("receiver")
            if self.stopping.wait(STANDBY_POLL_S):
                raise Unavailable("postgres", "stopped while standing by")
        self.position = stream.position(conn, name)
        log.info("stream_position", stream=name, offset=self.position.reached)

    def run_once(self, conn: psycopg.Connection) -> None:
        """Store a batch as any writer. Raises `Unavailable` if the stream is being read again.

        A new reading begins at a new position, which is asked for with a new connection.
        """
        if self._reading is None and self.backlog and self.read_from is self.position:
            self._reading = self.backlog
        reading = self._reading
        if reading is not self.backlog or (reading is not None and not reading.open):
            raise Unavailable("rabbitmq", "the stream must be read again")
        super().run_once(conn)
        if reading is not None:
            self._follow(conn, reading.deferred.by_tag.values())

    def store(
        self, conn: psycopg.Connection, backlog: Backlog, messages: Sequence[Validated]
    ) -> service.Outcome:
        """Commit a batch and the position after it, or neither. Raises `Unavailable`."""
        if backlog is not self._reading:
            raise Unavailable("rabbitmq", "these were read from an older position")
        outcome = super().store(conn, backlog, messages)
        self._last = messages[-1].delivery
        self.position = self._committed
        self._batches += 1
        if self._batches % PRUNE_EVERY_BATCHES == 0:
            stream.prune(conn, self.position.stream)
        return outcome

    def before_commit(
        self, conn: psycopg.Connection, messages: Sequence[Validated], outcome: service.Outcome
    ) -> None:
        """Move the position behind the batch."""
        earlier = self._reading.deferred.by_tag.values() if self._reading else ()
        deferred = [*earlier, *outcome.deferred]
        self._committed = self._after(messages[-1].delivery, deferred)
        stream.advance(conn, self.position, self._committed)

    def _follow(self, conn: psycopg.Connection, deferred: Collection[Validated]) -> None:
        """Have the position keep the first of the messages that are `deferred` now."""
        handled = [one.delivery for one in deferred] + ([self._last] if self._last else [])
        self._last = max(handled, default=None)
        if self._last is None:
            return
        after = self._after(self._last, deferred)
        if after != self.position:
            stream.advance(conn, self.position, after)
            self.position = after

    def _after(self, last: Delivery, deferred: Collection[Validated]) -> Position:
        first = min((one.delivery for one in deferred), default=None)
        return self.position.after(_message(last), _message(first) if first else None)


class StreamReceiver(Receiver):
    """Reads a stream from where Postgres stands, and watches that nothing is missing."""

    stream_arguments = STREAM
    writer: StreamWriter

    def __init__(self, broker: Consumer, writer: StreamWriter) -> None:
        """`writer` has begun: its position is where reading starts."""
        super().__init__(broker, writer)
        self._start = writer.position
        self._continuity = Continuity(self._start)
        self.begin_at = self._continuity.ask_for()
        self._gap = ""
        self._started_at = 0.0

    def start(self, queue: str, prefetch: int) -> None:
        """Find or make the stream and start deliveries."""
        self.writer.read_from = self._start
        super().start(queue, prefetch)
        self._started_at = time.monotonic()
        log.info("reading_stream", stream=queue)

    def check(self) -> None:
        """Raise `Refusal` if it is another stream, `Unavailable` if it must be read again."""
        super().check()
        waited_s = time.monotonic() - self._started_at
        if not self._continuity.anchored and waited_s > ANCHOR_WAIT_S:
            doubt = f", unless the broker takes more than {ANCHOR_WAIT_S:g} s to deliver it"
            raise stream.recreated(self._start, doubt)
        if self._gap and self.backlog.unacknowledged() == 0:
            raise Unavailable("rabbitmq", self._gap)

    def take(self, delivery: Delivery) -> None:
        """Validate a message; its offset is its identity if it carries none."""
        if self._gap:
            return
        offset = offset_of(delivery)
        try:
            is_new = self._continuity.accept(offset, delivery.body)
        except Gap as gap:
            # What came before it is stored first; then its last message must still be there.
            self._gap = str(gap)
            return
        if not is_new:
            self.broker.ack(delivery.tag)  # the last one stored: its credit is needed
            return
        again = delivery.redelivered or offset <= self._start.reached
        identity = self._start.identity(offset)
        super().take(delivery._replace(redelivered=again, fallback_id=identity))


def _message(delivery: Delivery) -> Message:
    return Message.of(offset_of(delivery), delivery.body)


def offset_of(delivery: Delivery) -> int:
    """Return a delivery's offset in its stream. Raises `Refusal` for one that shows none."""
    try:
        offset = (delivery.properties.headers or {}).get(STREAM_OFFSET)
    except MalformedProperties:
        offset = None
    if not isinstance(offset, int):
        raise Refusal("a delivery without an offset: is INGEST_STREAM a stream?")
    return offset
