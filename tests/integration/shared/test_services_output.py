"""A log that cannot be written ends no service, and no job: a closed pipe, a full disk."""

import contextlib
import os
import signal
import subprocess
import sys
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import outages, programs
from tests.support.containers import ROOT
from tests.support.eventually import eventually


@contextlib.contextmanager
def closed_pipe() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@contextlib.contextmanager
def full_disk() -> Iterator[int]:
    with Path("/dev/full").open("wb") as file:
        yield file.fileno()


def ticks(port: int) -> float:
    try:
        return programs.metric(port, "minutebook_ticks_published_total")
    except urllib.error.URLError:  # not listening yet
        return 0.0


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("log", [closed_pipe, full_disk])
def test_a_service_goes_on_where_its_log_cannot_be_written(
    amqp_url: str,
    log: Callable[[], contextlib.AbstractContextManager[int]],
    log_format: str,
) -> None:
    port = outages.free_port()
    settings = {"METRICS_HOST": "127.0.0.1", "METRICS_PORT": str(port), "LOG_FORMAT": log_format}
    settings |= {"RABBITMQ_URL": amqp_url, "TICK_INTERVAL_SECONDS": "1"}
    with log() as unwritable:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.ticker"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **settings},
            stdout=unwritable,
            stderr=unwritable,
        )
        try:
            eventually(lambda: ticks(port) >= 2)
            process.send_signal(signal.SIGTERM)
            assert process.wait(programs.STOP_TIMEOUT_S) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("where", ["2> /dev/full", "2>&-", "> /dev/full 2>&1"])
def test_migrations_are_applied_where_nobody_can_be_told(empty_dsn: str, where: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m migrations {where}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "POSTGRES_DSN": empty_dsn},
        check=False,
    )

    assert done.returncode == 0


@pytest.mark.parametrize("module", ["services.ingest", "migrations", "demo", "bench", "model"])
def test_a_help_whose_reader_left_is_no_failure(module: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m {module} --help | true; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
