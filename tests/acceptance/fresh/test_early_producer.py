"""A producer of others that is there before any of us."""

from tests.support.eventually import eventually
from tests.support.keydb_snapshot import at_next_boundary
from tests.support.stack import Stack, publish

SUM = "SELECT count(*), coalesce(sum(transaction_value), 0) FROM historical_transactions"


def test_what_a_producer_sent_before_any_of_our_services_was_up_counts(fresh: Stack) -> None:
    fresh.up("rabbitmq")
    publish(fresh, b'{"id": 11, "value": 250}', b'{"id": 11, "value": -50}')

    fresh.up()
    with fresh.postgres() as conn:
        conn.execute("INSERT INTO initial_data VALUES (11, 'Early', 1000)")
        eventually(lambda: conn.execute(SUM).fetchone() == (2, 200))

    assert at_next_boundary(fresh, "11_Early") == {"11_Early": "1200"}
    eventually(lambda: fresh.queue()["messages"] == 0)
