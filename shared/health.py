"""Health bound to progress, and whether the threads turn, served with the metrics on one port.

A part of a service is healthy while it reports progress often enough, not because the process is
alive. `python -m shared.probe` asks the service beside it (for health checks). A process is alive
while each thread's loop turns, whatever the servers do: only a restart helps against the contrary.
"""

import contextlib
import errno
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import Gauge, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from shared.errors import Refusal, Unavailable

STOP_POLL_S = 0.05
HEALTHY = Gauge("minutebook_healthy", "1 while /healthz answers 200, 0 while it answers 503.")
START = "start"
"""The part that is unhealthy until the service has first said what it lacks."""
NOT_BEGUN, NOT_CONNECTED = "not begun yet", "not connected yet"
"""What a part says until its first attempt to connect has led to something."""
MAIN = "main"
"""What liveness calls the main thread."""
STUCK_S = 120.0

Problems = dict[str, str]
Turn = Callable[[float], object]
"""Told that a thread's loop turns, and how long (seconds) it is going to wait now at most."""


def unwatched(_wait_s: float) -> None:
    """Be told of a turn, and do nothing: for programs whose liveness nobody asks for."""


class Health:
    """What each part of a service last said of itself. Safe to use from several threads."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, stuck_s: float = STUCK_S
    ) -> None:
        """`clock` returns seconds and never goes back; `stuck_s` is for `stuck`."""
        self._clock = clock
        self._stuck_s = stuck_s
        self._turns: dict[str, float] = {}
        self._lock = threading.Lock()
        self._problems: Problems = {}
        self._limits_s: dict[str, float] = {}
        self._progress: dict[str, float] = {}
        self._reasons: dict[str, str] = {}

    def expect(self, part: str, *, within_s: float) -> None:
        """From now on `part` is unhealthy when it makes no progress for `within_s` seconds."""
        with self._lock:
            self._limits_s[part] = within_s
            self._progress.setdefault(part, self._clock())

    def progress(self, part: str) -> None:
        """Say that `part` has just done what it is there for."""
        with self._lock:
            self._progress[part] = self._clock()
            self._problems.pop(part, None)
            self._reasons.pop(part, None)

    def delayed(self, part: str, reason: str) -> None:
        """Say why `part` makes no progress now: it is told once that lasts too long."""
        with self._lock:
            self._reasons[part] = f": {reason}"

    def problem(self, part: str, reason: str) -> None:
        """Say that `part` cannot work now, and why, in a text without secrets."""
        with self._lock:
            self._problems.pop(START, None)
            self._problems[part] = reason

    def report(self, part: str, reason: str | None) -> None:
        """Say why `part` cannot work, or with None that it can again."""
        if reason is None:
            self.progress(part)
        else:
            self.problem(part, reason)

    @contextlib.contextmanager
    def reporting(self, part: str) -> Iterator[None]:
        """Say of `part` which server's trouble ended the block; the error goes on.

        Around one life of connections, so that the reason given is that of the last attempt.
        """
        try:
            yield
        except Unavailable as error:
            self.problem(part, str(error))
            raise

    def problems(self) -> Problems:
        """Return what is wrong now, by part; empty when everything is healthy."""
        with self._lock:
            now = self._clock()
            late = {
                part: f"no progress for {now - self._progress[part]:.1f} s (limit {limit:g} s)"
                + self._reasons.get(part, "")
                for part, limit in self._limits_s.items()
                if now - self._progress[part] > limit
            }
            return late | self._problems

    def turn(self, thread: str, wait_s: float = 0.0) -> None:
        """Say that the loop of `thread` turns; it waits now for `wait_s` at most, until it is late.

        A thread that has turned once is expected to go on.
        """
        with self._lock:
            self._turns[thread] = self._clock() + wait_s

    def turning(self, thread: str) -> Turn:
        """Return what says, for one thread, that its loop turns."""
        return partial(self.turn, thread)

    def stuck(self) -> Problems:
        """Return which threads no longer turn; empty while the process is alive."""
        with self._lock:
            now = self._clock()
            return {
                thread: f"has not turned for {now - turned:.1f} s (limit {self._stuck_s:g} s)"
                for thread, turned in self._turns.items()
                if now - turned > self._stuck_s
            }


class _Server6(ThreadingWSGIServer):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        """Take `::` for all addresses of both kinds, whatever the machine's own rule is."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: a probe every few seconds is no event."""


@contextlib.contextmanager
def serving(health: Health, host: str, port: int) -> Iterator[int]:
    """Serve `/metrics`, `/healthz` and `/livez` (200 or 503, JSON) while inside; yields the port.

    Raises `Refusal` when the port is taken, or the address is none of this machine's.
    """
    HEALTHY.set_function(lambda: not health.problems())
    kind = _Server6 if ":" in host else ThreadingWSGIServer
    try:
        server = make_server(host, port, _app(health), server_class=kind, handler_class=_Quiet)
    except OSError as error:
        taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
        at_fault = f"METRICS_PORT {port}" if taken else f"METRICS_HOST {host}"
        raise Refusal(f"{at_fault} cannot be opened: {error.strerror}") from error
    serve = partial(server.serve_forever, STOP_POLL_S)
    with server:
        threading.Thread(target=serve, name="http", daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def _app(health: Health) -> WSGIApplication:
    metrics: WSGIApplication = make_wsgi_app()
    asked = {"/healthz": health.problems, "/livez": health.stuck}

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            return metrics(environ, start_response)
        if found := asked.get(environ["PATH_INFO"]):
            problems = found()
            status = "503 Service Unavailable" if problems else "200 OK"
            body = {"ok": not problems, "problems": problems}
        else:
            status, body = "404 Not Found", {"paths": ["/metrics", *asked]}
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(body).encode()]

    return app
