"""The server: uvicorn on a socket of ours, until it is told to stop."""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import uvicorn
import uvloop

from services.gateway.front import App
from services.gateway.protocol import Protocol
from shared.errors import Refusal
from shared.health import MAIN, Health

LOOK_EVERY_S = 0.1
KEEP_ALIVE_S = 75
"""Above what proxies keep idle connections to a server open for: it is theirs to close them."""
GRACE_S = 12
"""What was begun is finished within this: inside the stop grace period of compose.yaml (20 s)."""


@dataclass(frozen=True, slots=True)
class Life:
    """When the server is to end: when any of `ends` is set; `on_stop` is called then."""

    ends: Sequence[threading.Event]
    on_stop: Callable[[], None]
    health: Health


class Server(uvicorn.Server):
    """Uvicorn, without signals of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `shared.program`."""
        yield


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Open the port while inside. Raises `Refusal` if somebody has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        opened = socket.create_server((host, port), family=family, backlog=1024,
                                      dualstack_ipv6=host == "::")  # fmt: skip
    except OSError as error:
        raise Refusal(f"GATEWAY_PORT {port} cannot be opened: {error.strerror}") from error
    with opened:
        yield opened


def run(
    app: App,
    opened: socket.socket,
    trusted_proxies: str,
    life: Life,
) -> None:
    """Serve until it is time to stop; what was begun is finished."""
    logging.getLogger("uvicorn").addHandler(logging.NullHandler())  # we say ourselves what matters
    logging.getLogger("uvicorn").propagate = False
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=trusted_proxies,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(Server(config), opened, life))


async def _serve(server: Server, opened: socket.socket, life: Life) -> None:
    watching = asyncio.create_task(_watch(server, life))
    try:
        await server.serve(sockets=[opened])
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _watch(server: Server, life: Life) -> None:
    """Say that the loop turns, and end the server when it is time to."""
    while True:
        life.health.turn(MAIN)
        if any(one.is_set() for one in life.ends) and not server.should_exit:
            life.health.problem("gateway", "it is stopping")
            life.on_stop()
            server.should_exit = True
        await asyncio.sleep(LOOK_EVERY_S)
