"""A message outlives any number of its consumers, with the broker configured as we ship it."""

from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest

from tests.support import messages, servers
from tests.support.eventually import eventually
from tests.support.messages import QUEUE, body, counted, rows, truth, waiting_in_queue

DEATHS = 25
HOLDER = """
SELECT application_name
  FROM pg_stat_activity
 WHERE datname = current_database() AND wait_event_type = 'Lock'
   AND application_name LIKE 'victim-%%' AND application_name <> ALL (%s)
"""


@pytest.fixture
def shipped_url(rabbitmq_server: servers.Rabbitmq) -> Iterator[str]:
    """The virtual host of our definitions, with its policy, and no queue in it afterwards."""
    url = rabbitmq_server.url("/")
    yield url
    with messages.channel(url) as channel:
        channel.queue_delete(QUEUE)


def abandon(amqp_url: str, times: int) -> None:
    """Take a message and go without acknowledging it, as a consumer does that crashes."""
    for _ in range(times):
        with messages.channel(amqp_url) as consumer:
            eventually(lambda one=consumer: one.basic_get(QUEUE)[0])  # type: ignore[misc]


def test_a_good_consumer_killed_25_times_with_the_same_message_unacknowledged_does_not_lose_it(
    dsn: str, conn: psycopg.Connection, shipped_url: str
) -> None:
    messages.add_providers(conn)
    with ExitStack() as stack:
        user = stack.enter_context(psycopg.connect(dsn))
        # What a row waits for, and a look at the tables at the start does not.
        user.execute("SELECT FROM initial_data WHERE id = 1 FOR UPDATE")
        messages.publish(shipped_url, body())
        victims = {
            name: stack.enter_context(
                messages.ingest(f"{dsn}?application_name={name}", shipped_url)
            )
            for name in (f"victim-{number}" for number in range(DEATHS))
        }
        dead: list[str] = []
        while len(dead) < DEATHS:
            holders = eventually(lambda: conn.execute(HOLDER, [dead]).fetchall(), 30)
            dead.append(holders[0][0])
            victims[dead[-1]].kill()
        survivor = stack.enter_context(messages.ingest(dsn, shipped_url))
        messages.consuming(survivor)
        user.rollback()
        eventually(lambda: rows(conn) == [(1, 600)])
        eventually(lambda: survivor.metric("minutebook_ingest_redelivered_total") == 1)
        messages.queue_drained(survivor, shipped_url)
    assert rows(conn) == [(1, 600)]
    assert counted(conn) == truth(conn)


def test_without_our_policy_the_broker_drops_such_a_message(amqp_url: str) -> None:
    messages.publish(amqp_url, body())
    abandon(amqp_url, 20)
    eventually(lambda: waiting_in_queue(amqp_url) == 1)
    abandon(amqp_url, 1)
    eventually(lambda: waiting_in_queue(amqp_url) == 0)


def test_with_our_policy_the_broker_keeps_it(shipped_url: str) -> None:
    messages.publish(shipped_url, body())
    abandon(shipped_url, DEATHS)
    eventually(lambda: waiting_in_queue(shipped_url) == 1)
