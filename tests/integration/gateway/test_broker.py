"""What the broker did not confirm is never a 202; what was asked for again counts under its key."""

import contextlib
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from tests.support import http_gateway, programs, servers
from tests.support.eventually import eventually
from tests.support.http_gateway import Gateway
from tests.support.own_broker import OwnBroker
from tests.support.tcp_proxy import TcpProxy, proxying

FIT = {"id": 1, "value": 600}
IN_FLIGHT = "minutebook_gateway_in_flight"


@pytest.fixture
def vhost(rabbitmq_server: servers.Rabbitmq) -> Iterator[str]:
    """A virtual host of the test's own."""
    with rabbitmq_server.vhost(queue_type="classic") as url:
        yield url


@contextlib.contextmanager
def behind_proxy(vhost: str, **settings: str) -> Iterator[tuple[Gateway, TcpProxy]]:
    """Run a gateway whose way to the broker may be disturbed."""
    with (
        http_gateway.queues(vhost),
        proxying(vhost) as (proxy, url),
        http_gateway.accepting(url, **settings) as gateway,
    ):
        yield gateway, proxy


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["reason"]


def test_a_connection_that_breaks_while_a_request_waits_is_503_and_the_key_settles_it(
    vhost: str,
) -> None:
    with behind_proxy(vhost) as (gateway, proxy), ThreadPoolExecutor() as pool:
        with proxy.frozen():
            waiting = pool.submit(gateway.send, FIT, Idempotency_Key="order-1")
            eventually(lambda: gateway.program.metric(IN_FLIGHT) == 1)
            with proxy.down():
                answer = waiting.result()
        assert problem(answer) == (503, "broker_unavailable")
        assert answer.json()["request"] == "order-1"
        assert answer.headers["Idempotency-Key"] == "order-1"
        assert int(answer.headers["Retry-After"]) > 0
        eventually(lambda: accepted(gateway, "order-1"))
        with http_gateway.queues(vhost) as queues:
            assert {one["request"] for one in queues.all()} == {"order-1"}


def accepted(gateway: Gateway, key: str) -> bool:
    """Try again, as a client does, and say whether that is accepted."""
    answer = gateway.send(FIT, Idempotency_Key=key)
    assert answer.status_code in {202, 503}
    return bool(answer.status_code == 202)


@pytest.mark.parametrize(
    ("settings", "body"),
    [
        ({"GATEWAY_IN_FLIGHT_MAX": "2"}, '{"id": 1, "value": 600}'),
        ({"GATEWAY_BYTES_IN_HAND_MAX": "1048576"}, '{"id": 1, "value": 600}' + " " * 500_000),
    ],
)
def test_too_much_on_its_way_is_429_and_what_was_on_its_way_is_accepted(
    vhost: str, settings: dict[str, str], body: str
) -> None:
    with behind_proxy(vhost, **settings) as (gateway, proxy), ThreadPoolExecutor() as pool:
        with proxy.frozen():
            waiting: list[Future[httpx.Response]] = [
                pool.submit(gateway.post, body) for _ in range(2)
            ]
            eventually(lambda: gateway.program.metric(IN_FLIGHT) == 2)
            turned_away = gateway.post(body)
        assert [one.result().status_code for one in waiting] == [202, 202]
        assert problem(turned_away) == (429, "too_many_requests")
        assert int(turned_away.headers["Retry-After"]) > 0
        assert gateway.post(body).status_code == 202
        eventually(lambda: gateway.program.metric(IN_FLIGHT) == 0)


def test_a_queue_that_is_full_is_503(vhost: str) -> None:
    full = {"x-max-length": 0, "x-overflow": "reject-publish"}
    with (
        http_gateway.queues(vhost, arguments=full),
        http_gateway.accepting(vhost) as gateway,
    ):
        answer = gateway.send(FIT)

        assert problem(answer) == (503, "queue_full")
        assert answer.headers["Idempotency-Key"] == answer.json()["request"]


def test_what_no_queue_is_bound_for_is_503(vhost: str) -> None:
    with (
        http_gateway.queues(vhost, bound=False),
        http_gateway.accepting(vhost) as gateway,
        ThreadPoolExecutor() as pool,
    ):
        answers = list(pool.map(lambda _: gateway.send(FIT, Idempotency_Key="K"), range(8)))

        assert {problem(one) for one in answers} == {(503, "unroutable")}


def test_an_exchange_that_is_missing_is_503_until_it_is_made(vhost: str) -> None:
    with http_gateway.accepting(vhost) as gateway:
        assert problem(gateway.send(FIT, Idempotency_Key="K")) == (503, "broker_unavailable")
        with http_gateway.queues(vhost) as queues:
            eventually(lambda: accepted(gateway, "K"))
            assert queues.all()[-1]["request"] == "K"


def test_a_reply_queue_that_only_a_channel_has_does_not_cost_others_the_connection(
    vhost: str,
) -> None:
    with http_gateway.queues(vhost), http_gateway.accepting(vhost) as gateway:
        direct = "amq.rabbitmq.reply-to"
        assert problem(gateway.send(FIT, Reply_To=direct)) == (400, "bad_reply_to")
        assert gateway.send(FIT, Reply_To=f"{direct}.g1h2").status_code == 202
        assert gateway.send(FIT).status_code == 202


def test_while_the_broker_has_an_alarm_nothing_is_accepted_and_afterwards_it_is(
    own: OwnBroker,
) -> None:
    with (
        own.server.vhost(queue_type="classic") as vhost,
        http_gateway.queues(vhost),
        http_gateway.accepting(vhost) as gateway,
    ):
        with own.alarm():
            answer = gateway.send(FIT, Idempotency_Key="K")
            assert problem(answer) == (503, "broker_unavailable")
            assert "alarm" in answer.json()["detail"]
            eventually(lambda: gateway.client.get("/healthz").status_code == 503)
            assert gateway.client.get("/livez").status_code == 200
        eventually(lambda: accepted(gateway, "K"))
        eventually(lambda: gateway.client.get("/healthz").status_code == 200)
        assert gateway.program.stop() == 0


def test_what_was_begun_is_finished_when_it_is_told_to_stop(vhost: str) -> None:
    with behind_proxy(vhost) as (gateway, proxy), ThreadPoolExecutor() as pool:
        with proxy.frozen():
            waiting = pool.submit(gateway.send, FIT, Idempotency_Key="last")
            eventually(lambda: gateway.program.metric(IN_FLIGHT) == 1)
            gateway.program.process.send_signal(signal.SIGTERM)
            eventually(lambda: "it is stopping" in gateway.program.health()[1])
            eventually(lambda: not reachable(gateway))
        assert waiting.result().status_code == 202
        assert gateway.program.process.wait(30) == 0
        with http_gateway.queues(vhost) as queues:
            assert [one["request"] for one in queues.all()] == ["last"]


def reachable(gateway: Gateway) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{gateway.port}/livez", timeout=5)
    except httpx.TransportError:
        return False
    return True


def test_a_port_that_is_taken_ends_it_with_a_reason(vhost: str) -> None:
    with http_gateway.running(vhost) as first:
        given = http_gateway.settings(vhost, GATEWAY_PORT=str(first.port))
        with programs.running("services.gateway", **given) as second:
            assert second.process.wait(30) == 1
            refusals = [one["reason"] for one in second.lines() if one["event"] == "refused"]
            assert f"GATEWAY_PORT {first.port}" in refusals[0]


def test_many_who_wait_at_once_are_each_answered(vhost: str) -> None:
    with http_gateway.queues(vhost) as queues, http_gateway.accepting(vhost) as gateway:
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: gateway.send(FIT), range(200)))
        assert {one.status_code for one in answers} == {202}
        keys = sorted(one.json()["request"] for one in answers)
        assert sorted(one["request"] for one in queues.all()) == keys
