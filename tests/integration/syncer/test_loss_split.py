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
from tests.support.tcp_proxy import proxying

VISA, AMEX = 1, 2


@pytest.fixture(scope="module")
def split(engine: docker.DockerClient) -> Iterator[Iterator[tuple[str, str]]]:
    """A replica promoted while its primary lives: databases that both have, by their two DSNs."""
    with postgres_replica.cluster(engine) as cluster:
        cluster.add_replica()
        names = [cluster.database() for _ in range(2)]
        for name in names:
            with psycopg.connect(cluster.primary.dsn(name), autocommit=True) as conn:
                assert ledger.add_provider(conn, "Visa", 1000) == VISA
                assert ledger.add_provider(conn, "Amex", 2000) == AMEX
        cluster.cut_off()
        cluster.promote()
        yield ((cluster.primary.dsn(name), cluster.replica.dsn(name)) for name in names)


@pytest.fixture
def primaries(split: Iterator[tuple[str, str]]) -> tuple[str, str]:
    """One such database: where the old primary has it, and where the new one does."""
    return next(split)


def test_of_two_live_primaries_keydb_shows_one_or_the_other_and_follows_the_one_that_stays(
    primaries: tuple[str, str], store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    going, staying = primaries
    with (
        psycopg.connect(going, autocommit=True) as old,
        psycopg.connect(staying, autocommit=True) as new,
        ledger.syncing(going, keydb_server.url()) as theirs,
        ledger.syncing(staying, keydb_server.url()) as ours,
    ):
        epochs = [0]
        for number in range(1, 4):
            for conn, syncer, amount in ((old, theirs, 1), (new, ours, 70)):
                add(conn, VISA, amount)
                syncer.tick(minute(number))
                assert ledger.shown(store) == ledger.balances(conn)
                assert ledger.watermark(store) == ledger.mark_of_newest(conn)
                epochs.append(int(ledger.watermark(store)[0]))
        assert epochs == sorted(set(epochs))
        add(old, VISA, 1)
        theirs.tick(minute(20))
        assert ledger.shown(store) == {"1_Visa": "1004", "2_Amex": "2000"}
    # The other one is gone, with its commits.
    with ledger.syncing(staying, keydb_server.url()) as ours:
        ours.tick(minute(21))
        assert ledger.shown(store) == {"1_Visa": "1210", "2_Amex": "2000"}


def test_of_two_live_primaries_the_tick_of_one_never_passes_for_that_of_the_other(
    primaries: tuple[str, str], store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    going, staying = primaries
    with (
        proxying(keydb_server.url()) as (proxy, url),
        psycopg.connect(going, autocommit=True) as old,
        psycopg.connect(staying, autocommit=True) as new,
        ledger.syncing(going, url) as theirs,
        ledger.syncing(staying, url) as ours,
    ):
        add(old, AMEX, 1)
        add(new, VISA, 70)
        with proxy.down():  # else each would number its tick above the one that KeyDB shows
            theirs.tick(minute(1))
            ours.tick(minute(1))
        assert (ledger.newest(old)[0], ledger.newest(new)[0]) == (1, 1)
        assert not theirs.publisher.publish().behind
        assert ledger.shown(store) == ledger.balances(old)
        assert ours.publisher.publish().behind
        add(new, VISA, 70)
        ours.tick(minute(2))
        assert ledger.shown(store) == {"1_Visa": "1140", "2_Amex": "2000"}
