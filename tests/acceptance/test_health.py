"""Compose's health checks are bound to progress, too."""

from services.ingest.writer import STUCK_S
from services.ticker.__main__ import BOUNDARY_GRACE_S
from tests.support import own_broker
from tests.support.eventually import TIMEOUT_S, eventually
from tests.support.outages import afterwards
from tests.support.stack import INTERVAL_S, Stack, publish

CHECKS_S = 3 * 5.0
"""Three checks in a row, 5 s apart, as compose.yaml has it."""
SLACK_S = 30.0
"""For a machine that is busy with other tests."""


def health(stack: Stack, service: str) -> str:
    return str(stack.container(service).attrs["State"]["Health"]["Status"])


def becomes(status: str, stack: Stack, *services: str, within_s: float = TIMEOUT_S) -> None:
    """Wait until the engine says so; it says the same until its next check."""
    wanted = [status] * len(services)
    eventually(lambda: [health(stack, one) for one in services] == wanted, within_s, pause_s=0.2)


def test_a_syncer_whose_keydb_is_away_is_unhealthy_and_is_healthy_again_by_itself(
    second: Stack,
) -> None:
    keydb = second.container("keydb")
    keydb.stop()
    with afterwards(keydb.start):
        unhealthy_within_s = 2 * INTERVAL_S + 1 + CHECKS_S + SLACK_S
        becomes("unhealthy", second, "syncer", within_s=unhealthy_within_s)
        becomes("healthy", second, "ingest", "ticker")
    becomes("healthy", second, "syncer", within_s=60)


def test_an_ingest_whose_writer_waits_for_a_lock_is_unhealthy_and_is_healthy_again_by_itself(
    second: Stack,
) -> None:
    becomes("healthy", second, "ingest", within_s=60)
    with second.postgres() as user, user.transaction():
        user.execute("LOCK TABLE historical_transactions IN EXCLUSIVE MODE")
        publish(second, b'{"id": 1, "value": 1}')
        unhealthy_within_s = STUCK_S + CHECKS_S + SLACK_S
        becomes("unhealthy", second, "ingest", within_s=unhealthy_within_s)
        becomes("healthy", second, "ticker")
    becomes("healthy", second, "ingest", within_s=60)
    with second.postgres() as user:
        user.execute("DELETE FROM dead_letter")


def test_a_ticker_that_cannot_publish_is_unhealthy_and_is_healthy_again_by_itself(
    second: Stack,
) -> None:
    becomes("healthy", second, "ticker", within_s=60)
    with own_broker.alarm(second.container("rabbitmq")):
        unhealthy_within_s = INTERVAL_S + BOUNDARY_GRACE_S + CHECKS_S + SLACK_S
        becomes("unhealthy", second, "ticker", within_s=unhealthy_within_s)
        becomes("healthy", second, "ingest")
    becomes("healthy", second, "ticker", within_s=60)
    becomes("healthy", second, "syncer", within_s=60)
