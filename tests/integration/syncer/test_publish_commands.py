"""The checked list of commands is enough for every kind of publication, and holds none too many."""

import uuid
from collections.abc import Iterator

import psycopg
import pytest
import redis

from services.syncer.projection import WATERMARK_KEY
from tests.support import keydb_rights, ledger, servers
from tests.support.ledger import add, minute

USED = {*keydb_rights.SENT, *keydb_rights.IN_THE_SCRIPT}

pytestmark = servers.on_both_stores


def allow(store: "redis.Redis", name: str, *rules: str) -> None:
    store.execute_command("ACL", "SETUSER", name, *rules)  # type: ignore[no-untyped-call]


@pytest.fixture
def limited_url(store: "redis.Redis", keydb_server: servers.Keydb) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex}"
    allow(store, name, *keydb_rights.RULES)
    try:
        yield keydb_server.url().replace(keydb_rights.USER, name)
    finally:
        store.acl_deluser(name)


def test_every_kind_of_publication_needs_no_other_commands(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    store.script_flush()
    with ledger.syncing(dsn, keydb_server.url(), chunk=2) as syncer:
        syncer.tick(minute(1))
        ledger.assert_right(conn, store)
        add(conn, visa, 5)
        conn.execute("UPDATE initial_data SET provider_name = 'V'")
        for name in ("a", "b", "c"):
            ledger.add_provider(conn, name)
        syncer.tick(minute(2))
        ledger.assert_right(conn, store)
        store.delete(WATERMARK_KEY)
        store.set(WATERMARK_KEY, "wrong type")
        syncer.tick(minute(3))
        ledger.assert_right(conn, store)
        store.hset(WATERMARK_KEY, "token", "unknown")
        syncer.tick(minute(4))
        ledger.assert_right(conn, store)


def test_the_user_of_our_services_may_do_nothing_else(
    store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    with ledger.keydb_client(keydb_server.url()) as ours:
        for command in ("FLUSHALL", "KEYS *", "SCAN 0", "CONFIG GET save", "GET 1_Visa"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                ours.execute_command(*command.split())  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("command", sorted(USED))
def test_each_of_these_commands_is_really_used(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", limited_url: str, command: str
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    name = limited_url.removeprefix("redis://").partition(":")[0]
    store.script_flush()
    allow(store, name, f"-{command[1:].partition('|')[0]}")
    with ledger.syncing(dsn, limited_url) as syncer:
        behind = syncer.tick(minute(1)).behind
        conn.execute("UPDATE initial_data SET provider_name = 'V' WHERE id = %s", [visa])
        assert behind or syncer.tick(minute(2)).behind
