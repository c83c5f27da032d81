"""The API that the observer asks, for tests and for the tour: python tests/support/object_api.py.

GET /objects/{id} is answered {"id": 7, "online": true}, after a delay, and as it is told. It needs
nothing but Python.
"""

import argparse
import asyncio
import contextlib
import json
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

Answer = tuple[int, bytes]


@dataclass
class ObjectApi:
    """Its behaviour, which a test may change at any time, and what it was asked."""

    delay_s: float = 0.0
    offline: frozenset[int] = frozenset()
    failing: dict[int, Answer] = field(default_factory=dict)
    """What is answered about some objects instead: a status and a body."""
    silent: frozenset[int] = frozenset()
    """Objects whose questions are never answered."""
    frozen: bool = False
    """Whether nothing at all is answered."""
    everybody: int | None = None
    """The status that every question is answered with."""
    asked: Counter[int] = field(default_factory=Counter)
    at_once: int = 0
    """Questions that wait for their answer, but for those that get none."""
    at_once_max: int = 0
    port: int = 0

    async def serve(self, host: str) -> asyncio.Server:
        """Listen; the port is what it was before, or any free one."""
        server = await asyncio.start_server(self._converse, host, self.port, backlog=4096)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                status, body = await self._answer(head.split()[1].decode())
                said = f"HTTP/1.1 {status} {status}\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(said.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # asyncio's streams would report a cancelled one as an error
        finally:
            writer.close()

    async def _answer(self, path: str) -> Answer:
        place, _, number = path.rpartition("/")
        if not (place.endswith("/objects") and number.lstrip("-").isdigit()):
            await asyncio.sleep(3600 if self.frozen else 0)
            return self.everybody or 404, b"{}"
        one = int(number)
        self.asked[one] += 1
        if self.frozen or one in self.silent:
            await asyncio.sleep(3600)
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            await asyncio.sleep(self.delay_s)
        finally:
            self.at_once -= 1
        if self.everybody:
            return self.everybody, b"{}"
        usual = {"id": one, "online": one not in self.offline}
        return self.failing.get(one, (200, json.dumps(usual).encode()))


class Running:
    """One in a thread, which can go down and come up again on its port."""

    def __init__(self, api: ObjectApi) -> None:
        self.api = api
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever)

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://127.0.0.1:{self.api.port}"

    def up(self) -> None:
        """Listen, unless it does."""
        self._ask(self._up()).result()

    def down(self) -> None:
        """Listen no longer, and break off all connections."""
        self._ask(self._down()).result()

    @contextlib.contextmanager
    def inside(self) -> Iterator["Running"]:
        """Run it while inside."""
        self._thread.start()
        self.up()
        try:
            yield self
        finally:
            self.down()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _ask(self, question: Coroutine[Any, Any, None]) -> "Future[None]":
        return asyncio.run_coroutine_threadsafe(question, self._loop)

    async def _up(self) -> None:
        if self._server is None:
            self._server = await self.api.serve("127.0.0.1")

    async def _down(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@contextlib.contextmanager
def running(api: ObjectApi | None = None) -> Iterator[Running]:
    """Run one while inside."""
    with Running(api or ObjectApi()).inside() as started:
        yield started


async def _serve(api: ObjectApi, host: str) -> None:
    server = await api.serve(host)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8080, help="port; 0: any free one")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--offline", type=int, nargs="*", default=(), help="objects not online")
    given = parser.parse_args()
    api = ObjectApi(delay_s=given.delay, offline=frozenset(given.offline), port=given.port)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(api, given.host))


if __name__ == "__main__":
    main()
