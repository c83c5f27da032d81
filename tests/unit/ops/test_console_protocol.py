"""HTTP as the console speaks it: heads forged or slow, idle connections, unread answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from ops.console import protocol, rendering, session
from ops.console.access import surround
from ops.console.protocol import HEAD_BYTES_MAX
from shared.http_server import Server, listening
from tests.support.console_settings import console_settings

CHOSEN = console_settings(console_writes="on")
HEAD = b"GET /who HTTP/1.1\r\nHost: localhost\r\n"


async def who(request: Request) -> Response:
    return PlainTextResponse(session.name(request) or "nobody")


@contextlib.asynccontextmanager
async def serving(route: Route, trusted: str = "") -> AsyncIterator[tuple[str, int]]:
    """Serve a console with one page more while inside; yields where."""
    inner = Starlette(routes=[route])
    served = surround(inner, CHOSEN, rendering.environment())
    with listening("127.0.0.1", 0, "CONSOLE_PORT") as opened:
        server = Server(protocol.config(served, trusted))
        running = asyncio.create_task(server.serve(sockets=[opened]))
        yield opened.getsockname()
        server.should_exit = True
        await running


def said(*parts: bytes) -> bytes:
    """Return what is answered to these bytes, until the console hangs up."""

    async def ask() -> bytes:
        async with serving(Route("/who", who)) as where:
            reader, writer = await asyncio.open_connection(*where)
            for part in parts:
                writer.write(part)
                await writer.drain()
            answer = await asyncio.wait_for(reader.read(), 30)
            writer.close()
        return answer

    return asyncio.run(ask())


async def whence(request: Request) -> Response:
    return PlainTextResponse(f"{request.url.scheme} {request.client and request.client.host}")


@pytest.mark.parametrize(
    ("trusted", "told"),
    [("127.0.0.1", b"https 10.0.0.7"), ("", b"http 127.0.0.1"), ("10.0.0.0/8", b"http 127.0.0.1")],
)
def test_a_proxy_that_is_trusted_says_for_whom_it_asks(trusted: str, told: bytes) -> None:
    forwarded = b"X-Forwarded-Proto: https\r\nX-Forwarded-For: 10.0.0.7\r\n"

    async def ask() -> bytes:
        async with serving(Route("/who", whence), trusted) as where:
            reader, writer = await asyncio.open_connection(*where)
            writer.write(HEAD + forwarded + b"Connection: close\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 30)
            writer.close()
        return answer

    assert asyncio.run(ask()).endswith(told)


def status(answer: bytes) -> int:
    return int(answer[answer.rindex(b"HTTP/1.1 ") :].split()[1])


@pytest.mark.parametrize("begun", [b"", b"GET / HT", HEAD + b"\r\n" + HEAD])
def test_a_head_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(protocol, "HEAD_WITHIN_S", 0.2)

    assert status(said(begun)) == 408


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([HEAD, b"Connection: close\r\n\r\n"], 200),
        ([HEAD, b"X: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n"], 431),
        ([HEAD, b"X: ", b"x" * (HEAD_BYTES_MAX - len(HEAD) - 3), b"x"], 431),
        ([HEAD.replace(b"GET", b"G\tET"), b"\r\n"], 400),
        ([HEAD, b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n"], 400),
        ([HEAD, b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], 400),
        ([HEAD, b"Host: example.com\r\nConnection: close\r\n\r\n"], 421),
    ],
)
def test_a_head_that_is_large_or_ambiguous_is_refused(sent: list[bytes], expected: int) -> None:
    assert status(said(*sent)) == expected


def test_who_reads_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "READ_WITHIN_S", 0.2)
    ended = asyncio.Event()

    async def much() -> AsyncIterator[bytes]:
        try:
            for _ in range(2000):
                yield b" " * 65_536
        finally:
            ended.set()

    async def endless(_request: Request) -> Response:
        return StreamingResponse(much())

    async def ask() -> None:
        async with serving(Route("/much", endless)) as where:
            reader, writer = await asyncio.open_connection(*where, limit=1)
            writer.write(HEAD.replace(b"/who", b"/much") + b"\r\n")
            await ended.wait()
            writer.close()
            del reader

    asyncio.run(asyncio.wait_for(ask(), 30))


def test_who_asks_again_just_as_an_idle_connection_is_given_up_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "KEEP_ALIVE_S", 0.1)
    clients: list[asyncio.StreamWriter] = []

    class Watched(protocol.Protocol):
        def timeout_keep_alive_handler(self) -> None:
            clients.pop().write(HEAD + b"Connection: close\r\n\r\n")
            super().timeout_keep_alive_handler()

    monkeypatch.setattr(protocol, "Protocol", Watched)

    async def ask() -> bytes:
        async with serving(Route("/who", who)) as where:
            reader, writer = await asyncio.open_connection(*where)
            clients.append(writer)
            writer.write(HEAD + b"\r\n")
            await reader.readuntil(b"nobody")
            answer = await asyncio.wait_for(reader.read(), 30)
            writer.close()
        return answer

    assert status(asyncio.run(ask())) == 200


def test_more_connections_than_are_allowed_are_turned_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "CONNECTIONS_MAX", 0)

    assert status(said()) == 503
