"""`ops console`: settings, the servers' parts, and the order of stopping."""

import asyncio
import os
import socket
import sys
import threading
import time

import click
import structlog

from ops.console import balance_store, rendering
from ops.console.access import surround
from ops.console.app import Console, make_app
from ops.console.balances import Balances
from ops.console.look import Looker
from ops.console.pages import Pages
from ops.console.protocol import config
from ops.console.sections import Sections
from ops.console.settings import ConsoleSettings
from services.syncer.projection import WATERMARK_KEY
from shared import keydb, logs, postgres_pool, program, settings
from shared.errors import Refusal
from shared.http_server import Server, listening

POLL_S = 0.1
LEAVE_WITHIN_S = 1.0
POOL_MAX = 8
"""Questions that Postgres answers at once; more wait a little."""
CONNECTION_WITHIN_S = 2.0
"""Before the deadline of a question: why there is none is said instead of that it is over."""

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


def _leave() -> None:
    """End now if threads still wait for a server that hangs: nothing that they ask is of use."""
    waiting = [one for one in threading.enumerate() if one is not threading.main_thread()]
    until = time.monotonic() + LEAVE_WITHIN_S
    for one in waiting:
        if not one.daemon:
            one.join(max(0.0, until - time.monotonic()))
            if one.is_alive():
                log.info("stopped")
                os._exit(0)


async def _serve(chosen: ConsoleSettings, opened: socket.socket) -> None:
    stop = program.stop_on_signals()
    with (
        postgres_pool.opened(
            chosen,
            application="console",
            size_max=POOL_MAX,
            options=balance_store.OPTIONS,
            within_s=CONNECTION_WITHIN_S,
        ) as pool,
        keydb.client(chosen, name="console") as client,
    ):
        key = chosen.own_shard.key(WATERMARK_KEY)
        balances = Balances(pool, client, chosen.tick_interval_seconds, key)
        sections = Sections(chosen, pool, balances, time.monotonic)
        made = Console(Looker(sections.parts()), sections.views, sections.past, balances)
        pages = Pages(made, pool, sections, chosen.tick_interval_seconds)
        rendering.compile_first_page(made.templates)
        app = surround(make_app(made, pages.routes()), chosen, made.templates)
        server = Server(config(app, chosen.console_trusted_proxies))
        serving = asyncio.create_task(server.serve(sockets=[opened]))
        while not stop.is_set() and not serving.done():
            await asyncio.wait({serving}, timeout=POLL_S)
        made.closing.set()
        server.should_exit = True
        try:
            await serving
        finally:
            made.close()
        _leave()
