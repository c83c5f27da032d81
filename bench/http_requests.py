"""Servers that transactions are posted to, and the posting itself, each a process of its own."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from bench import programs
from bench.ground import ROOT, Ground
from bench.peers.broker import CONSUMING
from bench.programs import Program

TOKEN = "a-token-of-the-bench"  # noqa: S105 - of nobody
ENDED_TIMEOUT_S = 300.0
ACCEPTED = "202"
FIGURES = ("seconds", "statuses", "median", "p99", "late_p99")


@dataclass(frozen=True)
class Server:
    """What is posted to."""

    program: Program
    port: int


@dataclass(frozen=True)
class Posted:
    """What came of posting: answers by status (0: cut off), and seconds."""

    begun: float
    """By the clock, when the first was posted."""
    seconds: float
    statuses: Mapping[str, int]
    median: float
    p99: float
    late_p99: float
    """How late whoever posts noticed that it was time to: of the machine, not of the server."""
    cpu_us: float
    """Of the server's own, a request."""

    @property
    def accepted(self) -> int:
        """How many were answered with 202."""
        return self.statuses.get(ACCEPTED, 0)

    @property
    def per_s(self) -> float:
        """Accepted requests a second."""
        return self.accepted / self.seconds

    @property
    def others(self) -> int:
        """How many were answered otherwise, or not at all."""
        return sum(self.statuses.values()) - self.accepted


@contextlib.contextmanager
def gateway(fresh: Ground, **environment: str) -> Iterator[Server]:
    """Run the gateway as it ships while inside; it can accept."""
    settings = {
        "GATEWAY_PORT": "0", "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_TOKENS": f"bench:{TOKEN}:read+write",
    }  # fmt: skip
    contender = programs.service("gateway", **settings, **environment)
    with contender.running(fresh) as program:
        programs.said(program, '"event": "gateway_connected"')
        programs.said(program, '"event": "listening"')
        lines = [json.loads(one) for one in program.log().splitlines() if '"http_port"' in one]
        yield Server(program, lines[0]["http_port"])


@contextlib.contextmanager
def endpoint(fresh: Ground) -> Iterator[Server]:
    """Run an empty endpoint while inside."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    contender = programs.python_peer("empty endpoint", "http_endpoint")
    with contender.running(fresh, BENCH_PORT=str(port)) as program:
        programs.said(program, CONSUMING)
        yield Server(program, port)


@contextlib.contextmanager
def peer(module: str, server: Server, **given: object) -> Iterator["subprocess.Popen[str]"]:
    """Run a peer of `bench.peers` against a server while inside; it gets `BENCH_…` as given."""
    settings = {f"BENCH_{name.upper()}": str(one) for name, one in given.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", f"bench.peers.{module}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "BENCH_PORT": str(server.port), **settings},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def begun(
    server: Server, *, connections: int, seconds: float, per_s: float = 0
) -> Iterator[Callable[[], Posted]]:
    """Post single transactions while inside, once connected; as fast as it is answered, or `per_s`.

    What is yielded waits for the end.
    """
    given = {"items": 1, "connections": connections, "seconds": seconds, "per_s": per_s}
    before_s = server.program.cpu_s()
    with peer("http_load", server, token=TOKEN, **given) as process:
        assert process.stdout
        began = float(json.loads(process.stdout.readline())["begun"])

        def ended() -> Posted:
            said, _ = process.communicate(timeout=seconds + ENDED_TIMEOUT_S)
            found = json.loads(said)
            cpu_s = server.program.cpu_s() - before_s
            cpu_us = cpu_s * 1e6 / max(1, sum(found["statuses"].values()))
            figures = {one: found[one] for one in FIGURES}
            return Posted(began, cpu_us=cpu_us, **figures)

        yield ended


def post(server: Server, *, connections: int, seconds: float, per_s: float = 0) -> Posted:
    """Do the same, to its end."""
    with begun(server, connections=connections, seconds=seconds, per_s=per_s) as ended:
        return ended()
