"""What a minute without Postgres costs.

Measured: ingest empties a long queue, to which a publisher adds at a steady rate; Postgres is
killed, stays away for a minute, is started again. The clock for its return starts when the server
accepts connections. Speeds are means over a second, by the rows that a reader sees.
"""

import contextlib
import time
from dataclasses import replace

import docker
import psycopg

from bench import programs
from bench.drain import observer
from bench.ground import Ground, Site, ground, ordinary, publish
from bench.load import publishing
from bench.result import Plan, Progress, Result, Row
from tests.support import outages, servers

QUESTION = "Postgres killed for a minute under load"
SPEED_OVER_S = 1.0
AWAY_S = 60.0
PACE_PER_S = 1000.0
FULL_SPEED_SHARE = 0.8
QUEUE_FACTOR = 3
TIMEOUT_S = 180.0
COUNT = "SELECT count(*) FROM historical_transactions"


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Kill a Postgres of our own in the middle."""
    pinning = outages.FixedPorts(docker.from_env())
    with (
        servers.postgres(pinning.engine()) as postgres,
        ground(replace(site, postgres=postgres)) as fresh,
    ):
        publish(fresh, ordinary(QUEUE_FACTOR * plan.messages))
        with programs.ingest().running(fresh) as program, publishing(fresh, 10**6, PACE_PER_S):
            progress.turn("full speed")
            programs.wait_until(lambda: _rows(fresh) > 0, TIMEOUT_S, "no row")
            speed = _speed(fresh)
            peak = program.memory_peak_mib()
            progress.turn(f"{AWAY_S:g} s without Postgres")
            pinning.container.kill()
            time.sleep(AWAY_S)
            tries = program.log().count('"event": "reconnecting"')
            pinning.container.start()
            progress.turn("Postgres is back")
            back = _back(fresh, speed)
            grown = program.memory_peak_mib() - peak
            with observer(fresh) as conn:
                dead = conn.execute("SELECT count(*) FROM dead_letter").fetchone()
    row: Row = {
        "rows/s before": speed,
        "seconds to full speed": back,
        "attempts meanwhile": tries,
        "MiB grown": grown,
        "dead letters": dead[0] if dead else None,
    }
    return Result("ingest_outage", QUESTION, [row], ["targets: 5 s to full speed, no dead letter"])


def _back(fresh: Ground, speed: float) -> float:
    """Return seconds from the first answer to the end of the first second at full speed."""
    programs.wait_until(lambda: _answers(fresh), TIMEOUT_S, "Postgres does not come back")
    begun = time.monotonic()
    programs.wait_until(
        lambda: _speed(fresh) > FULL_SPEED_SHARE * speed, TIMEOUT_S, "not at full speed"
    )
    return time.monotonic() - begun


def _answers(fresh: Ground) -> bool:
    with contextlib.suppress(psycopg.OperationalError):
        return _rows(fresh) > 0
    return False


def _speed(fresh: Ground) -> float:
    begun, before = time.monotonic(), _rows(fresh)
    time.sleep(SPEED_OVER_S)
    return (_rows(fresh) - before) / (time.monotonic() - begun)


def _rows(fresh: Ground) -> int:
    with observer(fresh) as conn:
        row = conn.execute(COUNT).fetchone()
    return int(row[0]) if row else 0
