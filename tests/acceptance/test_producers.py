"""Producers of others: plain pika, a plain durable declare, no identity, no regard for us."""

import psycopg

from tests.support.eventually import eventually
from tests.support.keydb_snapshot import at_next_boundary
from tests.support.stack import Stack, publish

SUM = "SELECT count(*), coalesce(sum(transaction_value), 0) FROM historical_transactions"


def test_what_a_producer_sends_while_our_services_are_up_counts(
    running: Stack, conn: psycopg.Connection
) -> None:
    conn.execute("INSERT INTO initial_data VALUES (12, 'Late', 1000)")

    publish(running, b'{"id": 12, "value": 250}', b'{"id": 12, "value": -50}')

    eventually(lambda: conn.execute(f"{SUM} WHERE provider_id = 12").fetchone() == (2, 200))
    assert at_next_boundary(running, "12_Late") == {"12_Late": "1200"}


def test_a_producer_finds_a_quorum_queue_that_never_drops_what_was_redelivered(
    running: Stack,
) -> None:
    publish(running)

    # The management page shows a new queue before it shows the policy in effect.
    eventually(lambda: "effective_policy_definition" in running.queue())
    queue = running.queue()

    assert (queue["type"], queue["durable"]) == ("quorum", True)
    assert queue["effective_policy_definition"]["delivery-limit"] == -1
