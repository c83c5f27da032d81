"""Retry policies, by name. Only idempotent work is retried; each policy says what makes it so."""

import math
import random
import threading
from collections.abc import Callable

import tenacity

from shared import metrics
from shared.errors import Denied, StatementFailed, Unavailable

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0
DENIED_PAUSE_S = (5.0, 30.0)
PAUSE_MAX_S = 1.0


def connecting(stop: threading.Event, *, give_up_after_s: float = math.inf) -> tenacity.Retrying:
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
        sleep=tenacity.sleep_using_event(stop),
        before_sleep=_report,
        reraise=True,
    )


_backoff = tenacity.wait_random_exponential(multiplier=BACKOFF_FIRST_S, max=BACKOFF_MAX_S)


def _pause_s(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Denied):
        return random.uniform(*DENIED_PAUSE_S)  # noqa: S311 - jitter, no secret
    return _backoff(state)


def run_with_reconnect(stop: threading.Event, live: Callable[[], None]) -> None:
    """Call `live` again and again until `stop`: each call is one life of a set of connections.

    `live` raises `Unavailable` while it is being set up, and that is retried with growing pauses;
    once it works it ends by returning (having called `report_lost`), and the next life starts
    afresh. What was in hand is redelivered or read again by the next life.
    """
    while not stop.is_set():
        for attempt in connecting(stop):
            with attempt:
                live()
        stop.wait(random.uniform(BACKOFF_FIRST_S, PAUSE_MAX_S))  # noqa: S311 - jitter, no secret


def report_lost(error: Unavailable) -> None:
    """Report that a connection which had worked is gone."""
    metrics.reconnecting(error, attempt=0)


def _report(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Unavailable):
        metrics.reconnecting(error, attempt=state.attempt_number)
