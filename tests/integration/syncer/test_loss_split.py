"""Two live primaries of Postgres: each writes ticks, and KeyDB follows the one that stays.

They are of one cluster and count epochs alike; only the tokens say whose tick KeyDB shows.
"""

from collections.abc import Iterator

import docker
import psycopg
import pytest
import redis

from tests.support import ledger, postgres_replica, servers
from tests.support.ledger import add, minute
from tests.support.postgres_replica import Cluster


@pytest.fixture(scope="module")
def cluster(engine: docker.DockerClient) -> Iterator[Cluster]:
    with postgres_replica.cluster(engine) as cluster:
        yield cluster


def test_of_two_live_primaries_keydb_shows_one_or_the_other_and_follows_the_one_that_stays(
    cluster: Cluster, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    cluster.add_replica()
    name = cluster.database()
    going, staying = cluster.primary.dsn(name), cluster.replica.dsn(name)
    with psycopg.connect(going, autocommit=True) as old:
        visa = ledger.add_provider(old, "Visa", 1000)
        with ledger.syncing(going, keydb_server.url()) as syncer:
            assert syncer.tick(minute(1)).state == "applied"
        cluster.cut_off()
        cluster.promote()
        with (
            psycopg.connect(staying, autocommit=True) as new,
            ledger.syncing(going, keydb_server.url()) as theirs,
            ledger.syncing(staying, keydb_server.url()) as ours,
        ):
            epochs = [1]
            for number in range(2, 5):
                for conn, syncer, amount in ((old, theirs, 1), (new, ours, 70)):
                    add(conn, visa, amount)
                    # Either both write the same epochs, and wait for the next tick, or one goes on.
                    for at in (2 * number, 2 * number + 1):
                        syncer.tick(minute(at))
                    assert ledger.shown(store) == ledger.balances(conn)
                    assert ledger.watermark(store) == ledger.mark_of_newest(conn)
                    epochs.append(int(ledger.watermark(store)[0]))
            assert epochs == sorted(set(epochs))
            add(old, visa, 1)
            theirs.tick(minute(20))
            assert ledger.shown(store) == {"1_Visa": "1004"}
        # The other one is gone, with its commits.
        with ledger.syncing(staying, keydb_server.url()) as ours:
            ours.tick(minute(21))
            assert ledger.shown(store) == {"1_Visa": "1210"}
