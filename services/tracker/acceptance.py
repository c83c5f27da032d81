"""Requests that came together: written down, their items published, their senders answered.

    insert, commit -> publish -> confirm -> `published_at`, commit -> answer -> acknowledge

Who dies between two of these finds the messages again. What is written down is not written again,
and of its items only those are published again of which nothing is known, under the same identity.
Nothing of a request with `published_at` is published again.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import psycopg
import structlog

from services.tracker import answers, core, intake_store, metrics
from services.tracker.intake_store import Known, ReplyTo
from shared import dead_letter_store, postgres, request_message, tracing
from shared.amqp.properties import Properties
from shared.amqp.publisher import Publisher
from shared.amqp.topic import Message, TopicPublisher
from shared.ledger import request as ledger
from shared.request_message import QUEUE, Request
from shared.unfit import Unfit

ITEMS_AT_ONCE = 1000

log = structlog.get_logger()


class Connected(NamedTuple):
    """What one life works with; items are published by `relay`."""

    conn: psycopg.Connection
    relay: Publisher
    replies: TopicPublisher


class Delivery(NamedTuple):
    """A message as it came."""

    properties: Properties
    body: bytes


class Accepted(NamedTuple):
    """A request, and what its message says beside it."""

    request: Request
    reply_to: ReplyTo
    traceparent: str | None


class Transaction(NamedTuple):
    """An item as it is published."""

    id: str
    body: bytes
    traceparent: str | None
    name: str = "transaction"


class Acceptance:
    """Over the connections of one life."""

    def __init__(
        self,
        to: Connected,
        target: str,
        stop: threading.Event,
        progress: Callable[[], object] = lambda: None,
        queue: str = QUEUE,
    ) -> None:
        """Items go to the queue `target`; requests come from `queue`.

        `progress` is called after each part of the items, and after each request.
        """
        self._conn, self._relay, self._replies = to
        self._target, self._queue = target, queue
        self._stop = stop
        self._progress = progress

    def keep_alive(self) -> None:
        """Handle what came on the connection for replies. Raises `Unavailable`."""
        self._replies.poll(0.0)

    def handle(self, deliveries: Sequence[Delivery]) -> Counter[str]:
        """Do all that comes before the acknowledgement, and say how many were what.

        Raises `Unavailable`, and `Stopped` by who publishes: then the messages come again.
        """
        with postgres.translating():
            accepted, new, outcomes = self._write_down(deliveries)
            keys = {one.request.key for one in accepted}
            known = intake_store.known(self._conn, list(keys))
            if known.keys() < keys:
                return self.handle(deliveries)  # one was just forgotten: it is new
            self._publish_items(accepted, new, known)
            for one in accepted:
                outcomes[self._answer(one, known[one.request.key], new)] += 1
                self._progress()
        return outcomes

    def _write_down(
        self, deliveries: Sequence[Delivery]
    ) -> tuple[list[Accepted], set[str], Counter[str]]:
        """Commit requests under new keys, and dead letters; return also which keys are new."""
        accepted: list[Accepted] = []
        outcomes: Counter[str] = Counter()
        with self._conn.transaction():
            for properties, body in deliveries:
                try:
                    accepted.append(_read(properties, body))
                except Unfit as unfit:
                    dead_letter_store.insert(self._conn, self._queue, properties, body, unfit)
                    outcomes["unfit"] += 1
            first = {one.request.key: one[:2] for one in reversed(accepted)}
            return accepted, intake_store.insert(self._conn, first) if first else set(), outcomes

    def _publish_items(
        self, accepted: Sequence[Accepted], new: set[str], known: Mapping[str, Known]
    ) -> None:
        unpublished: dict[str, Accepted] = {}
        for one in accepted:
            there = known[one.request.key]
            if one.request.items and not there.published and there.is_same(one.request):
                # The first, as is written down: one that repeats it may be written otherwise.
                unpublished.setdefault(one.request.key, one)
        if not unpublished:
            return
        old = [key for key in unpublished if key not in new]
        missing = intake_store.missing(self._conn, old) if old else {}
        items = [
            Transaction(item.identity, item.body, one.traceparent)
            for key, one in unpublished.items()
            for number, item in enumerate(one.request.items)
            if key in new or number in missing.get(key, ())
        ]
        for at in range(0, len(items), ITEMS_AT_ONCE):
            part = items[at : at + ITEMS_AT_ONCE]
            self._relay.publish_all("", part, self._target, mandatory=True)
            self._progress()
        self._relay.flush()
        again = {
            key: [
                item.body if number in numbers else None
                for number, item in enumerate(unpublished[key].request.items)
            ]
            for key, numbers in missing.items()
        }
        intake_store.note_published(self._conn, list(unpublished), again)
        metrics.ITEMS.inc(len(items))

    def _answer(self, one: Accepted, known: Known, new: set[str]) -> str:
        """Answer at once what can be; return what the message was.

        The first of a new key is `accepted`, and answered once it is decided.
        """
        key = one.request.key
        if not known.is_same(one.request):
            said = "another request has this key: other items, or of somebody else"
            self._send(one, "conflict", core.refusal(key, "idempotency_conflict", said))
            return "conflict"
        if one.request.kind != "transactions":
            error = self._send(one, "answer", answers.answer(self._conn, one.request))
            intake_store.note_answered(self._conn, key, error)
            return "question"
        if key in new:
            new.discard(key)
            return "accepted"
        self._answer_again(one)
        return "repeated"

    def _answer_again(self, one: Accepted) -> None:
        """Send who repeats a request its document, unless its reply is still to come."""
        if one.reply_to.queue is None:
            return
        key = one.request.key
        if not one.reply_to.error and intake_store.adopt_reply_to(self._conn, key, one.reply_to):
            return
        document = ledger.document(self._conn, key)
        if document:
            self._send(one, "reply", core.reply(document))

    def _send(self, one: Accepted, what: str, body: bytes) -> str | None:
        """Send a reply and wait for its confirm; return why it was not taken."""
        to = one.reply_to
        if to.queue is None:
            return None
        error: str | None = to.error
        if error is None:
            message_id = f"{one.request.key}:{what}"
            message = Message(message_id, to.queue, body, to.correlation_id)
            error = self._replies.send([message], self._stop).failed.get(message_id)
        if error is None:
            metrics.REPLIES.inc()
        else:
            metrics.NOT_TAKEN.labels(error).inc()
            log.warning("replies_not_taken", error=error, replies=1)
        return error


def _read(properties: Properties, body: bytes) -> Accepted:
    """Return a request, and where its sender wants the reply. Raises `Unfit`."""
    request = request_message.read(body)
    said = properties.all()
    if "garbled" in said:
        raise Unfit("invalid_value", "the properties are malformed")
    to = ReplyTo(_text(said, "reply_to"), _text(said, "correlation_id"))
    traceparent = tracing.traceparent(properties.headers) if tracing.on() else None
    return Accepted(request, to, traceparent)


def _text(said: Mapping[str, object], name: str) -> str | None:
    """Return a property as text, None without it. Raises `Unfit`."""
    found = said.get(name)
    if found in (None, ""):
        return None
    if not isinstance(found, str) or "\0" in found:
        raise Unfit("invalid_value", f"the property {name} is not UTF-8, or holds a NUL character")
    return found
