"""`ops console`: settings, the servers' parts, and the order of stopping."""

import asyncio
import gc
import os
import socket
import sys
import threading
import time

import click
import structlog

from ops.console import serving
from ops.console.protocol import config
from ops.console.settings import ConsoleSettings
from shared import logs, program, settings
from shared.errors import Refusal
from shared.http_server import Server, listening

POLL_S = 0.1
LEAVE_WITHIN_S = 1.0

log = structlog.get_logger()


@click.command(
    short_help="Serve the web page of the state of all services.",
    epilog=program.settings_help(ConsoleSettings),
)
def console() -> None:
    """Serve a web page of the state of all services, live, until SIGTERM or SIGINT.

    What it shows: docs/console.md.
    """
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


def _spare_the_collector() -> None:
    """Have what was made by now, and stays, never looked at by Python's collector again.

    A full collection looked at all modules and templates, and held up the page that it met, and
    every thread, for as long as most pages take.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # how much is there decides how much garbage may gather: next to nothing is now


async def _serve(chosen: ConsoleSettings, opened: socket.socket) -> None:
    stop = program.stop_on_signals()
    with serving.opened(chosen) as served:
        server = Server(config(served.app, chosen.console_trusted_proxies))
        _spare_the_collector()
        running = asyncio.create_task(server.serve(sockets=[opened]))
        while not stop.is_set() and not running.done():
            await asyncio.wait({running}, timeout=POLL_S)
        served.stop()
        server.should_exit = True
        try:
            await running
        finally:
            served.close()
        _leave()
