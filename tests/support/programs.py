"""Our services as processes beside single servers, started as a user without containers would."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import fork_server
from tests.support.eventually import TIMEOUT_S, eventually

STOP_TIMEOUT_S = 25.0


@dataclass(frozen=True)
class Program:
    """A running service; `log_path` holds what it wrote to standard error."""

    process: "fork_server.Process | subprocess.Popen[bytes]"
    log_path: Path

    def logs(self) -> str:
        """Return what it has said so far."""
        return self.log_path.read_text()

    def lines(self) -> list[dict[str, Any]]:
        """Return what it has said so far, line by line."""
        return [json.loads(line) for line in self.logs().splitlines() if line.startswith("{")]

    def port(self) -> int:
        """Return the port of its metrics, once it has said so."""

        def probe() -> int:
            _, found, rest = self.logs().partition('"port": ')
            return int(rest.split(",")[0].split("}")[0]) if found else 0

        return eventually(probe)

    def metric(self, name: str) -> float:
        """Return a metric's value: `name` with its labels, as in the text format."""
        return metric(self.port(), name)

    def health(self) -> tuple[int, str]:
        """Return status and body of its /healthz."""
        return self.asked("/healthz")

    def asked(self, path: str) -> tuple[int, str]:
        """Return status and body of what it serves at `path`."""
        url = f"http://127.0.0.1:{self.port()}{path}"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def kill(self) -> None:
        """End it as an outage would: by SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to stop; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)


def metric(port: int, name: str) -> float:
    """Return a metric of whatever serves on `port` here; 0 while there is none."""
    url = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
    return 0.0


@contextlib.contextmanager
def running(module: str, *arguments: str, **environment: str) -> Iterator[Program]:
    """Run `python -m module` while inside, with JSON logs and any free port; killed at the end."""
    with tempfile.TemporaryDirectory() as folder:
        log_path = Path(folder) / "log"
        settings = {"LOG_FORMAT": "json", "METRICS_PORT": "0", "METRICS_HOST": "127.0.0.1"}
        with log_path.open("wb") as log:
            given = {"PATH": os.environ["PATH"], **settings, **environment}
            process = fork_server.start(
                fork_server.Request(module, [*arguments], given),
                stdin=0,
                stdout=1,
                stderr=log.fileno(),
            )
        try:
            yield Program(process, log_path)
        finally:
            process.kill()
            process.wait()
