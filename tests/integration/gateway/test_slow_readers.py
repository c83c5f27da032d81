"""A client that does not read what it asked for is hung up on, and takes little of our memory."""

import contextlib
import socket
from collections.abc import Iterator

from tests.support import http_gateway
from tests.support.eventually import eventually
from tests.support.http_gateway import Gateway
from tests.support.outages import mebibytes

LARGE = b"GET /openapi.json HTTP/1.1\r\nHost: gateway\r\n\r\n"
MANY = 150
"""What they answer, some 10 MB, is more than the kernel takes for a client that reads nothing."""
CLIENTS = 24
UNREAD_BYTES_MAX, GROWTH_MIB_MAX = 1_048_576, 64
TIMEOUT_S = 30.0


@contextlib.contextmanager
def asking(gateway: Gateway) -> Iterator[socket.socket]:
    """Ask for a lot, and read nothing of it while inside."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(TIMEOUT_S)
        connection.connect(("127.0.0.1", gateway.port))
        connection.sendall(LARGE * MANY)
        yield connection


def hung_up_on(gateway: Gateway, reason: str) -> float:
    return gateway.program.metric(f'minutebook_gateway_refused_total{{reason="{reason}"}}')


def read_all(connection: socket.socket) -> int:
    size = 0
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            size += len(part)
    return size


def test_who_reads_nothing_is_hung_up_on_when_its_time_is_over(gateway_url: str) -> None:
    with http_gateway.running(gateway_url, GATEWAY_ANSWER_SECONDS="1") as gateway:
        large = len(gateway.client.get("/openapi.json").content)

        with asking(gateway) as connection:
            eventually(lambda: hung_up_on(gateway, "timeout"))
            assert read_all(connection) < large * MANY
        assert gateway.client.get("/livez").status_code == 200


def test_many_who_read_nothing_take_little_memory_and_those_who_came_first_are_hung_up_on(
    gateway_url: str,
) -> None:
    limit = {"GATEWAY_BYTES_IN_HAND_MAX": str(UNREAD_BYTES_MAX)}
    with contextlib.ExitStack() as stack:
        gateway = stack.enter_context(http_gateway.running(gateway_url, **limit))
        before = mebibytes(gateway.program)

        for _ in range(CLIENTS):
            stack.enter_context(asking(gateway))
        eventually(lambda: hung_up_on(gateway, "too_many_requests"))
        assert gateway.client.get("/livez").status_code == 200
        assert mebibytes(gateway.program) < before + GROWTH_MIB_MAX


def test_who_reads_slowly_but_in_time_gets_all_of_it(gateway: Gateway) -> None:
    with asking(gateway) as connection:
        parts = b""
        while parts.count(b"HTTP/1.1 200 OK") < MANY:
            parts += connection.recv(65_536)
