"""Our programs as processes that need not import everything again.

Importing takes most of a short program's time. One process, `python -m tests.support.fork_server`,
imports what all programs share and forks for each. What runs then is as `python -m` would run it:
a process with its own environment, arguments, standard streams, signals and exit code.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

import migrations
import ops
import shared
from tests.support.containers import ROOT

PRELOADED = (migrations, ops, shared)
"""With all that they import. A service's own modules register metrics, hence are left to it."""
REQUEST_BYTES_MAX = 200_000
NUMBER_BYTES = 4
DESCRIPTORS = 4
"""Standard input, output and error, and where to report process id and exit code."""


@dataclass(frozen=True)
class Request:
    """What to run."""

    module: str
    arguments: list[str]
    environment: dict[str, str]


class Process:
    """A running program, as `subprocess.Popen` has it."""

    def __init__(self, report: int) -> None:
        """`report` is where the server writes process id and, at the end, exit code."""
        self._report = report
        self.returncode: int | None = None
        self.pid = self._line(None)

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        with contextlib.suppress(TimeoutError):
            self.wait(0)
        return self.returncode

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the end; returns the exit code, below 0 for a signal. Raises `TimeoutError`."""
        if self.returncode is None:
            self.returncode = self._line(timeout_s)
            os.close(self._report)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def _line(self, timeout_s: float | None) -> int:
        if not select.select([self._report], [], [], timeout_s)[0]:
            raise TimeoutError(f"it still runs after {timeout_s} s")
        found = os.read(self._report, NUMBER_BYTES)
        assert found, "the fork server has died"
        return int.from_bytes(found, "big", signed=True)


def start(request: Request, *, stdin: int, stdout: int, stderr: int) -> Process:
    """Run a program with these descriptors, which stay the caller's."""
    report, theirs = os.pipe()
    text = json.dumps([request.module, request.arguments, request.environment]).encode()
    socket.send_fds(_server(), [text], [stdin, stdout, stderr, theirs])
    os.close(theirs)
    return Process(report)


def run(request: Request, stdin: bytes, timeout_s: float) -> tuple[int, bytes, bytes]:
    """Run a program to its end; returns exit code, standard output and standard error."""
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        given.write(stdin)
        given.seek(0)
        process = start(
            request, stdin=given.fileno(), stdout=stdout.fileno(), stderr=stderr.fileno()
        )
        try:
            code = process.wait(timeout_s)
        finally:
            process.kill()
        stdout.seek(0)
        stderr.seek(0)
        return code, stdout.read(), stderr.read()


@functools.cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


def serve(control: socket.socket) -> Request:
    """Fork for each request, until the tests are gone; returns in each process that was forked."""
    running: dict[int, int] = {}
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(wake)
    while True:
        ready, _, _ = select.select([control.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 100)
            _report_ended(running)
        if control.fileno() not in ready:
            continue
        text, descriptors, _, _ = socket.recv_fds(control, REQUEST_BYTES_MAX, DESCRIPTORS)
        if not text:
            for pid in running:
                os.kill(pid, signal.SIGKILL)
            sys.exit()
        *standard, report = descriptors
        pid = os.fork()
        if not pid:
            for one in (control.detach(), woken, wake, report, *running.values()):
                os.close(one)
            _take(standard)
            return Request(*json.loads(text))
        running[pid] = report
        _write(report, pid)
        for one in standard:
            os.close(one)


def _report_ended(running: dict[int, int]) -> None:
    for pid, report in list(running.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            _write(report, os.waitstatus_to_exitcode(status))
            os.close(running.pop(pid))


def _write(report: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(report, number.to_bytes(NUMBER_BYTES, "big", signed=True))


def _take(standard: Sequence[int]) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, one in enumerate(standard):
        os.dup2(one, number)
        os.close(one)


def _preload() -> None:
    for package in PRELOADED:
        for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not one.name.endswith(".__main__"):
                importlib.import_module(one.name)
    gc.freeze()


def main() -> None:
    """Serve, and in what was forked run what was asked for."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _preload()
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    sys.argv[1:] = request.arguments
    runpy.run_module(request.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
