"""One life of the connections after another: sightings are taken, looked up, settled.

While the API answers nobody, none is taken: those not acknowledged go back to the queue as they
came. So an outage costs no retries, and another observer, which may reach the API, can have them.
"""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import psycopg
import structlog

from services.observer import core, metrics
from services.observer.core import QUEUE, Sighting
from services.observer.lookups import Lookups
from services.observer.service import Settling, Unread
from services.observer.shown import Shown
from shared import keydb, postgres, retry
from shared.amqp.consumer import Consumer
from shared.amqp.delays import DelayingPublisher
from shared.amqp.properties import Properties
from shared.errors import Unavailable
from shared.health import MAIN, NOT_CONNECTED, Health
from shared.limited_connection import meanwhile
from shared.unfit import Unfit

NAME = "observer"
API, RETRIES = "api", core.EXCHANGE
"""Parts of health: the API, and the broker's side of retries."""
POLL_S = 0.5
LAST_POLL_S = 0.05
STUCK_S = 15.0
"""A queue whose sightings are not looked at for so long makes the service unhealthy."""
REPLAY_EVERY_S = 3.0
PROBE_FIRST_S, PROBE_MAX_S = 1.0, 5.0
"""Pauses between two questions to an API that answers nobody: they double."""
PROBE_POLL_S = 0.1
SILENT = "the API at OBSERVER_URL answers nobody"

log = structlog.get_logger()


@dataclass(frozen=True)
class Connectors:
    """How the servers are reached, for one life."""

    to_postgres: Callable[..., AbstractContextManager[psycopg.Connection]]
    to_keydb: Callable[[], AbstractContextManager[keydb.Client]]
    to_sightings: Callable[..., AbstractContextManager[Consumer]]
    to_retries: Callable[..., AbstractContextManager[DelayingPublisher]]


@dataclass(frozen=True)
class Amounts:
    """How many sightings are unacknowledged at once; how long (seconds) what was seen is kept."""

    concurrency: int
    kept_s: float


class Observer:
    """What the main thread does."""

    def __init__(
        self,
        connectors: Connectors,
        lookups: Lookups,
        amounts: Amounts,
        health: Health,
        stop: threading.Event,
    ) -> None:
        """Nothing is connected before `live`."""
        self._connectors = connectors
        self._lookups = lookups
        self._amounts = amounts
        self._health = health
        self._stop = stop
        self._unread: list[Unread] = []
        self._replay_at = 0.0
        health.problem(NAME, NOT_CONNECTED)
        health.expect(NAME, within_s=STUCK_S)

    def live(self) -> None:
        """Observe until `stop`, until a server is lost, or until the API answers nobody."""
        turn = self._health.turning(MAIN)
        self._unread = []  # what an older connection delivered comes again
        with (
            self._health.reporting(NAME),
            self._connectors.to_postgres(turn=turn) as conn,
            self._connectors.to_keydb() as client,
            self._connectors.to_sightings(turn=turn) as broker,
            self._connectors.to_retries(turn=turn) as retries,
        ):
            meanwhile(conn, partial(broker.poll, 0.0), partial(retries.poll, 0.0))
            postgres.check_schema(conn)
            keydb.check_server(client)
            self._open(broker, retries)
            if self._lookups.down is not None:
                self._wait_for_api(broker, retries)
            shown = Shown(client, self._amounts.kept_s)
            settling = Settling(conn, shown, retries, self._stop, self._amounts.kept_s)
            self._consume(broker, retries, settling)

    def _open(self, broker: Consumer, retries: DelayingPublisher) -> None:
        broker.declare(QUEUE)
        keep_alive = partial(broker.poll, 0.0)
        retries.open_delays(core.EXCHANGE, core.RETRY_QUEUES, QUEUE, keep_alive)
        retries.when_blocked(partial(self._health.report, RETRIES))
        self._health.progress(RETRIES)
        self._lookups.start(broker.wake)

    def _wait_for_api(self, broker: Consumer, retries: DelayingPublisher) -> None:
        """Ask again and again until the API answers, or until `stop`."""
        pause_s = PROBE_FIRST_S
        while (asked := self._lookups.down) is not None and not self._stop.is_set():
            waits = broker.declare(QUEUE).messages
            self._health.report(API, SILENT if waits else None)
            until = time.monotonic() + pause_s
            self._poll_until(broker, retries, lambda: time.monotonic() >= until)  # noqa: B023
            self._poll_until(broker, retries, self._lookups.probe(asked).done)
            pause_s = min(pause_s * 2, PROBE_MAX_S)
        if self._lookups.down is None:
            metrics.PAUSED.set(0)
            self._health.progress(API)
            log.info("lookups_resumed")

    def _poll_until(
        self, broker: Consumer, retries: DelayingPublisher, done: Callable[[], bool]
    ) -> None:
        """Keep the connections alive until something is done, or `stop`."""
        while not done() and not self._stop.is_set():
            broker.poll(PROBE_POLL_S)
            retries.poll(0.0)
            self._health.progress(NAME)

    def _consume(self, broker: Consumer, retries: DelayingPublisher, settling: Settling) -> None:
        worked = False
        state = broker.declare(QUEUE)
        broker.consume(QUEUE, prefetch=self._amounts.concurrency, on_message=self._on_message)
        log.info("consuming", queue=QUEUE, messages=state.messages, consumers=state.consumers)
        try:
            while not self._stop.is_set():
                is_down = self._lookups.down is not None  # asked first: then all else is settled
                worked = self._run_once(broker, retries, settling) or worked
                if is_down:
                    self._pause()
                    break
            broker.poll(LAST_POLL_S)  # sends the last acknowledgements
        except Unavailable as error:
            if not worked:
                raise  # what fails again and again is tried again ever less often
            self._health.problem(NAME, str(error))
            retry.report_lost(error)

    def _run_once(self, broker: Consumer, retries: DelayingPublisher, settling: Settling) -> bool:
        """Wait a little for results; settle and acknowledge those that there are. Says if any."""
        broker.poll(0.0 if self._unread else POLL_S)
        retries.poll(0.0)
        results = self._lookups.results()
        unread, self._unread = self._unread, []
        if results or unread:
            settling.settle(results, unread)
            for tag in [one.sighting.tag for one in results] + [one.tag for one in unread]:
                broker.ack(tag)
        if time.monotonic() >= self._replay_at:
            self._replay_at = time.monotonic() + REPLAY_EVERY_S
            settling.replay()
        self._health.progress(NAME)
        return bool(results or unread)

    def _pause(self) -> None:
        """Say that the API answers nobody; unacknowledged sightings go back with the connection."""
        metrics.PAUSED.set(1)
        self._health.problem(API, SILENT)
        log.warning("lookups_paused", hint=SILENT)

    def _on_message(
        self,
        tag: int,
        _redelivered: bool,  # noqa: FBT001 - the order in which a delivery has them
        properties: Properties,
        body: bytes,
    ) -> None:
        try:
            object_id = core.object_id(body)
        except Unfit as unfit:
            self._unread.append(Unread(tag, properties, body, unfit))
        else:
            self._lookups.submit(Sighting(tag, object_id, properties, body))
