"""Health is bound to progress: who is stuck is unhealthy within a stated time, then recovers.

The times are those of docs/failures.md.
"""

import contextlib
from collections.abc import Iterator

import psycopg
import redis

from services.ingest.writer import STUCK_S
from services.ticker.__main__ import BOUNDARY_GRACE_S
from tests.support import ledger, messages, outages, programs, servers
from tests.support.eventually import eventually
from tests.support.messages import body, rows
from tests.support.outages import reconnects
from tests.support.programs import Program
from tests.support.tcp_proxy import proxying

INTERVAL_S = 1
SLACK_S = 10.0
"""For a machine that is busy with other tests."""


def healthy(program: Program) -> bool:
    return program.health()[0] == 200


@contextlib.contextmanager
def ticking(amqp_url: str) -> Iterator[Program]:
    interval = str(INTERVAL_S)
    with programs.running(
        "services.ticker", RABBITMQ_URL=amqp_url, TICK_INTERVAL_SECONDS=interval
    ) as ticker:
        yield ticker


def test_ingest_whose_writer_waits_for_a_lock_is_unhealthy_and_healthy_again_once_it_is_free(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    messages.add_providers(conn)
    with psycopg.connect(dsn) as other, messages.ingest(dsn, amqp_url) as ingest:
        messages.consuming(ingest)
        eventually(lambda: healthy(ingest))
        other.execute("LOCK TABLE historical_transactions")
        messages.publish(amqp_url, body(1, 600))
        eventually(lambda: '"writer"' in ingest.health()[1], STUCK_S + SLACK_S)
        assert ingest.metric("minutebook_ingest_in_hand_messages") == 1
        assert ingest.metric("minutebook_healthy") == 0
        other.rollback()
        eventually(lambda: rows(conn) == [(1, 600)])
        eventually(lambda: healthy(ingest))
        eventually(lambda: ingest.metric("minutebook_ingest_in_hand_messages") == 0)
        eventually(lambda: ingest.metric("minutebook_healthy") == 1)


def test_while_ingest_tries_again_it_gives_the_reason_of_the_last_attempt(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    nobody = psycopg.conninfo.make_conninfo(dsn, port=outages.free_port())
    with messages.ingest(nobody, amqp_url) as ingest:
        eventually(lambda: reconnects(ingest) >= 2)
        status, said = ingest.health()
        assert status == 503
        assert "refused" in said
        assert "not connected yet" not in said.partition('"writer"')[2].partition(",")[0]


def test_a_ticker_that_misses_a_boundary_is_unhealthy_until_the_next_one_is_published(
    amqp_url: str,
) -> None:
    with proxying(amqp_url) as (proxy, url), ticking(url) as ticker:
        eventually(lambda: ticker.metric("minutebook_ticks_published_total") >= 1)
        eventually(lambda: healthy(ticker))
        held = proxy.hold(b"interval_s")
        assert held.done.wait(INTERVAL_S + SLACK_S)
        eventually(lambda: not healthy(ticker), INTERVAL_S + BOUNDARY_GRACE_S + SLACK_S)
        proxy.release()
        eventually(lambda: healthy(ticker))


def test_a_ticker_that_is_cut_off_says_so_at_once_and_is_healthy_after_the_next_boundary(
    amqp_url: str,
) -> None:
    with proxying(amqp_url) as (proxy, url), ticking(url) as ticker:
        eventually(lambda: ticker.metric("minutebook_ticks_published_total") >= 1)
        with proxy.down():
            eventually(lambda: "rabbitmq" in ticker.health()[1], SLACK_S)
        eventually(lambda: healthy(ticker))


def test_a_syncer_whose_keydb_is_away_is_unhealthy_after_two_intervals_and_healthy_once_it_is_back(
    dsn: str,
    conn: psycopg.Connection,
    amqp_url: str,
    keydb_server: servers.Keydb,
    store: "redis.Redis",
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    with (
        proxying(keydb_server.url()) as (proxy, url),
        programs.running(
            "services.syncer", POSTGRES_DSN=dsn, RABBITMQ_URL=amqp_url, KEYDB_URL=url
        ) as syncer,
        ticking(amqp_url),
    ):
        eventually(lambda: ledger.shown(store) == {"1_Visa": "1000"})
        eventually(lambda: healthy(syncer))
        with proxy.down():
            eventually(lambda: '"watermark"' in syncer.health()[1], 2 * INTERVAL_S + 1 + SLACK_S)
            # It goes on writing them.
            eventually(lambda: '"tick"' not in syncer.health()[1])
            assert syncer.metric("minutebook_watermark_age_seconds") > 2 * INTERVAL_S
        eventually(lambda: healthy(syncer))
        assert syncer.metric("minutebook_watermark_age_seconds") < 2 * INTERVAL_S + SLACK_S


def test_a_syncer_that_stands_by_sees_what_the_other_shows(
    dsn: str,
    conn: psycopg.Connection,
    amqp_url: str,
    keydb_server: servers.Keydb,
    store: "redis.Redis",
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    environment = {"POSTGRES_DSN": dsn, "RABBITMQ_URL": amqp_url, "KEYDB_URL": keydb_server.url()}
    with (
        programs.running("services.syncer", **environment) as one,
        programs.running("services.syncer", **environment) as other,
    ):
        eventually(lambda: healthy(one) and healthy(other))
        with ticking(amqp_url) as ticker:
            eventually(lambda: ticker.metric("minutebook_ticks_published_total") >= 6)
            eventually(lambda: max(age(one), age(other)) < 2 * INTERVAL_S + 1)
            eventually(lambda: healthy(one) and healthy(other))
    assert ledger.shown(store) == {"1_Visa": "1000"}


def age(syncer: Program) -> float:
    return syncer.metric("minutebook_watermark_age_seconds")
