"""What an operator sees: health, logs, an orderly stop, ticks in time."""

import itertools
import math
import statistics
import time
from datetime import datetime, timedelta

import psycopg
import pytest

from tests.support.eventually import eventually
from tests.support.keydb_snapshot import shown
from tests.support.stack import INTERVAL_S, PROGRAMS, Stack, publish

TICKS = 5
LATENESS_MAX_S = 1.0
GRACE_S = 20
HEALTHY_S = 60


def test_every_service_is_healthy(running: Stack) -> None:
    eventually(lambda: not running.unhealthy(), HEALTHY_S)


def test_ticks_reach_keydb_within_a_second_of_every_boundary(
    running: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[datetime, datetime] = {}
    with running.keydb() as keydb:

        def probe() -> bool:
            now = shown(keydb)
            if now.boundary is not None and now.applied_at is not None:
                seen[now.boundary] = now.applied_at
            return bool(seen) and in_time(seen) >= TICKS

        # A busy machine, and a test that interfered before, cost a boundary now and then.
        eventually(probe, 20 * INTERVAL_S)

    lateness_s = [(applied - boundary).total_seconds() for boundary, applied in seen.items()]
    with capsys.disabled():
        print(f"\nlateness: median {statistics.median(lateness_s) * 1000:.1f} ms", end=" ")  # noqa: T201
    assert min(lateness_s) >= 0


def in_time(seen: dict[datetime, datetime]) -> int:
    """Return how many of the newest boundaries in a row were shown in time."""
    *_, newest = seen
    late_s = {boundary: (applied - boundary).total_seconds() for boundary, applied in seen.items()}
    in_a_row = (newest - count * timedelta(seconds=INTERVAL_S) for count in itertools.count())
    return len(
        [*itertools.takewhile(lambda one: late_s.get(one, math.inf) <= LATENESS_MAX_S, in_a_row)]
    )


def test_sigterm_ends_every_service_with_0_inside_the_grace_period(second: Stack) -> None:
    publish(second, *[b'{"id": 51, "value": 1}'] * 200)
    containers = [second.container(service) for service in PROGRAMS]
    began = time.monotonic()

    second.compose("stop", *PROGRAMS)

    took_s = time.monotonic() - began
    for container in containers:
        container.reload()
    codes = {one.name: one.attrs["State"]["ExitCode"] for one in containers}
    second.up()
    assert set(codes.values()) == {0}, codes
    assert took_s < GRACE_S


def test_no_log_tells_a_password_whatever_goes_wrong(
    running: Stack, conn: psycopg.Connection
) -> None:
    conn.execute("INSERT INTO initial_data VALUES (52, 'Secret', 0)")
    with pytest.raises(psycopg.OperationalError), running.postgres() as other:
        other.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name LIKE 'minutebook-%'"
    )
    publish(running, b'{"id": 52, "value": 1}', b"neither this nor that")

    rows = "SELECT count(*) FROM historical_transactions WHERE provider_id = 52"
    eventually(lambda: conn.execute(rows).fetchone() == (1,))
    eventually(lambda: not running.unhealthy(), HEALTHY_S)
    assert not running.secrets_told()
    assert "reconnect" in running.logs()


@pytest.mark.parametrize(
    ("setting", "url"),
    [
        ("POSTGRES_DSN", "postgresql://user:{}@postgres:5432/minutebook?nonsense=1"),
        ("RABBITMQ_URL", "amqq://user:{}@rabbitmq:5672/%2F"),
    ],
)
def test_a_setting_that_is_wrong_is_named_but_not_told(
    running: Stack, setting: str, url: str
) -> None:
    given = f"{setting}={url.format(running.postgres_password)}"

    with pytest.raises(AssertionError) as failure:
        running.compose("run", "--rm", "--no-deps", "--env", given, "ingest")

    said = str(failure.value).partition("\n")[2]
    assert f"setting {setting}: " in said
    assert running.postgres_password not in said
