"""The server: uvicorn on a socket of ours, until it is told to stop."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import uvicorn
import uvloop

from services.gateway.front import App
from services.gateway.protocol import Protocol
from shared.health import MAIN, Health
from shared.http_server import Server

POLL_EVERY_S = 0.1
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


def run(
    app: App,
    opened: socket.socket,
    trusted_proxies: str,
    life: Life,
) -> None:
    """Serve until it is time to stop; what was begun is finished."""
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
        await asyncio.sleep(POLL_EVERY_S)
