"""Ports of this machine that the stack wants and another program has.

Looked at before the start, because compose finds out late, half of the stack being up by then.
"""

import contextlib
import errno
import re
import socket
from collections.abc import Iterable

from demo.failure import DemoFailed

HOST = "127.0.0.1"
CONNECT_TIMEOUT_S = 1.0
SERVICE_PORTS = {
    ("postgres", 5432): "POSTGRES_PORT",
    ("rabbitmq", 5672): "RABBITMQ_PORT",
    ("rabbitmq", 15672): "RABBITMQ_UI_PORT",
    ("keydb", 6379): "KEYDB_PORT",
    ("ingest", 9101): "INGEST_METRICS_PORTS",
    ("ticker", 9102): "TICKER_METRICS_PORT",
    ("syncer", 9103): "SYNCER_METRICS_PORT",
    ("feed", 9106): "FEED_METRICS_PORT",
    ("notifier", 9107): "NOTIFIER_METRICS_PORT",
    ("tracker", 9105): "TRACKER_METRICS_PORT",
    ("gateway", 8080): "GATEWAY_PORT",
    ("gateway", 9104): "GATEWAY_METRICS_PORT",
    ("observer", 9108): "OBSERVER_METRICS_PORTS",
    ("console", 8081): "CONSOLE_PORT",
    ("prometheus", 9090): "PROMETHEUS_PORT",
    ("alertmanager", 9093): "ALERTMANAGER_PORT",
    ("grafana", 3000): "GRAFANA_PORT",
}
"""A service's own port, and the setting that says where it is found on this machine."""

# The engine's words for it, in 20.10 and later, on Linux and in Docker Desktop.
TAKEN = re.compile(r"already allocated|already in use|ports are not available", re.IGNORECASE)
PORT = re.compile(rf"{re.escape(HOST)}:(\d+)")


def check(published: Iterable[tuple[str, int, str]], ours: set[int]) -> None:
    """Raise `DemoFailed` if another program has a port that the stack is to publish.

    `published` is (service, its own port, number or range here); `ours` are the ports that the
    stack already has, from an earlier start.
    """
    for service, own, wanted in published:
        choice = _choice(wanted)
        if choice and not ours.intersection(choice) and all(map(in_use, choice)):
            raise _taken(wanted, service, SERVICE_PORTS.get((service, own)))


def conflict(output: str, published: Iterable[tuple[str, int, str]]) -> DemoFailed | None:
    """Return what to say if compose failed because a port is taken; None if it did not."""
    lines = [line for line in output.splitlines() if TAKEN.search(line)]
    ports = {int(port) for line in lines for port in PORT.findall(line)}
    wanted_by = {(s, own): wanted for s, own, wanted in published if ports & set(_choice(wanted))}
    for (service, own), wanted in wanted_by.items():
        return _taken(wanted, service, SERVICE_PORTS.get((service, own)))
    return None


def in_use(port: int) -> bool:
    """Say whether some program has `port` on 127.0.0.1."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), CONNECT_TIMEOUT_S):
        return True
    with socket.socket() as probe:
        # What an earlier connection left behind does not count, as it does not for the engine.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _choice(wanted: str) -> range:
    # "0" leaves the choice to the engine: nothing to look at.
    first, _, last = wanted.partition("-")
    return range(int(first), int(last or first) + 1) if int(first) else range(0)


def _taken(wanted: str, service: str, variable: str | None) -> DemoFailed:
    setting = variable or "compose.yaml"
    other = "20000-20019" if "-" in wanted else "0"
    return DemoFailed(
        f"port {wanted} on {HOST}, wanted for {service}, is in use by another program;"
        f" stop that, or set {setting} (in .env or the environment) to a free one,"
        f" for example {setting}={other}" + (" for any" if other == "0" else "")
    )
