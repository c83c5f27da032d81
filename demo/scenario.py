"""The main job, step by step: start, load, publish, wait for the boundary, compare."""

import time
from collections.abc import Iterator

import psycopg
import redis

from demo import example, ports, servers, stack
from demo.failure import DemoFailed
from demo.screen import Report, Screen

STATE_PAUSE_S = 1.0
STUCK_S = 90.0
"""Without any change for so long, it will not start: a wrong password, say, is tried repeatedly."""

ARRIVAL_TIMEOUT_S = 20.0
TICK_TIMEOUT_S = 15.0
POLL_PAUSE_S = 0.05
LOG_LINES = 12


def run(screen: Screen) -> None:
    """Do it all. Raises `DemoFailed` unless KeyDB says what it should in the end."""
    configuration = stack.configuration()
    containers = start(screen, configuration)
    reached = servers.find(configuration, containers)
    queue = configuration.setting("ingest", "INGEST_QUEUE")
    interval_s = int(configuration.setting("ticker", "TICK_INTERVAL_SECONDS"))
    with reached.connect_postgres() as conn, reached.connect_keydb() as keydb:
        fresh = load(screen, conn)
        before = example.truth(conn)
        keys = list(before.balances)
        shown_before = example.shown(keydb, keys)
        row = publish(screen, reached, queue, conn, before)
        shown_after = await_tick(screen, keydb, keys, interval_s)
        now = example.truth(conn)
        screen.rows(example.last_rows(conn), row)
        screen.balances(shown_before, shown_after, now.balances)
        screen.tick(shown_after)
        screen.places(places(containers))
        check(conn, before, example.faults(before, now, shown_after, fresh=fresh))
    screen.verdict(f"KeyDB says what it should: {before.key} is {shown_after.balances[before.key]}")


def start(screen: Screen, configuration: stack.Configuration) -> list[stack.Container]:
    """Bring the stack up and return its containers, all healthy. Raises `DemoFailed`."""
    published = list(configuration.published())
    ours = {port for one in stack.containers() for port in one.ports.values()}
    ports.check(published, ours)
    screen.say(f"starting the stack (compose project {configuration.project})")
    began = time.monotonic()
    with stack.starting() as starting, screen.starting() as report:
        watch(starting, report)
        containers = stack.containers()
        report(containers, "")
        exit_code, output = starting.exit_code(), starting.output()
    if exit_code != 0:
        raise ports.conflict(output, published) or not_started(containers, output)
    screen.say(f"the stack is up, after {time.monotonic() - began:.0f} s")
    return containers


def watch(starting: stack.Starting, report: Report) -> None:
    """Report what happens until compose has ended, or until nothing happens any more."""
    seen: object = None
    moved_at = time.monotonic()
    while starting.exit_code() is None and time.monotonic() < moved_at + STUCK_S:
        containers, line = stack.containers(), starting.last_line()
        report(containers, line)
        waited_for = any(one.failed or one.unready for one in containers)  # else it builds images
        if (containers, line) != seen or not waited_for:
            seen, moved_at = (containers, line), time.monotonic()
        time.sleep(STATE_PAUSE_S)


def not_started(containers: list[stack.Container], output: str) -> DemoFailed:
    """Return what to say when compose failed or is stuck: its output and logs of services."""
    failed = sorted({one.service for one in containers if one.failed}) or sorted(
        {one.service for one in containers if one.unready}
    )
    details = ["docker compose up said:", *output.splitlines()]
    for service in failed:
        details += ["", f"the last lines of {service}:"]
        details += stack.logs(service, lines=LOG_LINES).splitlines()
    reason = f"the stack did not start: see {', '.join(failed) or 'compose'} above"
    return DemoFailed(f"{reason}; 'make ps' shows it, 'make down' stops it", details=details)


def load(screen: Screen, conn: psycopg.Connection) -> bool:
    """Load the example's rows if the tables are empty; say whether they were."""
    fresh = example.load(conn)
    if fresh:
        screen.say("the tables were empty: loaded the worked example's 2 providers and 3 rows")
    else:
        screen.say("the tables hold data: nothing loaded")
    return fresh


def publish(
    screen: Screen,
    reached: servers.Servers,
    queue: str,
    conn: psycopg.Connection,
    before: example.Truth,
) -> int:
    """Publish the message, wait for its row, and return the row's id. Raises `DemoFailed`."""
    with reached.connect_rabbitmq() as connection:
        example.publish(connection, queue)
    screen.say(f"published {example.BODY.decode()} to {queue}; the broker has confirmed it")
    deadline = time.monotonic() + ARRIVAL_TIMEOUT_S
    while not (row := example.arrived(conn, before.newest)):
        if time.monotonic() > deadline:
            raise DemoFailed(
                f"after {ARRIVAL_TIMEOUT_S:g} s the message is not a row yet; see 'make logs'"
            )
        time.sleep(POLL_PAUSE_S)
    screen.say(f"it is row {row} of historical_transactions")
    return row


def await_tick(
    screen: Screen, keydb: "redis.Redis", keys: list[str], interval_s: int
) -> example.Shown:
    """Wait for the next boundary and return what KeyDB shows then. Raises `DemoFailed`."""
    boundary = int(time.time() // interval_s + 1) * interval_s
    with screen.waiting(boundary) as report:
        while time.time() < boundary + TICK_TIMEOUT_S:
            report()
            seen = example.shown(keydb, keys)
            if seen.boundary is not None and seen.boundary.timestamp() >= boundary:
                return seen
            time.sleep(POLL_PAUSE_S)
    raise DemoFailed(
        f"KeyDB shows no tick {TICK_TIMEOUT_S:g} s after the boundary; see 'make logs'"
    )


def places(containers: list[stack.Container]) -> Iterator[tuple[str, str]]:
    """Yield where to look next: what, and where."""
    page = servers.port(containers, "rabbitmq", 15672)
    yield "broker's management page", f"http://{ports.HOST}:{page} (RABBITMQ_USER, ..._PASSWORD)"
    for (service, own), variable in ports.SERVICE_PORTS.items():
        if "METRICS" in variable:
            for one in containers:
                if one.service == service and own in one.ports:
                    where = f"http://{ports.HOST}:{one.ports[own]}"
                    yield f"metrics of {one.name}", f"{where}/metrics and /healthz"
    yield "how all is", "docker compose run --rm ops status"
    yield "what the services say", "make logs"
    yield "stop it; data stay", "make down"
    yield "stop it; data go", "make clean"


def check(conn: psycopg.Connection, before: example.Truth, faults: list[str]) -> None:
    """Raise `DemoFailed` if there are faults, with a hint if others wrote meanwhile."""
    if not faults:
        return
    others = example.rows_since(conn, before.newest) - 1
    hint = f" ({others} other rows came in meanwhile: is somebody else at work here?)"
    raise DemoFailed("; ".join(faults) + (hint if others > 0 else ""))
