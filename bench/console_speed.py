"""How soon the console's page is there, and what many who watch it cost a tick.

- *pages*: 1,000,000 providers and `--retained` kept transactions, all services at work, ticks of a
  second. Asked by one who comes every five seconds, so that each page needs a look of its own, and
  just before it for a null page.
- *viewers*: ticks of a second beside a quarter of ingest's full speed, as in `bench.tick_lateness`,
  while 200 viewers read the console's events and while nobody does, in turns in one run.

Not measured: a browser's own work, networks. Two cores are shared by all of it.
"""

import contextlib
import http.client
import json
import sys
import time
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

from bench import history, load, programs
from bench.ground import ROOT, Ground, Site, ground
from bench.reader import Seconds, row
from bench.result import Plan, Progress, Result, Row
from bench.tick_lateness import EVERY_SECOND, watched
from bench.tick_lateness import PROVIDERS as WATCHED
from tests.support import keydb_rights

QUESTION = "milliseconds to a page of the console, and from a boundary to KeyDB beside its viewers"
PROVIDERS, PACE = 1_000_000, 2_000
FIRST_TICK_TIMEOUT_S = 600.0
FIRST_BYTE_MAX_MS, WHOLE_MAX_MS = 100, 300
LOOKS, PAUSE_S = 10, 5.0
PAGES = {
    "the page": "/",
    "by last change": "/?order=change",
    "searched by key": "/?search=777777_",
    "a later page": "/?after=500000",
    "a provider": "/providers/20",
}
NULL_PAGE = "/livez"
"""Asks nobody anything: as late as it is, the machine was."""
VIEWERS, TURNS, SHARE = 200, 4, 0.25


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Ask both."""
    pages = _pages(site, plan, progress)
    progress.turn("full speed of ingest")
    rate = SHARE * load.full_speed(site, WATCHED, **EVERY_SECOND)
    rows = [*pages, *_viewers(site, plan, progress, rate)]
    columns: Row = dict.fromkeys(name for one in rows for name in one)
    return Result("console_speed", QUESTION, [columns | one for one in rows])


def _pages(site: Site, plan: Plan, progress: Progress) -> list[Row]:
    with ground(site, providers=PROVIDERS) as fresh:
        history.fill(fresh, plan.retained, progress)
        with (
            load.ingesting(fresh, **EVERY_SECOND),
            programs.service("syncer").running(fresh) as syncer,
            programs.service("ticker", **EVERY_SECOND).running(fresh),
            load.publishing(fresh, 10**7, PACE, WATCHED),
            _console(site, fresh) as port,
        ):
            programs.said(syncer, "tick_published", FIRST_TICK_TIMEOUT_S)
            return [_asked(progress, port, name, path) for name, path in PAGES.items()]


class Timing(NamedTuple):
    """Seconds to a page: the null page just before it, its own first byte, and all of it."""

    null_s: float
    first_s: float
    whole_s: float


def _asked(progress: Progress, port: int, name: str, path: str) -> Row:
    """Ask for a page as often as `LOOKS`."""
    progress.turn(f"{name}, {PROVIDERS:,} providers")
    timings = []
    for _ in range(LOOKS):
        time.sleep(PAUSE_S)
        timings.append(Timing(_page(progress, port, NULL_PAGE)[1], *_page(progress, port, path)))
    each = " ".join(f"{1000 * one.whole_s:.0f} ({1000 * one.null_s:.0f})" for one in timings)
    progress.turn(f"{name}, each look, and the null page before it, in ms: {each}")
    slowest = max(timings, key=lambda one: one.whole_s)
    return {
        "what": name,
        "samples": LOOKS,
        "first byte ms": 1000 * median(one.first_s for one in timings),
        "median ms": 1000 * median(one.whole_s for one in timings),
        "most ms": 1000 * slowest.whole_s,
        "its number": 1 + timings.index(slowest),
        "null page then ms": 1000 * slowest.null_s,
        "target": f"{FIRST_BYTE_MAX_MS} and {WHOLE_MAX_MS}",
    }


def _page(progress: Progress, port: int, path: str) -> tuple[float, float]:
    """Return the seconds to the first byte of a page, and to its last one."""
    begun = time.monotonic()
    with contextlib.closing(http.client.HTTPConnection("localhost", port)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read(1)
        first_s = time.monotonic() - begun
        body = answer.read()
    whole_s = time.monotonic() - begun
    if answer.status != http.client.OK or b"no answer within" in body:
        progress.turn(f"{path}: {answer.status}, and something came too late")
    return first_s, whole_s


def _viewers(site: Site, plan: Plan, progress: Progress, rate: float) -> list[Row]:
    seen: dict[int, Seconds] = {0: [], VIEWERS: []}
    for turn in range(TURNS):
        for viewers in (0, VIEWERS) if turn % 2 else (VIEWERS, 0):
            progress.turn(f"{turn + 1} of {TURNS}, {rate:,.0f} messages/s: {viewers} viewers")
            with (
                ground(site, providers=WATCHED) as fresh,
                _console(site, fresh) as port,
                _watching(fresh, port, viewers),
            ):
                ticks, _, _ = watched(site, fresh, rate, plan.ticks // TURNS)
            seen[viewers] += ticks
    return [
        row(f"tick in KeyDB, {rate:,.0f}/s, {viewers} viewers", ticks)
        for viewers, ticks in seen.items()
    ]


@contextlib.contextmanager
def _console(site: Site, fresh: Ground) -> Iterator[int]:
    """Run the console as it ships while inside; yield its port."""
    broker = site.rabbitmq
    given = {
        "CONSOLE_PORT": "0",
        "LOG_FORMAT": "json",
        "OPS_SERVICES": "",
        "KEYDB_URL": site.keydb.url(keydb_rights.OPERATOR),
        "RABBITMQ_MANAGEMENT_URL": f"http://user:password@127.0.0.1:{broker.management_port}",
        **EVERY_SECOND,
    }
    command = [sys.executable, "-m", "ops", "console"]
    with programs.Contender("console", command, folder=ROOT).running(fresh, **given) as program:
        programs.said(program, '"event": "listening"')
        lines = [json.loads(one) for one in program.log().splitlines() if '"http_port"' in one]
        yield int(lines[0]["http_port"])


@contextlib.contextmanager
def _watching(fresh: Ground, port: int, viewers: int) -> Iterator[None]:
    """Have that many viewers while inside, each of which has seen a look."""
    if not viewers:
        yield
        return
    given = {"BENCH_PORT": str(port), "BENCH_VIEWERS": str(viewers)}
    with programs.python_peer("viewers", "console_viewers").running(fresh, **given) as program:
        programs.said(program, "consuming")
        yield
