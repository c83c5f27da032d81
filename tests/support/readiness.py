"""Waiting for a server in a container until clients can connect: asked from outside, as they do.

A command in the container would take a tenth of a second of processor each time, from the very
server that is awaited.
"""

import contextlib
import socket

import psycopg
import redis
from docker.models.containers import Container

from tests.support.containers import START_TIMEOUT_S, published_port
from tests.support.eventually import eventually

LOCAL = "127.0.0.1"
ANSWER_WITHIN_S = 3.0
AMQP_0_9_1 = b"AMQP\0\0\x09\x01"
METHOD_FRAME = b"\x01"
PAGE = b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"


def await_postgres(dsn: str) -> None:
    """Wait until a database can be connected to."""

    def probe() -> bool:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(dsn):
            return True
        return False

    eventually(probe, START_TIMEOUT_S)


def await_keydb(client: "redis.Redis") -> None:
    """Wait until a server of KeyDB's family answers; the client is closed."""

    def probe() -> bool:
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
            return bool(client.ping())
        return False

    with client:
        eventually(probe, START_TIMEOUT_S)


def await_broker(container: Container, timeout_s: float = START_TIMEOUT_S) -> None:
    """Wait until a broker speaks AMQP, which it does last, and shows its management page."""
    amqp, management = (published_port(container, one) for one in (5672, 15672))

    def probe() -> bool:
        speaks = _said(amqp, AMQP_0_9_1).startswith(METHOD_FRAME)
        return speaks and b" 200 " in _said(management, PAGE)

    eventually(probe, timeout_s)


def _said(port: int, asked: bytes) -> bytes:
    """Return the beginning of an answer; nothing where none comes."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection((LOCAL, port), ANSWER_WITHIN_S) as asking,
    ):
        asking.sendall(asked)
        return asking.recv(64)
    return b""
