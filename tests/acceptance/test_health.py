"""Compose's health checks are bound to progress, too."""

from tests.support.cutting import undone
from tests.support.eventually import eventually
from tests.support.stack import INTERVAL_S, Stack

CHECKS_S = 3 * 5.0
"""Three checks in a row, 5 s apart, as compose.yaml has it."""
SLACK_S = 15.0


def health(stack: Stack, service: str) -> str:
    return str(stack.container(service).attrs["State"]["Health"]["Status"])


def test_a_syncer_whose_keydb_is_away_is_unhealthy_and_gets_well_by_itself(second: Stack) -> None:
    keydb = second.container("keydb")
    keydb.stop()
    with undone(keydb.start):
        unwell_within_s = 2 * INTERVAL_S + 1 + CHECKS_S + SLACK_S
        eventually(lambda: health(second, "syncer") == "unhealthy", unwell_within_s)
        assert health(second, "ingest") == health(second, "ticker") == "healthy"
    eventually(lambda: health(second, "syncer") == "healthy", 60)
