"""KeyDB emptied, put back, exchanged, cut off: right again by the next tick, and it is told why."""

from collections.abc import Iterator

import docker
import psycopg
import pytest
import redis

from services.syncer.core import Publication
from services.syncer.projection import KEYS_KEY, WATERMARK_KEY, Projection, ScriptResult
from tests.support import ledger, loss_scenario, restorable_keydb, servers
from tests.support.eventually import eventually
from tests.support.ledger import minute
from tests.support.loss_scenario import republished, will_say
from tests.support.tcp_proxy import proxying

REPEATED = "minutebook_repeated_publications_total"
RECONNECTS = 'minutebook_reconnects_total{server="keydb"}'

pytestmark = servers.on_both_stores


@pytest.fixture
def scenario(
    amqp_url: str, store: "redis.Redis", keydb_server: servers.Keydb, conn: psycopg.Connection
) -> Iterator[loss_scenario.LossScenario]:
    loss_scenario.providers(conn)
    with loss_scenario.scenario(amqp_url, keydb_server) as scenario:
        yield scenario


def test_keydb_flushed_is_whole_again_at_the_next_tick(
    scenario: loss_scenario.LossScenario,
    dsn: str,
    conn: psycopg.Connection,
    amqp_url: str,
    keydb_server: servers.Keydb,
) -> None:
    with loss_scenario.syncer(dsn, amqp_url, keydb_server.url()) as syncer:
        scenario.right(conn)
        scenario.right(conn)
        before = republished(syncer, "missing")
        with scenario.reader.another_life():
            scenario.store.flushall()
        scenario.right(conn)
        eventually(lambda: republished(syncer, "missing") == before + 1)
        will_say(syncer, "tick_published", cause="missing", epoch=3)
        scenario.right(conn)
        will_say(syncer, "tick_published", cause="next", epoch=4)


def test_keydb_of_another_life_is_made_ours_and_foreign_keys_stay(
    scenario: loss_scenario.LossScenario,
    dsn: str,
    conn: psycopg.Connection,
    amqp_url: str,
    keydb_server: servers.Keydb,
) -> None:
    theirs = {"1_Visa": "-1", "7_Gone": "7"}
    foreign = {"8_Foreign": "8", "user:1": "x"}
    with loss_scenario.syncer(dsn, amqp_url, keydb_server.url()) as syncer:
        scenario.right(conn)
        with scenario.reader.another_life():
            scenario.store.flushall()
            scenario.store.mset(theirs | foreign)
            scenario.store.sadd(KEYS_KEY, *theirs)
            scenario.store.hset(WATERMARK_KEY, mapping={"epoch": "40", "token": "of-another-life"})
            scenario.store.client_kill_filter(_type="normal", skipme=True)
        scenario.reader.told("40", "of-another-life", theirs)
        scenario.written(conn)
        expected = ledger.truth(conn) | foreign
        eventually(lambda: ledger.shown(scenario.store) == expected)
        assert scenario.store.smembers(KEYS_KEY) == set(ledger.truth(conn))
        assert ledger.watermark(scenario.store) == ledger.mark_of_newest(conn)
        assert ledger.watermark(scenario.store)[0] == "41"
        scenario.reader.learn(conn)
        eventually(lambda: republished(syncer, "unknown") == 1)
        will_say(syncer, "tick_published", cause="unknown", epoch=41)


def test_keydb_put_back_from_an_older_append_only_file_is_sent_what_changed_since(
    dsn: str,
    conn: psycopg.Connection,
    amqp_url: str,
    engine: docker.DockerClient,
    keydb_server: servers.Keydb,
) -> None:
    loss_scenario.providers(conn)
    with (
        restorable_keydb.keydb(engine, keydb_server.kind) as server,
        loss_scenario.scenario(amqp_url, server.keydb) as scenario,
        loss_scenario.syncer(dsn, amqp_url, server.keydb.url()) as syncer,
    ):
        scenario.right(conn)
        scenario.right(conn)
        server.stop()
        server.keep()
        server.start()
        for _ in range(3):
            scenario.right(conn)
        conn.execute("UPDATE initial_data SET provider_name = 'Gone' WHERE id = 2")
        scenario.right(conn)
        assert ledger.watermark(scenario.store)[0] == "6"
        with scenario.reader.another_life():
            server.stop()
            server.put_back()
            server.start()
            assert ledger.watermark(scenario.store)[0] == "2"
            assert scenario.store.exists("2_Mastercard")
        before = republished(syncer, "behind")
        scenario.right(conn)
        eventually(lambda: republished(syncer, "behind") == before + 1)
        will_say(syncer, "tick_published", cause="behind", epoch=7)
        assert not scenario.store.exists("2_Mastercard")


@pytest.mark.parametrize("times", [1, 2], ids=["once", "also-of-the-retry"])
def test_a_lost_reply_of_the_script_changes_nothing_twice_and_is_told(
    scenario: loss_scenario.LossScenario,
    dsn: str,
    conn: psycopg.Connection,
    amqp_url: str,
    keydb_server: servers.Keydb,
    *,
    times: int,
) -> None:
    with (
        proxying(keydb_server.url()) as (proxy, url),
        loss_scenario.syncer(dsn, amqp_url, url) as syncer,
    ):
        scenario.right(conn)
        before = applications(scenario.store)
        proxy.lose_reply_to(b"EVALSHA", times)
        scenario.right(conn)
        eventually(lambda: proxy.cuts == times)
        assert applications(scenario.store) == before + 1
        if times == 1:
            will_say(syncer, "tick_published", verdict="done", epoch=2)
            eventually(lambda: syncer.metric(REPEATED) == 1)
        else:
            will_say(syncer, "publication_found", epoch=2)
            eventually(lambda: syncer.metric(RECONNECTS) == 1)
            will_say(syncer, "keydb_not_reached")
        eventually(lambda: noted(conn, scenario.store))
        scenario.right(conn)


def applications(store: "redis.Redis") -> int:
    stats: dict[str, dict[str, int]] = store.info("commandstats")
    return stats["cmdstat_hset"]["calls"]


def noted(conn: psycopg.Connection, store: "redis.Redis") -> bool:
    at = "SELECT extract(epoch FROM published_at)::text FROM tick ORDER BY epoch DESC LIMIT 1"
    shown = store.hget(WATERMARK_KEY, "applied_at_s")
    return conn.execute(at).fetchone() == (shown,)


def test_keydb_away_for_ten_ticks_is_right_as_soon_as_it_is_back(
    scenario: loss_scenario.LossScenario,
    dsn: str,
    conn: psycopg.Connection,
    amqp_url: str,
    keydb_server: servers.Keydb,
) -> None:
    with (
        proxying(keydb_server.url()) as (proxy, url),
        loss_scenario.syncer(dsn, amqp_url, url) as syncer,
    ):
        scenario.right(conn)
        with proxy.down():
            for _ in range(10):
                scenario.written(conn)
            conn.execute("UPDATE initial_data SET provider_name = 'Gone' WHERE id = 2")
            scenario.written(conn)
            assert ledger.watermark(scenario.store)[0] == "1"
            eventually(lambda: syncer.metric(RECONNECTS) >= 11)
        scenario.becomes_right(conn)
        assert ledger.watermark(scenario.store)[0] == "12"
        eventually(lambda: republished(syncer, "behind") == 1)
        will_say(syncer, "tick_published", cause="behind", epoch=12)
        will_say(syncer, "keydb_not_reached")
        scenario.right(conn)


def test_a_publication_whose_sender_died_before_it_could_note_it_is_noted_by_the_next(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    loss_scenario.providers(conn)
    url = keydb_server.url()
    with (
        ledger.keydb_client(url) as client,
        ledger.syncer_of(dsn, KilledAfterApplying(client)) as syncer,
        pytest.raises(Death),
    ):
        syncer.tick(minute(1))
    assert conn.execute("SELECT published_at FROM tick WHERE epoch = 1").fetchone() == (None,)
    with ledger.syncing(dsn, url) as syncer:
        assert syncer.publisher.publish().state == "done"
    assert noted(conn, store)


class Death(Exception):
    """The syncer was killed."""


class KilledAfterApplying(Projection):
    """Dies as soon as KeyDB has applied a publication."""

    def apply(self, publication: Publication) -> ScriptResult:
        super().apply(publication)
        raise Death
