"""Each limit has a status and a reason; who meets one harms nobody else."""

import gzip
import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.support import http_gateway
from tests.support.eventually import eventually
from tests.support.http_gateway import WRITER, Gateway, Queues

FIT = {"id": 1, "value": 600}
MANY = b" " * 5_000_000
HEAD = (
    "POST /v1/transactions HTTP/1.1\r\nHost: gateway\r\n"
    f"Authorization: Bearer {WRITER}\r\nContent-Type: application/json\r\n"
)
TIMEOUT_S = 30.0


def reason(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["reason"]


def said(gateway: Gateway, *parts: str | bytes) -> bytes:
    """Return all that is answered to raw bytes, until the gateway hangs up."""
    with connected(gateway) as connection:
        for part in parts:
            connection.sendall(part.encode() if isinstance(part, str) else part)
        return read_all(connection)


def connected(gateway: Gateway) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", gateway.port))
    connection.settimeout(TIMEOUT_S)
    return connection


def read_all(connection: socket.socket) -> bytes:
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def chunks() -> Iterator[bytes]:
    for _ in range(100):
        yield b" " * 50_000


@pytest.fixture(scope="module")
def strict(gateway_url: str) -> Iterator[Gateway]:
    """A gateway that waits for a second, and for twenty clients."""
    limits = {"GATEWAY_HEAD_SECONDS": "1", "GATEWAY_BODY_SECONDS": "1",
              "GATEWAY_CONNECTIONS_MAX": "20"}  # fmt: skip
    with http_gateway.accepting(gateway_url, **limits) as gateway:
        yield gateway


def test_a_body_that_is_too_large_is_413_whether_it_says_so_or_not(
    gateway: Gateway, queues: Queues
) -> None:
    assert reason(gateway.post(MANY)) == (413, "too_large")
    headers = {"Content-Type": "application/json"}
    answer = gateway.client.post("/v1/transactions", content=chunks(), headers=headers)
    assert reason(answer) == (413, "too_large")
    assert queues.take() is None


def test_who_expects_to_be_told_before_a_body_is_told_at_once(gateway: Gateway) -> None:
    head = f"{HEAD}Content-Length: 5000000\r\nExpect: 100-continue\r\n\r\n"

    answer = said(gateway, head)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer


def test_a_length_may_have_zeros_in_front(gateway: Gateway) -> None:
    body = json.dumps(FIT)
    head = f"{HEAD}Connection: close\r\nContent-Length: {'0' * 5000}{len(body)}\r\n\r\n"

    assert said(gateway, head, body).startswith(b"HTTP/1.1 202 ")


def test_too_many_items_are_413(gateway: Gateway, queues: Queues) -> None:
    body = json.dumps([FIT] * 10_001)

    assert reason(gateway.post(body)) == (413, "too_many_items")
    assert gateway.post(json.dumps([FIT] * 10_000)).status_code == 202
    assert [len(one["items"]) for one in queues.all()] == [10_000]


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"Content-Encoding": "gzip"}, (415, "unsupported_encoding")),
        ({"Content-Encoding": "br, gzip"}, (415, "unsupported_encoding")),
        ({"Content-Type": "application/xml"}, (415, "unsupported_media_type")),
        ({"Content-Type": "application/json; charset=latin-1"}, (415, "unsupported_media_type")),
        (
            {"Content-Type": f"application/json; charset*{'9' * 5000}=x"},
            (415, "unsupported_media_type"),
        ),
        ({"Content-Type": ""}, (415, "unsupported_media_type")),
    ],
)
def test_what_is_packed_or_of_another_kind_is_415_and_never_unpacked(
    gateway: Gateway, queues: Queues, headers: dict[str, str], found: tuple[int, str]
) -> None:
    bomb = gzip.compress(MANY)
    given = {"Content-Type": "application/json", **headers}
    answer = gateway.client.post("/v1/transactions", content=bomb, headers=given)

    assert reason(answer) == found
    assert queues.take() is None


@pytest.mark.parametrize("body", ["", "{", '[{"id": 1, "value": 600}', "[" * 100_000])
def test_a_body_that_is_no_json_is_400(gateway: Gateway, queues: Queues, body: str) -> None:
    assert reason(gateway.post(body)) == (400, "not_json")
    assert queues.take() is None


def test_a_body_that_breaks_off_is_not_accepted(gateway: Gateway, queues: Queues) -> None:
    body = json.dumps(FIT)
    with connected(gateway) as connection:
        head = f"{HEAD}X-Request-Id: broken-off\r\nContent-Length: {len(body) + 1}\r\n\r\n"
        connection.sendall((head + body).encode())
    eventually(lambda: '"broken-off"' in gateway.program.logs())

    lines = [one for one in gateway.program.lines() if one.get("request_id") == "broken-off"]
    assert [one["reason"] for one in lines] == ["incomplete"]
    assert queues.take() is None


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("what is this\r\n\r\n", 400),
        ("GET / HTTP/9.9\r\n\r\n", 400),
        ("CONNECT gateway:80 HTTP/1.1\r\n\r\n", 400),
        (f"{HEAD}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}", 400),
        (f"{HEAD}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (f"{HEAD}Content-Length: -1\r\n\r\n", 400),
        (f"{HEAD}Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (f"{HEAD}X: {'x' * 40_000}\r\n\r\n", 431),
        (f"{HEAD}X: {'x' * 600_000}", 431),
    ],
)
def test_what_is_no_http_is_refused_and_hung_up(
    gateway: Gateway, queues: Queues, sent: str, status: int
) -> None:
    answer = said(gateway, sent)

    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    assert json.loads(body)["status"] == status
    assert queues.take() is None


def test_an_upgrade_that_nobody_offers_is_ignored(gateway: Gateway, queues: Queues) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}

    assert gateway.send(FIT, **upgrade).status_code == 202
    assert len(queues.all()) == 1


@pytest.mark.parametrize(
    "begun",
    [
        "",
        "POST /v1/transactions HT",
        "GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\nGET /livez HTTP/1.1\r\n",
        f"{HEAD}Content-Length: 100\r\n\r\n{{",
    ],
    ids=["nothing", "half a head", "half a second head", "half a body"],
)
def test_who_is_slow_is_told_so_and_hung_up(strict: Gateway, begun: str) -> None:
    answer = said(strict, begun)

    last = answer[answer.rindex(b"HTTP/1.1 ") :]
    assert last.startswith(b"HTTP/1.1 408 "), answer
    assert json.loads(last.partition(b"\r\n\r\n")[2])["reason"] == "timeout"


def test_more_clients_than_are_allowed_are_turned_away_and_then_let_in(strict: Gateway) -> None:
    strict.client.close()
    open_ones = [connected(strict) for _ in range(20)]
    eventually(lambda: strict.program.metric("minutebook_gateway_connections") >= 20)
    answers = [said(strict) for _ in range(5)]
    for one in open_ones:
        one.close()

    assert all(one.startswith(b"HTTP/1.1 503 ") for one in answers)
    assert all(b"too_many_connections" in one for one in answers)
    eventually(lambda: strict.program.metric("minutebook_gateway_connections") == 0)
    with httpx.Client(base_url=f"http://127.0.0.1:{strict.port}") as client:
        assert client.get("/livez").status_code == 200
