"""What is measured, as processes: our service and its peers, and what the kernel knows of them."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.ground import QUEUE, ROOT, Ground
from ops import direct_http

PEERS = Path(__file__).parent / "peers"
NODE_FOLDER = ROOT / "build" / "bench" / "node"
BATCH_MAX, PREFETCH = 4000, 8_000
"""The best for the peer in Node of three pairs tried; ingest has its own defaults."""

STARTED_TIMEOUT_S = 30.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Ended(Exception):
    """A program that is measured ended by itself; the text is what it said last."""


@dataclass(frozen=True)
class Program:
    """A running process; `log_path` holds what it wrote."""

    process: subprocess.Popen[bytes]
    log_path: Path

    def log(self) -> str:
        """Return what it has said so far. Raises `Ended` if it is gone."""
        text = self.log_path.read_text()
        if self.process.poll() is not None:
            raise Ended(f"exit {self.process.returncode}: {text[-500:]}")
        return text

    def cpu_s(self) -> float:
        """Return the CPU seconds of all its threads so far, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def memory_peak_mib(self) -> float:
        """Return the most resident memory it ever had (VmHWM)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        if not found:
            raise Ended("no memory left to look at")
        return int(found[1]) / 1024

    def metrics(self) -> str:
        """Return our service's metrics; nothing if they are not served yet."""
        port = re.search(r'"port": (\d+)', self.log())
        if not port:
            return ""
        url = f"http://127.0.0.1:{port[1]}/metrics"
        with direct_http.ask(url, timeout_s=10) as answer:
            return str(answer.read().decode())

    def metric(self, name: str) -> float:
        """Return one value of our service's metrics; 0 for one that is not there yet."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.metrics(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def below(self, histogram: str, share: float) -> float:
        """Return the least bucket of our service's `histogram` that holds `share` of what it saw.

        That is an upper bound of the quantile, in the histogram's unit.
        """
        pattern = rf'^{re.escape(histogram)}_bucket{{le="(\S+)"}} (\S+)$'
        buckets = [
            (float(edge), float(count))
            for edge, count in re.findall(pattern, self.metrics(), re.MULTILINE)
        ]
        return next(edge for edge, count in buckets if count >= share * buckets[-1][1])


@dataclass(frozen=True)
class Contender:
    """How to start a program; `environment` beside the addresses that all are given."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    """Where it runs; None: in the checkout that its ground was made by."""

    @contextlib.contextmanager
    def running(self, ground: Ground, **environment: str) -> Iterator[Program]:
        """Run it on `ground` while inside; killed at the end."""
        given = {
            "PATH": os.environ["PATH"],
            "POSTGRES_DSN": ground.dsn,
            "RABBITMQ_URL": ground.amqp_url,
            "KEYDB_URL": ground.keydb_url,
            "BENCH_QUEUE": QUEUE,
            **self.environment,
            **environment,
        }
        with tempfile.TemporaryDirectory() as folder:
            log_path = Path(folder) / "log"
            with log_path.open("wb") as log:
                process = subprocess.Popen(
                    self.command,
                    cwd=self.folder or ground.checkout,
                    env=given,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            try:
                yield Program(process, log_path)
            finally:
                process.kill()
                process.wait()


def ingest(name: str = "ingest", **environment: str) -> Contender:
    """Return our ingest as it ships: metrics, validation and dedupe on."""
    return service("ingest", name, **environment)


def service(module: str, name: str = "", **environment: str) -> Contender:
    """Return one of our services as it ships."""
    settings = {"LOG_FORMAT": "json", "METRICS_PORT": "0", "METRICS_HOST": "127.0.0.1"}
    command = [sys.executable, "-m", f"services.{module}"]
    return Contender(name or module, command, {**settings, **environment})


def python_peer(name: str, module: str) -> Contender:
    """Return a peer of `bench.peers`."""
    return Contender(name, [sys.executable, "-m", f"bench.peers.{module}"], folder=ROOT)


def node_peer(name: str) -> Contender | None:
    """Install what the peer in Node needs into build/ and return it; None without node or npm."""
    if not (shutil.which("node") and shutil.which("npm")):
        return None
    NODE_FOLDER.mkdir(parents=True, exist_ok=True)
    for file in ("package.json", "ingest.js"):
        shutil.copy(PEERS / file, NODE_FOLDER)
    try:
        subprocess.run(
            ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"],
            cwd=NODE_FOLDER,
            check=True,
            capture_output=True,
        )
    except subprocess.CalledProcessError:
        return None
    sizes = {"BENCH_BATCH_MAX": str(BATCH_MAX), "BENCH_PREFETCH": str(PREFETCH)}
    return Contender(name, ["node", "ingest.js"], sizes, NODE_FOLDER)


def said(program: Program, text: str, timeout_s: float = STARTED_TIMEOUT_S) -> None:
    """Wait until the program has said `text`. Raises `TimeoutError`, `Ended`."""
    wait_until(lambda: text in program.log(), timeout_s, f"nobody said {text!r}")


def wait_until(
    probe: Callable[[], bool], timeout_s: float, complaint: str, *, every_s: float = 0.02
) -> None:
    """Wait until `probe` says yes. Raises `TimeoutError` with `complaint`."""
    deadline = time.monotonic() + timeout_s
    while not probe():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{complaint} within {timeout_s:g} s")
        time.sleep(every_s)
