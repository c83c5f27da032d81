"""HTTP as the gateway speaks it, on a real socket."""

import asyncio
import contextlib
from typing import Any

import pytest
import uvicorn
import uvloop

from services.gateway.protocol import Protocol
from shared.http_server import Server, listening

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


async def app(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@pytest.fixture(autouse=True)
def _unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("head_within_s", "answer_within_s", "connections_max", "unread_bytes_max"):
        monkeypatch.setattr(Protocol, name, 1000, raising=False)


def test_who_asks_again_just_as_an_idle_connection_is_given_up_is_answered() -> None:
    clients: list[asyncio.StreamWriter] = []

    class Watched(Protocol):
        def timeout_keep_alive_handler(self) -> None:
            clients.pop().write(REQUEST + b"Connection: close\r\n\r\n")
            super().timeout_keep_alive_handler()

    async def ask(where: tuple[str, int]) -> bytes:
        reader, writer = await asyncio.open_connection(*where)
        clients.append(writer)
        writer.write(REQUEST + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        answer = b"reset"
        with contextlib.suppress(ConnectionResetError):
            answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        return answer

    async def asked() -> bytes:
        config = uvicorn.Config(app, http=Watched, lifespan="off", log_config=None)
        config.timeout_keep_alive = 0.1  # type: ignore[assignment] # shorter than it may be set
        with listening("127.0.0.1", 0, "GATEWAY_PORT") as opened:
            server = Server(config)
            running = asyncio.create_task(server.serve(sockets=[opened]))
            answer = await ask(opened.getsockname())
            server.should_exit = True
            await running
        return answer

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(asked()).startswith(b"HTTP/1.1 204")
