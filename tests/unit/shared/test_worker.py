"""A thread that ends by a failure is seen at once, and ends the service."""

import threading

import pytest

from shared import worker
from shared.errors import Unavailable
from shared.health import Health


def test_a_thread_that_fails_makes_the_service_unhealthy_at_once_and_for_good() -> None:
    stop, health = threading.Event(), Health()

    def fail() -> None:
        raise ZeroDivisionError

    def look() -> None:
        with worker.running("counting", fail, stop, health) as ended:
            assert ended.wait(30)
            assert stop.is_set()
            health.progress("counting")
            assert health.problems() == {"thread counting": "ended: ZeroDivisionError"}

    with pytest.raises(ZeroDivisionError):
        look()


def test_a_thread_that_is_stopped_while_a_server_is_away_is_no_failure() -> None:
    stop, health = threading.Event(), Health()

    def reach() -> None:
        stop.set()
        raise Unavailable("postgres", "away")

    with worker.running("counting", reach, stop, health) as ended:
        assert ended.wait(30)
    assert health.problems() == {}
