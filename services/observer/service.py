"""One batch: what the API said of some sightings, written, shown, and only then acknowledged.

    insert, dead letters, commit -> KeyDB -> delayed messages, confirmed -> acknowledge

Who dies between two of these finds the sightings again, and asks about them again: that an object
was seen is true however often it is written.
"""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import psycopg
import structlog

from services.observer import core, metrics, store
from services.observer.core import QUEUE
from services.observer.lookups import Result
from services.observer.shown import Shown
from services.observer.store import Clock
from shared import dead_letter_store, postgres
from shared.amqp.delays import DelayingPublisher
from shared.amqp.properties import Properties
from shared.amqp.topic import Message
from shared.change_record import NAME_BYTES_MAX
from shared.errors import Unavailable
from shared.unfit import Unfit

REPLAYS_AT_ONCE = 500

log = structlog.get_logger()


class Unread(NamedTuple):
    """A message that is no sighting, and its delivery."""

    tag: int
    properties: Properties
    body: bytes
    unfit: Unfit


class DeadLetter(NamedTuple):
    """A message that becomes a dead letter."""

    properties: Properties
    body: bytes
    unfit: Unfit


class Settling:
    """Over the connections of one life."""

    def __init__(
        self,
        conn: psycopg.Connection,
        shown: Shown,
        retries: DelayingPublisher,
        stop: threading.Event,
        kept_s: float,
    ) -> None:
        """What was seen is kept for `kept_s`."""
        self._conn = conn
        self._shown = shown
        self._retries = retries
        self._stop = stop
        self._kept_s = kept_s

    def settle(self, results: Sequence[Result], unread: Sequence[Unread]) -> None:
        """Do all that comes before the acknowledgement. Raises `Unavailable`."""
        began = time.monotonic()
        outcomes = Counter[str]({"unfit": len(unread)})
        dead_letters = [DeadLetter(*one[1:]) for one in unread]
        delayed: list[Message] = []
        seen: dict[int, float] = {}
        for one in results:
            if one.outcome == "seen":
                seen[one.sighting.object_id] = one.at  # the latest comes last
                outcomes["seen"] += 1
            elif one.outcome == "away":
                outcomes["away"] += 1
            elif queue := core.next_queue(one.sighting.properties):
                delayed.append(_delayed(one, queue))
                outcomes["retried"] += 1
            else:
                dead_letters.append(_given_up(one))
                outcomes["no_answer"] += 1
        self._write(seen, dead_letters)
        self._send(delayed)
        self._report(+outcomes, time.monotonic() - began)

    def replay(self) -> None:
        """Publish again what operators have replayed. Raises `Unavailable`.

        Who dies before the commit publishes it again: to ask twice does no harm.
        """
        with postgres.translating(), self._conn.transaction():
            found = store.take_replays(self._conn, REPLAYS_AT_ONCE)
            if not found:
                return
            self._send([_replayed(*one) for one in found])
        metrics.REPLAYED.inc(len(found))
        log.info("sightings_replayed", sightings=len(found))

    def _write(self, seen: dict[int, float], dead_letters: Sequence[DeadLetter]) -> None:
        """Commit, then show in KeyDB."""
        if not seen and not dead_letters:
            return
        with postgres.translating(), self._conn.transaction():
            clock = Clock.read(self._conn)
            times = {one: clock.time_at(at) for one, at in seen.items()}
            newest = store.upsert(self._conn, times, self._kept_s)
            for properties, body, unfit in dead_letters:
                dead_letter_store.insert(self._conn, QUEUE, properties, body, unfit)
        if newest:
            self._shown.show(newest, clock)

    def _send(self, messages: Sequence[Message]) -> None:
        if messages and (failed := self._retries.send(messages, self._stop).failed):
            reason = next(iter(failed.values()))
            raise Unavailable("rabbitmq", f"a queue of {core.EXCHANGE} takes nothing: {reason}")

    def _report(self, outcomes: Counter[str], took_s: float) -> None:
        for outcome, count in outcomes.items():
            metrics.SIGHTINGS.labels(outcome).inc(count)
        log.info("sightings_settled", duration_ms=round(took_s * 1000, 1), **outcomes)


def _delayed(one: Result, queue: str) -> Message:
    """Return the message under an identity by which its dead letter is the same one."""
    properties, body = one.sighting.properties, one.sighting.body
    identity = dead_letter_store.identity(QUEUE, properties, body)
    if len(identity.encode()) > NAME_BYTES_MAX:  # as long as AMQP takes it, without the prefix
        identity = identity.removeprefix(f"{QUEUE}:")
    return Message(identity, queue, body)


def _replayed(replay_id: int, object_id: int) -> Message:
    return Message(f"{QUEUE}:replay:{replay_id}", QUEUE, core.encode(object_id))


def _given_up(one: Result) -> DeadLetter:
    times = len(core.DELAYS_MS) + 1
    said = f"asked {times} times, the API never said whether it is online; at last: {one.error}"
    return DeadLetter(one.sighting.properties, one.sighting.body, Unfit("no_answer", said))
