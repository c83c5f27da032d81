"""The thread that reads the queue of requests, with connections of its own."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import psycopg
import structlog

from services.tracker import core, metrics
from services.tracker.acceptance import Acceptance, Connected, Delivery
from shared import postgres, retry, worker
from shared.amqp.properties import Properties
from shared.amqp.publisher import Publisher, Stopped
from shared.amqp.topic import TopicPublisher
from shared.errors import Unavailable
from shared.health import NOT_CONNECTED, Health
from shared.limited_connection import meanwhile
from shared.request_message import QUEUE

PREFETCH = 50
"""Requests that came and are not acknowledged, at most: each may have several MiB."""
POLL_S = 0.5
LAST_POLL_S = 0.05
STUCK_S = 15.0
"""A queue whose messages are not looked at for so long makes the service unhealthy."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Connectors:
    """How the servers are reached, for one life of the thread."""

    to_postgres: Callable[..., AbstractContextManager[psycopg.Connection]]
    to_requests: Callable[..., AbstractContextManager[Publisher]]
    to_replies: Callable[..., AbstractContextManager[TopicPublisher]]


class Intake:
    """One life of the connections after another."""

    def __init__(
        self,
        target: str,
        connectors: Connectors,
        health: Health,
        stop: threading.Event,
        queue: str = QUEUE,
    ) -> None:
        """Requests come from `queue`, items go to the queue `target`."""
        self._target, self._queue = target, queue
        self._connectors = connectors
        self._health = health
        self._stop = stop
        self._received: list[tuple[int, Delivery]] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the thread while inside; on the way out it finishes what it has received."""
        self._health.problem(QUEUE, NOT_CONNECTED)
        self._health.expect(QUEUE, within_s=STUCK_S)
        with worker.running(QUEUE, self.live, self._stop, self._health):
            yield

    def live(self) -> None:
        """Accept requests until `stop`, or until a server is lost."""
        turn = self._health.turning(QUEUE)
        self._received = []  # what an older connection delivered comes again
        with (
            self._health.reporting(QUEUE),
            self._connectors.to_postgres(turn=turn) as conn,
            self._connectors.to_requests(turn=turn) as relay,
            self._connectors.to_replies(turn=turn) as replies,
        ):
            postgres.check_schema(conn)
            relay.declare(self._target)
            state = relay.declare(self._queue)
            replies.open_queues()
            progress = partial(self._health.progress, QUEUE)
            to = Connected(conn, relay, replies)
            acceptance = Acceptance(to, self._target, self._stop, progress, self._queue)
            meanwhile(conn, partial(relay.poll, 0.0), acceptance.keep_alive)
            relay.confirm_all(self._stop, acceptance.keep_alive)
            relay.consume(self._queue, prefetch=PREFETCH, on_message=self._on_message)
            log.info("consuming", queue=self._queue, messages=state.messages,
                     consumers=state.consumers)  # fmt: skip
            self._consume(relay, acceptance)

    def _consume(self, relay: Publisher, acceptance: Acceptance) -> None:
        worked = False
        try:
            while not self._stop.is_set():
                worked = self._run_once(relay, acceptance) or worked
            relay.poll(LAST_POLL_S)  # sends the last acknowledgement
        except Stopped:
            log.info("worker_stopped", worker=QUEUE, server="rabbitmq")
        except Unavailable as error:
            if not worked:
                raise  # what fails again and again is tried again ever less often
            self._health.problem(QUEUE, str(error))
            retry.report_lost(error)

    def _run_once(self, relay: Publisher, acceptance: Acceptance) -> bool:
        """Wait a little for messages, and handle and acknowledge what came. Says if any did."""
        relay.poll(0.0 if self._received else POLL_S)
        acceptance.keep_alive()
        count = core.at_once(len(one.body) for _, one in self._received)
        received, self._received = self._received[:count], self._received[count:]
        if received:
            began = time.monotonic()
            outcomes = acceptance.handle([delivery for _, delivery in received])
            relay.ack(received[-1][0], multiple=True)
            for outcome, count in outcomes.items():
                metrics.REQUESTS.labels(outcome).inc(count)
            took_ms = round((time.monotonic() - began) * 1000, 1)
            log.info("requests_handled", duration_ms=took_ms, **outcomes)
        self._health.progress(QUEUE)
        return bool(received)

    def _on_message(
        self,
        tag: int,
        _redelivered: bool,  # noqa: FBT001 - the order in which a delivery has them
        properties: Properties,
        body: bytes,
    ) -> None:
        self._received.append((tag, Delivery(properties, body)))
