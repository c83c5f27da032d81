"""`ops console`: settings, the servers' parts, and the order of stopping."""

import asyncio
import socket
import sys
import time
from datetime import UTC, datetime

import click
import structlog
import uvicorn

from ops.console import dead_letters, servers, verdict
from ops.console.app import Console, View, make_app
from ops.console.look import Look, Looker
from ops.console.settings import ConsoleSettings
from shared import logs, program, settings
from shared.errors import Refusal
from shared.http_server import Server, listening

GRACE_S = 5
POLL_S = 0.1

log = structlog.get_logger()


@click.command(
    short_help="Serve the page that shows how all is.",
    epilog=program.settings_help(ConsoleSettings),
)
def console() -> None:
    """Serve a page that shows how all is, live, until SIGTERM or SIGINT (docs/console.md)."""
    chosen = settings.load(ConsoleSettings)
    logs.configure(chosen, service="console")
    try:
        with listening(chosen.console_host, chosen.console_port, "CONSOLE_PORT") as opened:
            host, port, *_ = opened.getsockname()
            log.info("listening", host=host, http_port=port)
            asyncio.run(_serve(chosen, opened))
    except Refusal as refusal:
        log.error("refused", reason=str(refusal))
        sys.exit(program.EXIT_FINDING)
    log.info("stopped")


def sections(chosen: ConsoleSettings) -> dict[str, View]:
    """Return what makes each section of a look."""

    def verdict_view(look: Look) -> dict[str, object]:
        return verdict.view(servers.snapshot(chosen, look), datetime.now(UTC))

    def dead_letters_view(look: Look) -> dict[str, object]:
        return dead_letters.view(servers.snapshot(chosen, look))

    return {"verdict": verdict_view, "dead_letters": dead_letters_view}


async def _serve(chosen: ConsoleSettings, opened: socket.socket) -> None:
    stop = program.stop_on_signals()
    looker = Looker(servers.parts(chosen, time.monotonic))
    made = Console(looker, sections(chosen))
    server = Server(_config(make_app(made)))
    serving = asyncio.create_task(server.serve(sockets=[opened]))
    while not stop.is_set() and not serving.done():
        await asyncio.wait({serving}, timeout=POLL_S)
    made.closing.set()
    server.should_exit = True
    try:
        await serving
    finally:
        looker.close()


def _config(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
