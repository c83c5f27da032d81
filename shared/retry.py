"""Retry policies, by name. Only idempotent work is retried; each policy says what makes it so."""

import math
import random
import threading
from collections.abc import Callable
from functools import partial
from typing import get_args

import structlog
import tenacity
from prometheus_client import Counter

from shared.errors import Denied, Server, StatementFailed, Unavailable
from shared.health import Turn, unwatched

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0
DENIED_PAUSE_S = (5.0, 30.0)
PAUSE_MAX_S = 1.0

RECONNECTS = Counter("minutebook_reconnects_total", "Attempts to reach a server again.", ["server"])
for _server in get_args(Server):  # a first event that made its series would be no increase
    RECONNECTS.labels(_server)

log = structlog.get_logger()


def connecting(
    stop: threading.Event, turn: Turn = unwatched, *, give_up_after_s: float = math.inf
) -> tenacity.Retrying:
    """Return the policy for (re)connecting: jittered, at most 5 s apart, until `stop`.

    Where the server refuses us (`Denied`), up to 30 s apart: each try may be one of few.

    Opening a connection changes nothing on the server, so it may be repeated. Full jitter
    (Brooker, "Exponential Backoff and Jitter", 2015) keeps replicas from returning in step.
    Raises the last `Unavailable` once `stop` is set or the time is over; services never give up.
    Who does is not waiting for somebody to mend the database: `StatementFailed` ends it at once,
    and so does `Denied`.
    """
    hopeless = (StatementFailed, Denied) if math.isfinite(give_up_after_s) else ()
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Unavailable)
        & tenacity.retry_if_not_exception_type(hopeless),
        wait=_pause_s,
        stop=tenacity.stop_when_event_set(stop) | tenacity.stop_after_delay(give_up_after_s),
        sleep=partial(_pause, stop, turn),
        before_sleep=_report,
        reraise=True,
    )


_backoff = tenacity.wait_random_exponential(multiplier=BACKOFF_FIRST_S, max=BACKOFF_MAX_S)


def _pause_s(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Denied):
        return random.uniform(*DENIED_PAUSE_S)  # noqa: S311 - jitter, no secret
    return _backoff(state)


def run_with_reconnect(
    stop: threading.Event, live: Callable[[], None], turn: Turn = unwatched
) -> None:
    """Call `live` again and again until `stop`: each call is one life of a set of connections.

    `live` raises `Unavailable` while it is being set up, and that is retried with growing pauses;
    once it works it ends by returning (having called `report_lost`), and the next life starts
    afresh. What was unacknowledged is redelivered, or read again by the next life.
    """
    while not stop.is_set():
        for attempt in connecting(stop, turn):
            with attempt:
                turn(0.0)
                live()
        pause_s = random.uniform(BACKOFF_FIRST_S, PAUSE_MAX_S)  # noqa: S311 - jitter, no secret
        _pause(stop, turn, pause_s)


def _pause(stop: threading.Event, turn: Turn, pause_s: float) -> None:
    turn(pause_s)
    stop.wait(pause_s)


def report_lost(error: Unavailable, *, attempt: int = 0) -> None:
    """Count and report a connection that is gone, or the `attempt`-th try in a row to open it."""
    RECONNECTS.labels(error.server).inc()
    log.warning("reconnecting", server=error.server, detail=error.detail, attempt=attempt)


def _report(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Unavailable):
        report_lost(error, attempt=state.attempt_number)
