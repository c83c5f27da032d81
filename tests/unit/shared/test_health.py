"""A part is healthy while it reports progress often enough, and not merely because it is alive."""

import json
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass

import pytest

from shared import health, retry
from shared.errors import Refusal, Unavailable
from shared.health import START, Health

HOST = "127.0.0.1"


@dataclass
class Clock:
    """Seconds that pass when told to."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_part_is_healthy_up_to_its_limit_and_unhealthy_beyond(clock: Clock) -> None:
    state = Health(clock)
    state.expect("writer", within_s=15)
    clock.now += 15
    assert state.problems() == {}
    clock.now += 0.5
    assert state.problems() == {"writer": "no progress for 15.5 s (limit 15 s)"}


def test_progress_makes_it_healthy_again_for_another_while(clock: Clock) -> None:
    state = Health(clock)
    state.expect("writer", within_s=15)
    clock.now += 20
    state.progress("writer")
    clock.now += 15
    assert state.problems() == {}


def test_progress_of_one_part_says_nothing_of_another(clock: Clock) -> None:
    state = Health(clock)
    state.expect("writer", within_s=15)
    state.expect("receiver", within_s=10)
    clock.now += 20
    state.progress("receiver")
    assert list(state.problems()) == ["writer"]


def test_a_problem_lasts_until_there_is_progress_however_little_time_passed(clock: Clock) -> None:
    state = Health(clock)
    state.expect("writer", within_s=15)
    state.problem("writer", "postgres: gone")
    assert state.problems() == {"writer": "postgres: gone"}
    clock.now += 100
    assert state.problems() == {"writer": "postgres: gone"}  # the cause, not the symptom
    state.progress("writer")
    assert state.problems() == {}


def test_the_reason_given_is_that_of_the_last_attempt_and_the_error_goes_on(clock: Clock) -> None:
    state = Health(clock)
    for reason in ("connection lost", "connection refused"):
        with pytest.raises(Unavailable), state.reporting("writer"):
            raise Unavailable("postgres", reason)
    assert state.problems() == {"writer": "postgres: connection refused"}
    with state.reporting("writer"):
        state.progress("writer")
    assert state.problems() == {}


def test_a_delay_is_told_with_its_reason_once_it_lasts_too_long(clock: Clock) -> None:
    state = Health(clock)
    state.expect("watermark", within_s=121)
    state.delayed("watermark", "keydb: TimeoutError")
    clock.now += 121
    assert state.problems() == {}
    clock.now += 1
    said = "no progress for 122.0 s (limit 121 s): keydb: TimeoutError"
    assert state.problems() == {"watermark": said}
    state.progress("watermark")
    clock.now += 122
    assert state.problems() == {"watermark": "no progress for 122.0 s (limit 121 s)"}


def test_a_limit_that_is_set_again_does_not_count_as_progress(clock: Clock) -> None:
    state = Health(clock)
    state.expect("receiver", within_s=10)
    clock.now += 11
    state.expect("receiver", within_s=10)
    assert list(state.problems()) == ["receiver"]


def test_healthz_answers_200_when_healthy_and_503_with_the_reason_when_not(clock: Clock) -> None:
    state = Health(clock)
    with health.serving(state, HOST, 0) as port:
        assert get(port, "/healthz") == (200, '{"ok": true, "problems": {}}')
        state.problem("writer", "postgres: gone")
        status, text = get(port, "/healthz")
        assert status == 503
        assert json.loads(text) == {"ok": False, "problems": {"writer": "postgres: gone"}}
        assert get(port, "/")[0] == 404


def test_a_thread_is_stuck_once_it_has_not_turned_for_longer_than_the_limit(clock: Clock) -> None:
    state = Health(clock, stuck_s=120)
    state.turn("main")
    state.turn("writer")
    clock.now += 100
    state.turn("main")
    clock.now += 20
    assert state.stuck() == {}
    clock.now += 1
    assert state.stuck() == {"writer": "has not turned for 121.0 s (limit 120 s)"}
    state.turn("writer")
    assert state.stuck() == {}


def test_a_wait_counts_as_turning_until_its_own_limit_and_no_longer(clock: Clock) -> None:
    state = Health(clock, stuck_s=120)
    state.turn("main", 900)
    clock.now += 900 + 120
    assert state.stuck() == {}
    clock.now += 1
    assert list(state.stuck()) == ["main"]
    state.turn("main", 900)
    state.turn("main")  # the answer came
    clock.now += 121
    assert list(state.stuck()) == ["main"]


def test_livez_says_whether_threads_turn_and_nothing_of_servers(clock: Clock) -> None:
    state = Health(clock, stuck_s=120)
    state.turn("main")
    state.problem("writer", "postgres: gone")
    with health.serving(state, HOST, 0) as port:
        assert get(port, "/healthz")[0] == 503
        assert get(port, "/livez") == (200, '{"ok": true, "problems": {}}')
        clock.now += 121
        status, text = get(port, "/livez")
        assert (status, json.loads(text)["ok"]) == (503, False)
        assert list(json.loads(text)["problems"]) == ["main"]


def test_health_is_a_metric_too(clock: Clock) -> None:
    state = Health(clock)
    with health.serving(state, HOST, 0) as port:
        assert "minutebook_healthy 1.0" in get(port, "/metrics")[1]
        state.problem("writer", "postgres: gone")
        assert "minutebook_healthy 0.0" in get(port, "/metrics")[1]


def test_metrics_are_on_the_same_port() -> None:
    retry.RECONNECTS.labels("postgres")
    with health.serving(Health(), HOST, 0) as port:
        status, text = get(port, "/metrics")
    assert status == 200
    assert 'minutebook_reconnects_total{server="postgres"}' in text


def test_a_port_in_use_is_refused_by_name() -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(Refusal, match=f"METRICS_PORT {port}"),
            health.serving(Health(), HOST, port),
        ):
            pass


def test_on_the_address_of_all_both_kinds_are_answered() -> None:
    with health.serving(Health(), "::", 0) as port:
        assert get(port, "/healthz")[0] == 200  # by IPv4


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "nobody.invalid"])
def test_an_address_of_another_machine_is_named_and_not_the_port(host: str) -> None:
    with pytest.raises(Refusal, match=f"METRICS_HOST {host}"), health.serving(Health(), host, 0):
        pass


def test_a_service_is_unhealthy_from_the_start_until_it_has_said_what_it_lacks() -> None:
    health = Health()
    health.problem(START, "not begun yet")
    assert health.problems() == {START: "not begun yet"}
    health.problem("writer", "not connected yet")
    assert health.problems() == {"writer": "not connected yet"}
