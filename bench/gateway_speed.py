"""How fast the gateway accepts, beside who does less, and what it takes of many clients.

All in one run on the same cores, whoever posts too (`bench.peers.http_load`, the same for all):

- *single POSTs*: one transaction a request, each answered after its confirm, and beside it, in
  turns, an empty FastAPI endpoint that only parses the same body (`bench.peers.http_endpoint`).
- *at a quarter of that rate*: how long an answer takes, and beside it the null probe: the same
  posting at the same rate to the empty endpoint. `timer p99` is how late the process that posts was
  to notice that a request was due: what the machine itself adds.
- *arrays of 500*: from the first POST to the last row, by gateway, tracker and ingest; and beside
  it, in turns, the bench's own publisher (`bench.peers.publisher`) to the last row, by ingest.
- *1,000 connections*: the gateway's peak of memory while all of them post.
- *10,000 slow clients*: each sends a byte a second, while others post as before, at a steady rate;
  what became of the slow ones, and of the others.

Not measured: networks, TLS. Two cores are shared by up to six programs here.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from statistics import median

from bench import http_requests, load, programs
from bench.drain import POLL_EVERY_S, Stored, observer
from bench.ground import Ground, Site, ground
from bench.http_requests import Posted, Server
from bench.result import Plan, Progress, Result, Row
from tests.support import http_gateway

QUESTION = "requests per second, and what they are beside who does less"
RATIO_MIN, MEMORY_MIB_MAX = 0.5, 150
SINGLE_CONNECTIONS, SINGLE_S = 128, 10
WARM_UP_S = 2
PACED_SHARE = 0.25
ARRAY_ITEMS, ARRAY_CONNECTIONS = 500, 8
STORED_TIMEOUT_S = 600
MANY_CONNECTIONS, MANY_S = 1000, 15
SLOW_CLIENTS, SLOW_S, OTHERS_PER_S = 10_000, 30, 200
COLUMNS: Row = dict.fromkeys((
    "what", "per second", "ratio", "CPU µs", "median ms", "p99 ms", "timer p99 ms", "peak MiB",
    "not accepted", "target",
))  # fmt: skip


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Ask all of it; rates `plan.runs` times in turns."""
    rows, rate = _single(site, plan, progress)
    progress.turn(f"single POSTs, {rate * PACED_SHARE:,.0f}/s")
    rows += _paced(site, rate * PACED_SHARE)
    rows += _arrays(site, plan, progress)
    progress.turn(f"{MANY_CONNECTIONS:,} connections")
    rows.append(_many(site))
    progress.turn(f"{SLOW_CLIENTS:,} slow clients")
    slow, note = _slow(site)
    rows = [COLUMNS | row for row in [*rows, slow]]
    return Result("gateway_speed", QUESTION, rows, [note])


def _single(site: Site, plan: Plan, progress: Progress) -> tuple[list[Row], float]:
    """Return the rows of single POSTs, and how many the gateway takes in a second."""
    empty: list[Posted] = []
    ours: list[Posted] = []
    for run in range(plan.runs):
        progress.turn(f"run {run + 1} of {plan.runs}: single POSTs")
        with ground(site) as fresh:
            with http_requests.endpoint(fresh) as server:
                empty.append(_fast(server))
            with _gateway(fresh) as server:
                ours.append(_fast(server))
    ratio = median(mine.per_s / other.per_s for mine, other in zip(ours, empty, strict=True))
    rows = [
        _row("an empty FastAPI endpoint", empty),
        {**_row("the gateway, single POSTs", ours), "ratio": ratio, "target": RATIO_MIN},
    ]
    return rows, median(one.per_s for one in ours)


def _fast(server: Server) -> Posted:
    http_requests.post(server, connections=SINGLE_CONNECTIONS, seconds=WARM_UP_S)
    return http_requests.post(server, connections=SINGLE_CONNECTIONS, seconds=SINGLE_S)


def _paced(site: Site, per_s: float) -> list[Row]:
    with ground(site) as fresh:
        with http_requests.endpoint(fresh) as server:
            null = _at_pace(server, per_s)
        with _gateway(fresh) as server:
            ours = _at_pace(server, per_s)
    return [
        _row("null probe, a quarter of that rate", [null]),
        _row("the gateway, a quarter of that rate", [ours]),
    ]


def _at_pace(server: Server, per_s: float) -> Posted:
    http_requests.post(server, connections=SINGLE_CONNECTIONS, seconds=WARM_UP_S)
    return http_requests.post(server, connections=SINGLE_CONNECTIONS, seconds=SINGLE_S, per_s=per_s)


def _arrays(site: Site, plan: Plan, progress: Progress) -> list[Row]:
    """Return the rows of transactions per second until they are rows."""
    published: list[float] = []
    posted: list[float] = []
    count = plan.messages // ARRAY_ITEMS * ARRAY_ITEMS
    for run in range(plan.runs):
        progress.turn(f"run {run + 1} of {plan.runs}: the bench's publisher to the last row")
        published.append(_published(site, count))
        progress.turn(f"run {run + 1} of {plan.runs}: arrays of {ARRAY_ITEMS} to the last row")
        posted.append(_posted(site, count))
    ratio = median(mine / other for mine, other in zip(posted, published, strict=True))
    name = f"arrays of {ARRAY_ITEMS}, POST to row: transactions"
    return [
        {"what": "the bench's publisher to row: transactions", "per second": median(published)},
        {"what": name, "per second": median(posted), "ratio": ratio, "target": RATIO_MIN},
    ]


def _published(site: Site, count: int) -> float:
    """Return transactions per second of a publisher and ingest, to the last row."""
    with (
        ground(site) as fresh,
        load.ingesting(fresh),
        load.publishing(fresh, count, 1e9) as times,
    ):
        ended = _all_stored(fresh, count)
        return count / (ended - times()[0])


def _posted(site: Site, count: int) -> float:
    """Return transactions per second of gateway, tracker and ingest, to the last row."""
    with (
        ground(site) as fresh,
        load.ingesting(fresh),
        _gateway(fresh) as server,
        programs.service("tracker").running(fresh) as tracker,
    ):
        programs.said(tracker, '"event": "consuming"')
        given = {"items": ARRAY_ITEMS, "connections": ARRAY_CONNECTIONS, "seconds": 600}
        number = count // ARRAY_ITEMS
        with http_requests.peer(
            "http_load", server, token=http_requests.TOKEN, count=number, **given
        ) as peer:
            assert peer.stdout
            begun = float(json.loads(peer.stdout.readline())["begun"])
            return count / (_all_stored(fresh, count) - begun)


def _all_stored(fresh: Ground, count: int) -> float:
    """Wait for the last row; return when it was there, by the clock."""
    with observer(fresh) as conn:
        stored = Stored(conn, count)
        said = f"not all of {count:,} are rows"
        programs.wait_until(stored, STORED_TIMEOUT_S, said, every_s=POLL_EVERY_S)
        return time.time()


def _many(site: Site) -> Row:
    with ground(site) as fresh, _gateway(fresh) as server:
        found = http_requests.post(server, connections=MANY_CONNECTIONS, seconds=MANY_S)
        peak = server.program.memory_peak_mib()
        row = _row(f"the gateway, {MANY_CONNECTIONS:,} connections", [found])
        return {**row, "peak MiB": peak, "target": MEMORY_MIB_MAX}


def _slow(site: Site) -> tuple[Row, str]:
    """Return what became of others while there are slow clients, and what became of those."""
    with ground(site) as fresh, _gateway(fresh) as server:
        steady = {"connections": SINGLE_CONNECTIONS, "per_s": OTHERS_PER_S}
        before = http_requests.post(server, seconds=SINGLE_S, **steady)
        slow_settings = {"clients": SLOW_CLIENTS, "seconds": SLOW_S}
        with (
            http_requests.begun(server, seconds=SLOW_S, **steady) as ended,
            http_requests.peer("http_slow", server, **slow_settings) as slow,
        ):
            found = ended()
            said, _ = slow.communicate(timeout=SLOW_S * 2)
        row = _row(f"others beside {SLOW_CLIENTS:,} slow clients", [found])
        ends = ", ".join(f"{number:,} {name}" for name, number in json.loads(said).items())
        after = http_requests.post(server, connections=10, seconds=1)
        note = (
            f"slow clients: {ends}; others' p99 was {before.p99 * 1000:.1f} ms before them; "
            f"new clients after them: {after.accepted:,} accepted, {after.others} not"
        )
        return {**row, "peak MiB": server.program.memory_peak_mib()}, note


@contextlib.contextmanager
def _gateway(fresh: Ground) -> Iterator[Server]:
    with http_gateway.queues(fresh.amqp_url):
        pass
    with http_requests.gateway(fresh) as server:
        yield server


def _row(what: str, found: list[Posted]) -> Row:
    return {
        "what": what,
        "per second": median(one.per_s for one in found),
        "CPU µs": median(one.cpu_us for one in found),
        "median ms": median(one.median for one in found) * 1000,
        "p99 ms": median(one.p99 for one in found) * 1000,
        "timer p99 ms": median(one.late_p99 for one in found) * 1000 or None,
        "not accepted": sum(one.others for one in found),
    }
