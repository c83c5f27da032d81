"""Ingest at work beside what is measured: a publisher at a steady rate, and what is full speed."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import programs
from bench.ground import PROVIDERS, ROOT, Ground, Site, ground

FULL_SECONDS = 20


def full_speed(site: Site, providers: int = PROVIDERS, **environment: str) -> float:
    """Return messages per second with a publisher that does not hold back."""
    with (
        ground(site, providers=providers) as fresh,
        ingesting(fresh, **environment) as program,
        publishing(fresh, 10**7, 1e9, providers),
    ):
        time.sleep(FULL_SECONDS / 4)  # both have reached full speed
        begun, before = time.monotonic(), program.metric("minutebook_ingest_rows_total")
        time.sleep(FULL_SECONDS)
        stored = program.metric("minutebook_ingest_rows_total") - before
        return stored / (time.monotonic() - begun)


@contextlib.contextmanager
def ingesting(fresh: Ground, **environment: str) -> Iterator[programs.Program]:
    """Run ingest while inside; it consumes already."""
    with programs.service("ingest", **environment).running(fresh) as program:
        programs.said(program, '"event": "consuming"')
        yield program


@contextlib.contextmanager
def publishing(
    fresh: Ground, count: int, rate: float, providers: int = PROVIDERS, **to: str
) -> Iterator[Callable[[], list[float]]]:
    """Publish in a process of its own; what is yielded waits for it and returns the times.

    Messages go to ingest's queue, unless `BENCH_EXCHANGE` and `BENCH_KEY` are given.
    """
    with tempfile.NamedTemporaryFile() as record:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.peers.publisher"],
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "RABBITMQ_URL": fresh.amqp_url,
                "BENCH_MESSAGES": str(count),
                "BENCH_PER_S": str(rate),
                "BENCH_PROVIDERS": str(providers),
                "BENCH_IDENTITIES": fresh.identities,
                "BENCH_PUBLISHED": record.name,
            }
            | to,
        )

        def times() -> list[float]:
            process.wait()
            return [float(line) for line in Path(record.name).read_text().split()]

        try:
            yield times
        finally:
            process.kill()
            process.wait()
