"""Publications in chunks: a crash in the middle shows, and the next one sends everything."""

from collections.abc import Iterator

import psycopg
import pytest
import redis

from services.syncer.core import PARTIAL_PREFIX, Publication, Watermark
from services.syncer.projection import KEYS_KEY, WATERMARK_KEY, Projection, ScriptResult
from services.syncer.service import Syncer
from shared import keydb
from tests.support import ledger, servers
from tests.support.ledger import minute

CHUNK = 10
PROVIDERS = 35

pytestmark = servers.on_both_stores


class Crash(Exception):
    """The syncer was killed."""


class Crashing(Projection):
    """Dies before the chunk of that number (the first is 1) is sent."""

    def __init__(self, client: keydb.Client, *, before: int) -> None:
        super().__init__(client, chunk=CHUNK)
        self._left = before

    def _run(
        self,
        expected: tuple[str, str],
        target: Watermark,
        changes: list[tuple[str, str | None]],
        hint: str = "",
    ) -> ScriptResult:
        self._left -= 1
        if self._left == 0:
            raise Crash
        return super()._run(expected, target, changes, hint)


@pytest.fixture
def syncer(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> Iterator[Syncer]:
    conn.execute(
        "INSERT INTO initial_data (provider_name, initial_value)"
        " SELECT 'p', v FROM generate_series(1, %s) v",
        [PROVIDERS],
    )
    with ledger.syncing(dsn, keydb_server.url(), chunk=CHUNK) as syncer:
        yield syncer


def change_all(conn: psycopg.Connection) -> None:
    conn.execute("UPDATE initial_data SET initial_value = initial_value + 1000")
    conn.execute("DELETE FROM initial_data WHERE id > %s", [PROVIDERS - 3])


def crash_in_tick(dsn: str, url: str, *, before: int) -> None:
    """Have a syncer of its own begin the next tick, and die before the chunk of that number."""
    with (
        ledger.keydb_client(url) as client,
        ledger.syncer_of(dsn, Crashing(client, before=before)) as syncer,
        pytest.raises(Crash),
    ):
        syncer.tick(minute(2))


def test_many_keys_in_chunks_are_right_at_the_end(
    syncer: Syncer, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    syncer.tick(minute(1))
    ledger.assert_right(conn, store)
    change_all(conn)
    syncer.tick(minute(2))
    ledger.assert_right(conn, store)


@pytest.mark.parametrize("before", [2, 3, 4])
def test_a_crash_between_chunks_leaves_a_partial_watermark_and_then_all_is_sent(
    syncer: Syncer,
    dsn: str,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    *,
    before: int,
) -> None:
    syncer.tick(minute(1))
    shown = ledger.watermark(store)
    change_all(conn)
    crash_in_tick(dsn, keydb_server.url(), before=before)
    epoch, token = ledger.watermark(store)
    assert epoch == shown[0]
    assert token.startswith(PARTIAL_PREFIX)
    store.set("1_p", "wrong, and not changed since the last tick")
    syncer.tick(minute(3))
    ledger.assert_right(conn, store)


def test_a_crash_before_the_first_chunk_leaves_the_store_as_it_was(
    syncer: Syncer,
    dsn: str,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
) -> None:
    syncer.tick(minute(1))
    before = (ledger.shown(store), ledger.watermark(store))
    change_all(conn)
    crash_in_tick(dsn, keydb_server.url(), before=1)
    assert (ledger.shown(store), ledger.watermark(store)) == before
    assert syncer.publisher.publish().state == "applied"
    ledger.assert_right(conn, store)


def test_a_sender_overtaken_between_its_chunks_mixes_nothing_into_the_newer_tick(
    syncer: Syncer,
    dsn: str,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
) -> None:
    syncer.tick(minute(1))
    change_all(conn)

    class Overtaken(Projection):
        """Sleeps after its second chunk while the other syncer publishes a later tick."""

        def _run(
            self,
            expected: tuple[str, str],
            target: Watermark,
            changes: list[tuple[str, str | None]],
            hint: str = "",
        ) -> ScriptResult:
            sent.append(target)
            if len(sent) == 3:
                conn.execute("UPDATE initial_data SET initial_value = initial_value + 50")
                assert syncer.tick(minute(3)).state == "applied"
                applied.append(ledger.shown(store))
            return super()._run(expected, target, changes, hint)

    sent: list[Watermark] = []
    applied: list[dict[str, str]] = []
    with (
        ledger.keydb_client(keydb_server.url()) as client,
        ledger.syncer_of(dsn, Overtaken(client, chunk=CHUNK)) as sleeper,
    ):
        assert sleeper.tick(minute(2)).state == "done"
    assert applied == [ledger.shown(store)]
    ledger.assert_right(conn, store)


def test_two_senders_of_the_same_tick_do_not_take_each_others_claim_for_their_own(
    store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    target = Watermark(1, "one", "2020-01-01T00:01:00Z")
    values = {f"{number}_p": "1" for number in range(CHUNK + 1)}
    with ledger.keydb_client(keydb_server.url()) as client:
        found = Projection(client).read()
        publication = Publication(found, target, values, (), "missing")
        with pytest.raises(Crash):
            Crashing(client, before=2).apply(publication)
        assert Projection(client, chunk=CHUNK).apply(publication).outcome == "fenced"
    assert store.scard(KEYS_KEY) == CHUNK
    assert str(store.hget(WATERMARK_KEY, "token")).startswith(PARTIAL_PREFIX)
