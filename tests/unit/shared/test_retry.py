"""Outages are tried again soon; who is refused tries seldom, and a tool does not."""

import threading

import pytest
import tenacity

from shared import retry
from shared.errors import Denied, StatementFailed, Unavailable


def pause_s(error: Unavailable, attempt: int) -> float:
    """Return how long a service waits after its `attempt`-th try ended with `error`."""
    policy = retry.connecting(threading.Event())
    state = tenacity.RetryCallState(policy, None, (), {})
    state.attempt_number = attempt
    state.set_exception((type(error), error, None))
    return policy.wait(state)


def test_a_service_that_is_refused_makes_long_pauses_from_the_first_try_on() -> None:
    assert all(5 <= pause_s(Denied("postgres", "login"), n) <= 30 for n in range(1, 20))
    assert all(pause_s(Unavailable("postgres", "away"), n) <= 5 for n in range(1, 20))
    assert pause_s(Unavailable("postgres", "away"), 1) <= 0.2


def test_each_life_and_each_pause_between_two_counts_as_turning_with_its_length() -> None:
    stop, turns = threading.Event(), list[float]()

    def turn(wait_s: float) -> None:
        turns.append(wait_s)
        if len(turns) == 2:
            stop.set()  # no waiting in a test

    def live() -> None:
        raise Denied("postgres", "login")

    with pytest.raises(Denied):
        retry.run_with_reconnect(stop, live, turn)
    life, pause = turns[:2]
    assert life == 0
    assert 5 <= pause <= 30


@pytest.mark.parametrize("error", [Denied("rabbitmq", "login"), StatementFailed("postgres", "x")])
def test_a_tool_that_is_refused_tries_once(error: Unavailable) -> None:
    tries: list[int] = []

    def fail() -> None:
        tries.append(1)
        raise error

    with pytest.raises(type(error)):
        retry.connecting(threading.Event(), give_up_after_s=30)(fail)
    assert len(tries) == 1
