"""Postgres failed over, or restored elsewhere: KeyDB follows by the next tick, and it is told."""

from collections.abc import Iterator

import docker
import psycopg
import pytest
import redis
from docker.models.containers import Container

from tests.support import ledger, loss_scenario, postgres_replica, servers
from tests.support.eventually import eventually
from tests.support.loss_scenario import LOST, republished, will_say
from tests.support.outages import FixedPorts
from tests.support.postgres_replica import Cluster
from tests.support.tcp_proxy import proxying

FAILOVERS = "minutebook_failovers_total"
BASELINES = "minutebook_baselines_total"
FOLDED_ROWS = "minutebook_folded_rows_total"
RECONNECTS = 'minutebook_reconnects_total{server="postgres"}'

pytestmark = servers.on_both_stores


@pytest.fixture(scope="module")
def cluster(engine: docker.DockerClient) -> Iterator[Cluster]:
    with postgres_replica.cluster(engine) as cluster:
        yield cluster


@pytest.fixture
def database(cluster: Cluster) -> str:
    """A database with the scenario's providers, on a primary that has a replica."""
    cluster.add_replica()
    name = cluster.database()
    with psycopg.connect(cluster.primary.dsn(name), autocommit=True) as conn:
        loss_scenario.providers(conn)
    return name


@pytest.mark.parametrize("moved_on", [3, 5], ids=["level", "past"])
def test_a_failover_that_lost_ticks_is_followed_wherever_the_replica_has_got_to(
    cluster: Cluster,
    database: str,
    amqp_url: str,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    *,
    moved_on: int,
) -> None:
    with (
        proxying(keydb_server.url()) as (proxy, url),
        loss_scenario.scenario(amqp_url, keydb_server) as scenario,
        loss_scenario.syncer(cluster.dsn(database), amqp_url, url) as syncer,
    ):
        with psycopg.connect(cluster.primary.dsn(database), autocommit=True) as conn:
            scenario.right(conn)
            scenario.right(conn)
            cluster.cut_off()
            ledger.add_provider(conn, LOST, 1)
            for _ in range(3):
                scenario.right(conn)
            shown = ledger.watermark(store)
            assert shown[0] == "5"
        with proxy.down():
            cluster.fail_over()
            with psycopg.connect(cluster.primary.dsn(database), autocommit=True) as conn:
                for _ in range(moved_on):
                    scenario.written(conn)
                assert ledger.newest(conn)[0] == 2 + moved_on
            assert ledger.watermark(store) == shown
        with psycopg.connect(cluster.primary.dsn(database), autocommit=True) as conn:
            scenario.right(conn)
            assert int(ledger.watermark(store)[0]) >= 6
            eventually(lambda: republished(syncer, "unknown") == 1)
            will_say(syncer, "tick_published", cause="unknown")
            eventually(lambda: syncer.metric(FAILOVERS) == 1)
            will_say(syncer, "postgres_failed_over", same_cluster=True)
            assert not any(LOST in key for key in ledger.shown(store))
            scenario.right(conn)


def test_a_failover_between_ticks_counts_nothing_of_what_it_lost_though_it_was_added_up(
    cluster: Cluster,
    database: str,
    amqp_url: str,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
) -> None:
    with (
        loss_scenario.scenario(amqp_url, keydb_server) as scenario,
        loss_scenario.syncer(cluster.dsn(database), amqp_url, keydb_server.url()) as syncer,
    ):
        with psycopg.connect(cluster.primary.dsn(database), autocommit=True) as conn:
            scenario.right(conn)
            kept = syncer.metric(FOLDED_ROWS)
            scenario.change(conn)
            cluster.cut_off()
            for _ in range(4):
                scenario.change(conn)
            eventually(
                lambda: syncer.metric(FOLDED_ROWS) == kept + 5 * len(loss_scenario.PROVIDERS)
            )
        cluster.fail_over()
        with psycopg.connect(cluster.primary.dsn(database), autocommit=True) as conn:
            lost = "SELECT count(*) FROM historical_transactions"
            assert conn.execute(lost).fetchone() == (2 * len(loss_scenario.PROVIDERS),)
            scenario.right(conn)
            assert ledger.newest(conn)[:2] == (2, 2 * len(loss_scenario.PROVIDERS))
            ledger.assert_counted_once(conn)
            eventually(lambda: syncer.metric(RECONNECTS) >= 1)
            will_say(syncer, "reconnecting", server="postgres")
            eventually(lambda: syncer.metric(FAILOVERS) == 1)
            will_say(syncer, "postgres_failed_over", same_cluster=True)
            will_say(syncer, "tick_published", cause="next", epoch=2)


@pytest.fixture(scope="module")
def elsewhere(engine: docker.DockerClient) -> Iterator[tuple[servers.Postgres, Container]]:
    """Another cluster, and its container."""
    pinning = FixedPorts(engine)
    with servers.postgres(pinning.engine()) as server:
        yield server, pinning.container


@pytest.mark.parametrize("later", [0, 2], ids=["all-of-it", "older-than-keydb"])
def test_a_dump_restored_into_a_new_cluster_is_counted_again_and_keydb_follows(
    dsn: str,
    conn: psycopg.Connection,
    amqp_url: str,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    *,
    postgres_server: servers.Postgres,
    elsewhere: tuple[servers.Postgres, Container],
    later: int,
) -> None:
    loss_scenario.providers(conn)
    with loss_scenario.scenario(amqp_url, keydb_server) as scenario:
        with loss_scenario.syncer(dsn, amqp_url, keydb_server.url()) as syncer:
            scenario.right(conn)
            scenario.right(conn)
            scenario.change(conn)  # not folded yet: the outbox takes it along
            name = dsn.rpartition("/")[2]
            restored = postgres_replica.restore(name, postgres_server, *elsewhere)
            for _ in range(later):
                ledger.add_provider(conn, LOST, 1)
                scenario.right(conn)
            assert syncer.stop() == 0
        with (
            psycopg.connect(restored, autocommit=True) as there,
            loss_scenario.syncer(restored, amqp_url, keydb_server.url()) as syncer,
        ):
            scenario.right(there)
            assert int(ledger.watermark(store)[0]) == 3 + later
            assert there.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
            will_say(syncer, "baseline_taken", epoch=3 + later)
            eventually(lambda: syncer.metric(BASELINES) == 1)
            cause = "unknown" if later else "next"
            will_say(syncer, "tick_published", cause=cause, epoch=3 + later)
            scenario.right(there)
            assert ledger.newest(there)[1] == len(loss_scenario.PROVIDERS)
