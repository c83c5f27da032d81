"""The two threads of ingest when they read a stream: the place to go on from comes from Postgres.

With each new connection the writer waits to be the one active reader and asks how far the stream is
settled. What was received before that is dropped, and delivered again from there.
"""

import time
from collections.abc import Sequence

import psycopg
import structlog

from services.ingest import service, stream
from services.ingest.backlog import Backlog
from services.ingest.core import Delivery, Validated
from services.ingest.identity import Properties
from services.ingest.receiver import Receiver
from services.ingest.stream import Continuity, Gap, Position
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

    The position never passes a deferred message, so it is read again after a restart.
    """

    position: Position
    """All up to here is settled."""
    ahead: Position
    """Up to here messages were ever stored while one before them was deferred."""
    _end: Position
    """The last message that is stored or deferred."""
    _before: dict[int, Position]
    """By tag of a deferred message: the position while it is the first of them."""
    _reading: Backlog | None = None
    _batches = 0
    by_one_statement = False

    def begin(self, conn: psycopg.Connection) -> None:
        """Wait to be the stream's one active reader, then see how far it is settled."""
        self._reading = None
        if self.backlog is not None:
            self.backlog.close()
            self.backlog = None
        name = self.intake.queue
        while not stream.try_lock(conn, name):
            self.health.progress("writer")
            self.health.progress("receiver")
            if self.stopping.wait(STANDBY_POLL_S):
                raise Unavailable("postgres", "stopped while standing by")
        self._end = stream.position(conn, name)
        self.ahead = stream.ahead(conn, self._end)
        self._before = {}
        self.position = self._end
        log.info("stream_position", stream=name, offset=self._end.reached)

    def run_once(self, conn: psycopg.Connection) -> None:
        """Store a batch as any writer. Raises `Unavailable` if the stream is being read anew.

        A new reading begins at a new position, which is asked for with a new connection.
        """
        self._reading = reading = self._reading or self.backlog
        if reading is not self.backlog or (reading is not None and not reading.open):
            raise Unavailable("rabbitmq", "the stream is to be read anew")
        super().run_once(conn)
        if reading is not None:
            self._follow(conn, reading.deferred.messages())

    def store(
        self, conn: psycopg.Connection, backlog: Backlog, messages: Sequence[Validated]
    ) -> service.Outcome:
        """Commit a batch and the position after it, or neither. Raises `Unavailable`."""
        before = self._end
        first = offset_of(messages[0].delivery.properties)
        if backlog is not self._reading or first <= before.reached:
            raise Unavailable("rabbitmq", "these were read from an older position")
        outcome = super().store(conn, backlog, messages)
        self._before |= {letter.delivery.tag: before for letter, _ in outcome.deferred}
        self._end = _after(before, messages)
        if self._before:
            self.ahead = self.ahead.at_least(self._end)
        else:
            self.position = self._end
        self._batches += 1
        if self._batches % PRUNE_EVERY_BATCHES == 0:
            stream.prune(conn, self.position)
        return outcome

    def in_commit(
        self, conn: psycopg.Connection, messages: Sequence[Validated], outcome: service.Outcome
    ) -> None:
        """Move the position behind the batch, or say that it is stored ahead of the position."""
        after = _after(self._end, messages)
        if outcome.deferred or self._before:
            stream.advance(conn, self.ahead, self.ahead.at_least(after))
        else:
            stream.advance(conn, self.position, after)

    def _follow(self, conn: psycopg.Connection, deferred: Sequence[Validated]) -> None:
        """Move the position up to the first of the messages that are `deferred` now."""
        for one in deferred:
            if one.delivery.tag not in self._before:  # it was never stored with others
                self._before[one.delivery.tag] = self._end
                self._end = _after(self._end, [one])
                further = self.ahead.at_least(self._end)
                stream.advance(conn, self.ahead, further)
                self.ahead = further
        self._before = {one.delivery.tag: self._before[one.delivery.tag] for one in deferred}
        settled = next(iter(self._before.values()), self._end)
        stream.advance(conn, self.position, settled)
        self.position = settled


class StreamReceiver(Receiver):
    """Reads a stream from where Postgres stands, and watches that nothing is missing."""

    def __init__(self, broker: Consumer, writer: StreamWriter) -> None:
        """`writer` has begun: its position is where reading starts."""
        super().__init__(broker, writer)
        self._start = writer.position
        self._ahead = writer.ahead.reached
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
        """Raise `Refusal` if it is another stream, `Unavailable` if it is to be read anew."""
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
                again = redelivered or offset <= self._ahead
                self.take(Delivery(tag, again, properties, body, identity))
            else:
                self.broker.ack(tag)  # the last one stored: its credit is needed
        except Gap as gap:
            # What came before it is stored first; then its last message must still be there.
            self._gap = str(gap)


def _after(before: Position, messages: Sequence[Validated]) -> Position:
    last = messages[-1].delivery
    return before.after(offset_of(last.properties), last.body)


def offset_of(properties: Properties) -> int:
    """Return a delivery's offset in its stream. Raises `Refusal` for one that shows none."""
    try:
        offset = (properties.headers or {}).get(STREAM_OFFSET)
    except MalformedProperties:
        offset = None
    if not isinstance(offset, int):
        raise Refusal("a delivery without an offset: is INGEST_STREAM a stream?")
    return offset
