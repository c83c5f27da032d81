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
from services.ingest.stream import Continuity, Gap, Progress
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
    """Stores batches together with how far they take the stream.

    The position never passes a deferred message, so it is read again after a restart.
    """

    by_one_statement = False
    progress: Progress
    _reading: Backlog | None = None
    _batches = 0

    def prepare(self, conn: psycopg.Connection) -> None:
        """Wait to be the stream's one active reader, then see how far it is settled."""
        super().prepare(conn)
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
        self.progress = stream.progress(conn, name)
        log.info("stream_position", stream=name, offset=self.progress.settled.reached)

    def run_once(self, conn: psycopg.Connection) -> None:
        """Store a batch as any writer. Raises `Unavailable` if the stream is being read anew.

        A new reading begins at a new position, which is asked for with a new connection.
        """
        self._reading = reading = self._reading or self.backlog
        if reading is not self.backlog or (reading is not None and not reading.open):
            raise Unavailable("rabbitmq", "the stream is to be read anew")
        super().run_once(conn)
        if reading is not None:
            self._follow(conn, reading.deferred.in_order())

    def store(
        self, conn: psycopg.Connection, backlog: Backlog, messages: Sequence[Validated]
    ) -> service.Outcome:
        """Commit a batch and the position after it, or neither. Raises `Unavailable`."""
        first = offset_of(messages[0].delivery.properties)
        if backlog is not self._reading or first <= self.progress.end.reached:
            raise Unavailable("rabbitmq", "these were read from an older position")
        outcome = super().store(conn, backlog, messages)
        self.progress = self._after(messages, outcome)
        self._batches += 1
        if self._batches % PRUNE_EVERY_BATCHES == 0:
            stream.prune(conn, self.progress)
        return outcome

    def in_commit(
        self, conn: psycopg.Connection, messages: Sequence[Validated], outcome: service.Outcome
    ) -> None:
        """Move the position behind the batch, or say that it is stored ahead of the position."""
        stream.advance(conn, self.progress, self._after(messages, outcome))

    def _after(self, messages: Sequence[Validated], outcome: service.Outcome) -> Progress:
        first, last = messages[0].delivery, messages[-1].delivery
        deferred = [letter.delivery.tag for letter, _ in outcome.deferred]
        progress = self.progress.starting_with(first, offset_of(first.properties))
        return progress.stored(last, offset_of(last.properties), deferred)

    def _follow(self, conn: psycopg.Connection, deferred: Sequence[Validated]) -> None:
        """Move the position up to the first of the messages that are `deferred` now."""
        progress = self.progress
        for delivery in (one.delivery for one in deferred):
            if delivery.tag not in progress.before:  # deferred in place of being stored
                offset = offset_of(delivery.properties)
                progress = progress.starting_with(delivery, offset)
                progress = progress.stored(delivery, offset, [delivery.tag])
        progress = progress.still_deferred(one.delivery.tag for one in deferred)
        if progress != self.progress:
            with conn.transaction():  # both positions, or neither
                stream.advance(conn, self.progress, progress)
            self.progress = progress


class StreamReceiver(Receiver):
    """Reads a stream from where Postgres stands, and watches that nothing is missing."""

    arguments = STREAM

    def __init__(self, broker: Consumer, writer: StreamWriter) -> None:
        """`writer` has begun: its position is where reading starts."""
        super().__init__(broker, writer)
        self._start = writer.progress
        self._continuity = Continuity(self._start)
        self.begin_at = self._continuity.ask_for()
        self._gap = ""
        self._started_at = 0.0

    def start(self, queue: str, prefetch: int) -> None:
        """Find or make the stream and start deliveries."""
        super().start(queue, prefetch)
        self._started_at = time.monotonic()
        log.info("reading_stream", stream=queue)

    def check(self) -> None:
        """Raise `Refusal` if it is another stream, `Unavailable` if it is to be read anew."""
        super().check()
        waited_s = time.monotonic() - self._started_at
        if not self._continuity.anchored and waited_s > ANCHOR_WAIT_S:
            raise stream.made_anew(self._start)
        if self._gap and self.backlog.in_hand() == 0:
            raise Unavailable("rabbitmq", self._gap)

    def take(self, delivery: Delivery) -> None:
        """Take a message in; its offset is its identity if it carries none."""
        if self._gap:
            return
        offset = offset_of(delivery.properties)
        try:
            if self._continuity.accept(offset, delivery.body):
                again = delivery.redelivered or offset <= self._start.ahead.reached
                identity = self._start.settled.identity(offset)
                super().take(delivery._replace(redelivered=again, fallback_id=identity))
            else:
                self.broker.ack(delivery.tag)  # the last one stored: its credit is needed
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
