"""Compose's health checks are bound to progress, too."""

from services.ingest.writer import STUCK_S
from services.ticker.__main__ import BOUNDARY_GRACE_S
from tests.support import own_broker
from tests.support.eventually import eventually
from tests.support.outages import afterwards
from tests.support.stack import INTERVAL_S, Stack, publish

CHECKS_S = 3 * 5.0
"""Three checks in a row, 5 s apart, as compose.yaml has it."""
SLACK_S = 30.0
"""For a machine that is busy with other tests."""


def health(stack: Stack, service: str) -> str:
    return str(stack.container(service).attrs["State"]["Health"]["Status"])


def test_a_syncer_whose_keydb_is_away_is_unhealthy_and_is_healthy_again_by_itself(
    second: Stack,
) -> None:
    keydb = second.container("keydb")
    keydb.stop()
    with afterwards(keydb.start):
        unhealthy_within_s = 2 * INTERVAL_S + 1 + CHECKS_S + SLACK_S
        eventually(lambda: health(second, "syncer") == "unhealthy", unhealthy_within_s)
        eventually(lambda: health(second, "ingest") == health(second, "ticker") == "healthy")
    eventually(lambda: health(second, "syncer") == "healthy", 60)


def test_an_ingest_whose_writer_waits_for_a_lock_is_unhealthy_and_is_healthy_again_by_itself(
    second: Stack,
) -> None:
    eventually(lambda: health(second, "ingest") == "healthy", 60)
    with second.postgres() as user, user.transaction():
        user.execute("LOCK TABLE historical_transactions IN EXCLUSIVE MODE")
        publish(second, b'{"id": 1, "value": 1}')
        unhealthy_within_s = STUCK_S + CHECKS_S + SLACK_S
        eventually(lambda: health(second, "ingest") == "unhealthy", unhealthy_within_s)
        eventually(lambda: health(second, "ticker") == "healthy")
    eventually(lambda: health(second, "ingest") == "healthy", 60)
    with second.postgres() as user:
        user.execute("DELETE FROM dead_letter")


def test_a_ticker_that_cannot_publish_is_unhealthy_and_is_healthy_again_by_itself(
    second: Stack,
) -> None:
    eventually(lambda: health(second, "ticker") == "healthy", 60)
    with own_broker.alarm(second.container("rabbitmq")):
        unhealthy_within_s = INTERVAL_S + BOUNDARY_GRACE_S + CHECKS_S + SLACK_S
        eventually(lambda: health(second, "ticker") == "unhealthy", unhealthy_within_s)
        eventually(lambda: health(second, "ingest") == "healthy")
    eventually(lambda: health(second, "ticker") == "healthy", 60)
    eventually(lambda: health(second, "syncer") == "healthy", 60)
