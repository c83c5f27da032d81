"""More than one ingest, more than one stack."""

from collections.abc import Iterator
from functools import partial

import psycopg
import pytest

from tests.support.eventually import eventually
from tests.support.keydb_snapshot import at_next_boundary
from tests.support.stack import Stack, publish

MESSAGES = 3000
RESENT = 300


@pytest.fixture
def three(running: Stack) -> Iterator[Stack]:
    """The shared stack with three ingests, for one test."""
    running.up(options=["--no-recreate", "--scale", "ingest=3"])
    try:
        yield running
    finally:
        running.up(options=["--no-recreate", "--scale", "ingest=1"])


def test_three_ingests_share_the_queue_and_store_each_message_once(
    three: Stack, conn: psycopg.Connection
) -> None:
    conn.execute("INSERT INTO initial_data VALUES (21, 'Shared', 0)")
    bodies = [b'{"id": 21, "value": %d}' % value for value in range(1, MESSAGES + 1)]
    names = [f"shared-{value}" for value in range(1, MESSAGES + 1)]
    ingests = three.containers("ingest")
    assert len(ingests) == 3
    eventually(lambda: three.queue().get("consumers") == 3)

    publish(three, *bodies, message_ids=names, confirmed=False)
    publish(three, *bodies[:RESENT], message_ids=names[:RESENT], confirmed=False)

    count = "SELECT count(*) FROM historical_transactions WHERE provider_id = 21"
    eventually(lambda: conn.execute(count).fetchone() == (MESSAGES,))
    total = str(sum(range(1, MESSAGES + 1)))
    assert at_next_boundary(three, "21_Shared") == {"21_Shared": total}
    eventually(lambda: three.queue()["messages"] == 0)
    assert conn.execute(count).fetchone() == (MESSAGES,)
    for one in ingests:  # it counts after the acknowledgement
        eventually(partial(three.metric, one, "minutebook_ingest_rows_total"))


def test_two_stacks_stand_side_by_side(running: Stack, second: Stack) -> None:
    eventually(lambda: not running.unhealthy() and not second.unhealthy(), 60)
    assert running.port("postgres", 5432) != second.port("postgres", 5432)
    with second.postgres() as conn:
        conn.execute("INSERT INTO initial_data VALUES (22, 'Beside', 5)")
    assert at_next_boundary(second, "22_Beside") == {"22_Beside": "5"}
    assert at_next_boundary(running, "22_Beside") == {"22_Beside": None}
