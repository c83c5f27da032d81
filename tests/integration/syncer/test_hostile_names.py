"""A provider may be called anything that Postgres takes: keys, logs and the tool bear it."""

import json
import unicodedata
from collections.abc import Iterator

import psycopg
import pytest
import redis

from tests.support import keydb_rights, ledger, messages, ops_tool, servers
from tests.support.eventually import eventually
from tests.support.ledger import minute
from tests.support.ops_tool import Tool

NAMES = (
    "", "_", ":", "__", "1_Visa", "minutebook:watermark", "*", "?[a-z]", "{tag}", " ", " padded ",
    "a\nb", "\r\n", "\t", "\x1b[2J\x1b[31mred", "\x7f", "\x85", "\x9b31m", "\u2028", "\ufeff",
    "\ufffe", "\u202e\u0645\u0631\u062d\u0628\u0627", "\u200b", "e\u0301", "\u00e9", "\U0001f4b3",
    "\U0010ffff", '"', "'", "\\", "\\n", '{"a": 1}', "[bold]rich[/bold]", "%s%n{}",
    "'; DROP TABLE outbox; --",
    "$0\r\n*1\r\n$8\r\nFLUSHALL\r\n", "NaN", "x" * 10_000, "\U0001f4b3" * 2_500,
)  # fmt: skip


@pytest.fixture
def ops(dsn: str, store: "redis.Redis", keydb_server: servers.Keydb) -> Tool:
    return ops_tool.deployment(dsn, keydb_url=keydb_server.url(keydb_rights.OPERATOR))


@pytest.fixture
def named(conn: psycopg.Connection) -> dict[int, str]:
    """One provider of each name, with one transaction each."""
    found = {ledger.add_provider(conn, name, 1000): name for name in NAMES}
    for number in found:
        ledger.add(conn, number, number)
    return found


def test_a_name_of_any_kind_is_a_key_of_its_own_and_goes_with_its_provider(
    dsn: str,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    named: dict[int, str],
) -> None:
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
        ledger.assert_right(conn, store)
        for number, name in named.items():
            assert store.get(f"{number}_{name}") == str(1000 + number), name[:20]
        conn.execute("UPDATE initial_data SET provider_name = provider_name || '\n'")
        syncer.tick(minute(2))
        ledger.assert_right(conn, store)
        conn.execute("DELETE FROM historical_transactions; DELETE FROM initial_data")
        syncer.tick(minute(3))
        ledger.assert_right(conn, store)
        assert not [key for key in store.scan_iter() if not key.startswith("minutebook:")]


def test_a_nul_is_refused_by_postgres_and_by_the_tool(ops: Tool, conn: psycopg.Connection) -> None:
    with pytest.raises(psycopg.DataError):
        conn.execute("INSERT INTO initial_data VALUES (1, %s, 0)", ["a\0b"])
    with pytest.raises(psycopg.errors.Error):
        conn.execute("INSERT INTO initial_data VALUES (1, E'a\\000b', 0)")


def test_the_tool_shows_them_to_programs_as_they_are_and_to_people_without_controls(
    dsn: str, ops: Tool, named: dict[int, str], keydb_server: servers.Keydb
) -> None:
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
    found = ops.json("balances")["balances"]
    keys = {number: f"{number}_{name}" for number, name in named.items()}
    assert {one["provider_id"]: one["key"] for one in found} == keys
    assert all(one["same"] for one in found)
    for command in (["balances"], ["reconcile"], ["audit", "1"], ["status"]):
        said = ops(*command)
        assert "Traceback" not in said.stderr, command
        assert not dangerous(said.stdout), command
        assert not dangerous(said.stderr), command


def test_providers_are_added_and_renamed_by_such_names(ops: Tool, conn: psycopg.Connection) -> None:
    chosen = [name for name in NAMES if name.strip() and len(name) < 100][::4]
    for number, name in enumerate(chosen, start=1):
        assert ops("provider", "add", "--id", str(number), "--", name, "5").code == 0, name
        said = ops("provider", "rename", str(number), "--", name + "\n")
        assert said.code == 0, name
        assert not dangerous(said.stdout + said.stderr)
    stored = conn.execute("SELECT provider_name FROM initial_data ORDER BY id").fetchall()
    assert stored == [(name + "\n",) for name in chosen]


def test_log_lines_about_them_are_one_json_object_each(
    dsn: str, conn: psycopg.Connection, amqp_url: str, named: dict[int, str]
) -> None:
    with messages.ingest(dsn, amqp_url) as program:
        messages.consuming(program)
        messages.publish(amqp_url, *(messages.body(number, 1) for number in named))
        eventually(lambda: len(messages.rows(conn)) == 2 * len(named))  # one each was there
        messages.queue_drained(program, amqp_url)
        lines = program.logs().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)


def dangerous(text: str) -> list[str]:
    """Return the characters that could steer a terminal: controls and changes of direction."""
    return list(_dangerous(text))


def _dangerous(text: str) -> Iterator[str]:
    for one in text:
        if one != "\n" and unicodedata.category(one) in ("Cc", "Cf"):
            yield f"U+{ord(one):04X}"
