"""Postgres fails over and lacks commits, or is restored elsewhere: consumers are right or know it.

Feed and notifier are processes here, and their servers are real ones.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import docker
import psycopg
import pytest
import redis

from ops.followers.store import START_ANEW
from shared.follower_store import ASKED_TOKEN
from tests.support import changes_consumer, ledger, notifying, postgres_replica, programs, servers
from tests.support.changes_consumer import Queue
from tests.support.eventually import eventually
from tests.support.ledger import minute
from tests.support.notifying import Listener
from tests.support.postgres_replica import Cluster
from tests.support.tcp_proxy import proxying

PROVIDERS = (1, 2, 3)
RECOVERY_S = 60.0
CHANGE = """
INSERT INTO historical_transactions (provider_id, transaction_value)
SELECT id, 10 * id + 1 FROM initial_data
"""
# Where no queue took a notification it waits for the next tick.
BEHIND = """
SELECT 2 - count(f.name),
       (SELECT count(*) FROM notification WHERE sent_at IS NULL AND error IS NULL)
  FROM (SELECT epoch, token FROM tick WHERE NOT interim ORDER BY epoch DESC LIMIT 1) AS newest
  LEFT JOIN follower f USING (epoch, token)
"""
# Both started at the first tick that has a boundary, and start anew at one of another cluster.
JUDGED = """
SELECT token
  FROM (SELECT token, boundary,
               system_identifier = lag(system_identifier) OVER (ORDER BY epoch) AS is_judged
          FROM tick
         WHERE NOT interim) AS due
 WHERE is_judged
   AND boundary > %s
"""


@dataclass(frozen=True)
class Books:
    """A database, whichever server has it now."""

    dsn: str
    conn: psycopg.Connection
    keydb_url: str

    def tick(self, number: int) -> None:
        """Change each balance, and write and publish the tick of this minute."""
        self.conn.execute(CHANGE)
        with ledger.syncing(self.dsn, self.keydb_url) as syncer:
            syncer.tick(minute(number))

    def are_told(self) -> bool:
        """Say whether both followers have followed the newest tick, and all is sent."""
        return self.conn.execute(BEHIND).fetchone() == (0, 0)

    def told(self, *numbers: int) -> None:
        """Write ticks, and wait each time until both have followed it."""
        for number in numbers:
            self.tick(number)
            eventually(self.are_told, RECOVERY_S)


@dataclass(frozen=True)
class Consumers:
    """One of change events and one of notifications."""

    queue: Queue
    listener: Listener

    def have(self, books: Books) -> None:
        """Fail unless both have exactly what the ticks say that this database still knows."""
        self.queue.drain().assert_right(books.conn)
        tokens = {token for (token,) in books.conn.execute(JUDGED, [minute(1)])}
        expected = {f"{token}:n:1:{provider}" for token in tokens for provider in PROVIDERS}
        query = "SELECT id FROM notification WHERE sent_at IS NOT NULL"
        assert {one for (one,) in books.conn.execute(query)} == expected
        received = self.listener.listen().keys()
        assert {one for one in received if one.partition(":")[0] in tokens} == expected


@pytest.fixture(scope="module")
def cluster(engine: docker.DockerClient) -> Iterator[Cluster]:
    with postgres_replica.cluster(engine) as cluster:
        yield cluster


@pytest.fixture
def name(cluster: Cluster) -> str:
    """A database with three providers and an alert that each movement meets; a tick is written."""
    name = cluster.database()
    with psycopg.connect(cluster.primary.dsn(name), autocommit=True) as conn:
        for provider in PROVIDERS:
            ledger.add_provider(conn, f"Card {provider}", 1000 * provider)
        ledger.count_all(conn)
        assert notifying.add_alert(conn, "change", 1) == 1
    return name


@pytest.fixture
def consumers(amqp_url: str) -> Iterator[Consumers]:
    with changes_consumer.bound(amqp_url) as queue, notifying.listening(amqp_url) as listener:
        yield Consumers(queue, listener)


@contextlib.contextmanager
def opened(dsn: str, keydb: servers.Keydb) -> Iterator[Books]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        yield Books(dsn, conn, keydb.url())


@contextlib.contextmanager
def following(dsn: str, amqp_url: str) -> Iterator[None]:
    """Run both followers while inside."""
    given = {"POSTGRES_DSN": dsn, "RABBITMQ_URL": amqp_url}
    with (
        programs.running("services.feed", **given),
        programs.running("services.notifier", **given),
    ):
        yield


def test_a_standby_that_lacks_ticks_is_promoted_while_both_follow(
    cluster: Cluster,
    name: str,
    amqp_url: str,
    consumers: Consumers,
    *,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
) -> None:
    del store
    cluster.add_replica()
    with following(cluster.dsn(name), amqp_url):
        with opened(cluster.primary.dsn(name), keydb_server) as books:
            eventually(books.are_told, RECOVERY_S)
            consumers.listener.unbind()
            books.told(2)
            cluster.cut_off()
            consumers.listener.bind()  # the standby never hears that those of tick 2 are sent
            books.told(3, 4)
            consumers.have(books)
        cluster.fail_over()
        with opened(cluster.primary.dsn(name), keydb_server) as books:
            eventually(lambda: consumers.queue.drain().closed[-1]["anew"], RECOVERY_S)
            books.told(3, 4)
            consumers.have(books)
    epochs = [one["epoch"] for one in consumers.queue.consumer.closed]
    assert epochs == [1, 2, 3, 4, 2, 5, 6], "read anew as of tick 2, then above what KeyDB shows"
    assert not consumers.queue.consumer.missed()
    times, told = consumers.listener.times, consumers.listener.received
    assert times == len(told) + len(PROVIDERS), "those of tick 2 came twice, under the same ids"


def test_a_standby_that_lacks_ticks_is_promoted_while_both_are_down(
    cluster: Cluster,
    name: str,
    amqp_url: str,
    consumers: Consumers,
    *,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
) -> None:
    cluster.add_replica()
    with opened(cluster.primary.dsn(name), keydb_server) as books:
        with following(cluster.dsn(name), amqp_url):
            eventually(books.are_told, RECOVERY_S)
            books.told(2)
            cluster.cut_off()
            books.told(3, 4)
        consumers.have(books)
    cluster.fail_over()
    store.flushall()  # else the next epoch would be larger than those that were lost
    with opened(cluster.primary.dsn(name), keydb_server) as books:
        for number in (3, 4, 5):
            books.tick(number)
        with following(cluster.dsn(name), amqp_url):
            eventually(books.are_told, RECOVERY_S)
            assert consumers.queue.drain().missed(), "nobody knows what the feed had told"
            consumers.have(books)
            books.conn.execute(START_ANEW, {"name": "feed", "token": ASKED_TOKEN})
            eventually(books.are_told, RECOVERY_S)
            books.told(6)
            consumers.have(books)
    assert not consumers.queue.consumer.missed()
    epochs = [one["epoch"] for one in consumers.queue.consumer.closed]
    assert epochs == [1, 2, 3, 4, 5, 6]


def test_a_dump_that_lacks_ticks_is_restored_into_another_cluster_while_both_follow(
    cluster: Cluster,
    name: str,
    amqp_url: str,
    consumers: Consumers,
    *,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    postgres_server: servers.Postgres,
) -> None:
    del store
    with (
        proxying(cluster.primary.dsn(name)) as (proxy, url),
        following(url, amqp_url),
        contextlib.ExitStack() as ended,
    ):
        with opened(cluster.primary.dsn(name), keydb_server) as books:
            eventually(books.are_told, RECOVERY_S)
            books.told(2)
            restored = cluster.restore_into(postgres_server, name)
            ended.callback(postgres_replica.drop, postgres_server, name)
            books.told(3)
            consumers.have(books)
        proxy.lead_to((postgres_server.host, postgres_server.port))
        with proxy.down():
            pass
        with opened(restored, keydb_server) as books:
            eventually(lambda: consumers.queue.drain().closed[-1]["anew"], RECOVERY_S)
            consumers.have(books)
            books.told(3)
            assert consumers.queue.drain().closed[-1]["anew"], "all was counted anew"
            books.told(4)
            consumers.have(books)
    assert not consumers.queue.consumer.missed()
    epochs = [one["epoch"] for one in consumers.queue.consumer.closed]
    assert epochs == [1, 2, 3, 2, 4, 5]
