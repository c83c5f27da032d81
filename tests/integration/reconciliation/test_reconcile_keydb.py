"""KeyDB held against the balances of the tick that it shows: silent, exact, and never mixed."""

import psycopg
import pytest
import redis

from reconciliation import reconcile
from reconciliation.drift import KeydbDrift
from services.syncer import publish_store
from services.syncer.core import ObservedWatermark
from services.syncer.projection import KEYS_KEY, WATERMARK_KEY, Projection, WatermarkChanged
from services.syncer.service import Syncer
from shared import keydb
from tests.support import ledger, servers
from tests.support.ledger import add, minute
from tests.support.tcp_proxy import proxying


@pytest.mark.parametrize(
    ("command", "drifts"),
    [
        (("SET", "1_Visa", "1"), {KeydbDrift("1_Visa", "1300", "1", listed=True)}),
        (("DEL", "1_Visa"), {KeydbDrift("1_Visa", "1300", None, listed=True)}),
        (("SADD", KEYS_KEY, "9_Gone"), {KeydbDrift("9_Gone", None, None, listed=True)}),
        (("SREM", KEYS_KEY, "1_Visa"), {KeydbDrift("1_Visa", "1300", "1300", listed=False)}),
        (("MSET", "1_Visa", "x", "y", "z"), {KeydbDrift("1_Visa", "1300", "x", listed=True)}),
        (("DEL", KEYS_KEY), {
            KeydbDrift("1_Visa", "1300", "1300", listed=False),
            KeydbDrift("2_Mastercard", "1800", "1800", listed=False),
        }),
    ],
)  # fmt: skip
def test_a_key_that_is_not_what_its_tick_wrote_is_named(
    ours: psycopg.Connection,
    syncer: Syncer,
    store: "redis.Redis",
    projection: Projection,
    *,
    command: tuple[str, ...],
    drifts: set[KeydbDrift],
) -> None:
    store.execute_command(*command)  # type: ignore[no-untyped-call]
    report = reconcile.run(ours, projection)
    assert set(report.keydb.drifts) == drifts
    assert report.keydb.drifting == {one.key for one in drifts}
    assert report.drifting == len(drifts)
    assert not report.ledger.drifting


def test_a_store_that_is_behind_is_held_against_the_tick_it_shows(
    ours: psycopg.Connection, conn: psycopg.Connection, syncer: Syncer, projection: Projection
) -> None:
    add(conn, 1, 5)
    with conn.transaction():
        ledger.tick_within(conn, minute(2))  # not published
    report = reconcile.run(ours, projection)
    assert (report.drifting, report.keydb.epoch, report.ledger.epoch) == (0, 1, 2)


@pytest.mark.parametrize("token", ["", "of-another-life", "partial:x"])
def test_a_store_that_shows_no_tick_of_ours_is_not_compared(
    ours: psycopg.Connection,
    syncer: Syncer,
    store: "redis.Redis",
    projection: Projection,
    token: str,
) -> None:
    store.hset(WATERMARK_KEY, "token", token)
    store.set("1_Visa", "wrong")
    report = reconcile.run(ours, projection)
    assert (report.keydb.state, report.drifting) == ("unknown", 0)


def test_a_store_that_is_away_leaves_the_accounts_in_postgres_to_be_compared(
    ours: psycopg.Connection,
    conn: psycopg.Connection,
    syncer: Syncer,
    keydb_server: servers.Keydb,
) -> None:
    conn.execute("UPDATE balance SET balance = 7 WHERE provider_id = 1")
    with proxying(keydb_server.url()) as (proxy, url), ledger.keydb_client(url) as client:
        with proxy.down():
            report = reconcile.run(ours, Projection(client))
        assert (report.keydb.state, set(report.ledger.drifting)) == ("unreachable", {1})


class Restless(Projection):
    """Publishes a tick whenever the store is about to be read."""

    def __init__(self, client: keydb.Client, syncer: Syncer, *, times: int) -> None:
        super().__init__(client)
        self._syncer = syncer
        self._left = times
        self._minute = 1

    def keys(self, found: ObservedWatermark) -> set[str]:
        if self._left:
            self._left -= 1
            self._minute += 1
            self._syncer.tick(minute(self._minute))
        return super().keys(found)


@pytest.mark.parametrize(("times", "state"), [(1, "compared"), (4, "compared"), (5, "moving")])
def test_a_store_that_is_published_to_meanwhile_is_read_again_and_never_mixed(
    ours: psycopg.Connection,
    syncer: Syncer,
    keydb_server: servers.Keydb,
    *,
    times: int,
    state: str,
) -> None:
    with ledger.keydb_client(keydb_server.url()) as client:
        report = reconcile.run(ours, Restless(client, syncer, times=times))
    assert (report.keydb.state, report.drifting) == (state, 0)


def test_a_watermark_that_changes_between_two_parts_is_noticed(
    dsn: str,
    ours: psycopg.Connection,
    conn: psycopg.Connection,
    syncer: Syncer,
    projection: Projection,
) -> None:
    conn.execute(
        "INSERT INTO initial_data (provider_name, initial_value)"
        " SELECT 'p', v FROM generate_series(1, 2500) v"
    )
    syncer.tick(minute(2))
    assert reconcile.run(ours, projection).keydb.keys == 2502
    found = projection.read()
    parts = projection.values(found, sorted(publish_store.everything(conn, 2)))
    assert len(next(parts)) == 1000
    syncer.tick(minute(3))
    with pytest.raises(WatermarkChanged):
        next(parts)
