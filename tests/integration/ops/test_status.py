"""`ops status`: what is wrong is said, whatever is down."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis

from services.syncer.projection import WATERMARK_KEY
from shared import postgres
from shared.amqp.ticks import QUEUE as TICK_QUEUE
from tests.support import keydb_rights, ledger, messages, ops_tool, programs, servers
from tests.support.eventually import eventually
from tests.support.ops_tool import Done, Tool

SERVERS = ("postgres", "rabbitmq", "keydb")


@pytest.fixture
def ops(dsn: str, amqp_url: str, store: "redis.Redis", keydb_server: servers.Keydb) -> Tool:
    """The tool against real servers on which nothing of ours runs."""
    return ops_tool.deployment(dsn, amqp_url, keydb_server.url(keydb_rights.OPERATOR))


def about(document: Any, level: str = "wrong") -> set[str]:
    return {one["about"] for one in document["findings"] if one["level"] == level}


def said(document: Any) -> str:
    return "\n".join(one["says"] for one in document["findings"])


@contextlib.contextmanager
def services(ops: Tool) -> Iterator[None]:
    settings = ops.settings | {"TICK_INTERVAL_SECONDS": "1"}
    with (
        programs.running("services.ingest", **settings),
        programs.running("services.ticker", **settings),
        programs.running("services.syncer", **settings),
    ):
        yield


def healthy(ops: Tool, *options: str) -> Done:
    """Wait until nothing is wrong; returns what was said then."""

    def probe() -> Done | None:
        done = ops("status", *options, TICK_INTERVAL_SECONDS="1")
        return done if done.code == 0 else None

    found = eventually(probe)
    assert found
    return found


def test_all_is_healthy_where_all_services_run(ops: Tool, conn: psycopg.Connection) -> None:
    messages.add_providers(conn)
    with services(ops):
        seen = healthy(ops, "--json").document
        said = healthy(ops)

    assert seen["ok"]
    assert seen["findings"] == []
    assert seen["postgres"]["schema"] == postgres.SCHEMA_NEEDED
    assert seen["postgres"]["tick"]["epoch"] >= 1
    assert seen["rabbitmq"]["transactions"]["consumers"] == 1
    assert seen["rabbitmq"]["ticks"]["consumers"] == 1
    assert seen["keydb"]["keys"] == len(messages.PROVIDERS)
    assert seen["keydb"]["known"]
    assert "Nothing wrong was found." in said.stdout
    assert len(seen["not_asked"]) == 2


def test_all_is_healthy_where_ingest_reads_a_stream_whose_readers_no_broker_names(
    ops: Tool,
) -> None:
    reading = Tool(ops.settings | {"TICK_INTERVAL_SECONDS": "1", "INGEST_STREAM": "kept"})
    with services(reading):
        healthy(reading)
        assert reading("send", "1=600").code == 0
        # The broker says how many it keeps, but some seconds later.
        eventually(lambda: "1 message kept" in reading("status").stdout)

        assert healthy(reading, "--json").document["ok"]


@pytest.mark.parametrize("down", SERVERS)
def test_a_server_that_is_down_is_a_line_and_the_others_are_still_seen(
    ops: Tool, down: str
) -> None:
    setting = {"postgres": "POSTGRES_DSN", "rabbitmq": "RABBITMQ_URL", "keydb": "KEYDB_URL"}[down]
    nowhere = {setting: ops_tool.deployment().settings[setting]}

    seen = ops.json("status", code=1, **nowhere)
    said = ops("status", **nowhere)

    assert set(seen[down]) == {"error"}
    assert all("version" in seen[other] for other in SERVERS if other != down)
    assert down in about(seen)
    assert "no answer" in said.stdout
    assert f"see whether {down} runs and can be reached from here" in said.stdout
    assert "docker" not in said.stdout
    assert "Traceback" not in said.stdout + said.stderr


def test_a_host_name_that_nobody_knows_is_a_server_that_is_down(ops: Tool) -> None:
    # A stopped container is that: its name goes with it.
    seen = ops.json(
        "status",
        code=1,
        POSTGRES_DSN="postgresql://user:password@nowhere.invalid/minutebook",
        RABBITMQ_URL="amqp://user:password@nowhere.invalid/%2F",
        KEYDB_URL="redis://nowhere.invalid/0",
    )

    assert all(set(seen[server]) == {"error"} for server in SERVERS)
    assert seen["rabbitmq"]["error"] == "gaierror (host name not found)"


def test_nobody_at_work_is_said_with_what_to_start(ops: Tool) -> None:
    seen = ops.json("status", code=1)

    assert {"queue", "syncer"} <= about(seen)
    assert seen["rabbitmq"]["ticks"] is None


def test_a_watermark_that_this_database_never_wrote_is_wrong(
    ops: Tool, dsn: str, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    with ledger.syncing(dsn, ops.settings["KEYDB_URL"]) as syncer:
        syncer.tick(ledger.minute(1))
    assert ops.json("status", code=1)["keydb"]["known"]
    store.hset(WATERMARK_KEY, "token", "of another life")

    seen = ops.json("status", code=1)

    assert seen["keydb"]["known"] is False
    assert any("never wrote" in one["says"] for one in seen["findings"])


def test_ticks_that_stopped_are_said_with_their_age(ops: Tool, dsn: str, amqp_url: str) -> None:
    with ledger.syncing(dsn, ops.settings["KEYDB_URL"]) as syncer:
        syncer.tick(ledger.minute(1))

    seen = ops.json("status", code=1)

    assert {"tick", "keydb"} <= about(seen)
    assert seen["postgres"]["interval_s"] is None
    assert seen["interval_s"] == 60


def test_rows_and_dead_letters_that_wait_are_counted(ops: Tool, conn: psycopg.Connection) -> None:
    messages.add_providers(conn)
    with messages.ingest_connection(ops.settings["POSTGRES_DSN"]) as writer:
        messages.store_batch(
            writer,
            [
                messages.received(messages.body(), "fits"),
                messages.received(b"no", "unfit", tag=2),
                messages.received(messages.body(77), "early", tag=3),
            ],
        )

    seen = ops.json("status", code=1)

    assert seen["postgres"]["unfolded_rows"] == 1 + len(messages.PROVIDERS)
    assert {(one["state"], one["reason"]) for one in seen["postgres"]["dead"]} == {
        ("open", "not_json"),
        ("waiting", "unknown_provider"),
    }
    assert "dead letters" in about(seen)
    assert "dead letters" in about(seen, "note")


def test_a_database_that_was_never_migrated_is_told_how(ops: Tool, empty_dsn: str) -> None:
    seen = ops.json("status", code=1, POSTGRES_DSN=empty_dsn)

    assert seen["postgres"]["schema"] == 0
    assert any("python -m migrations" in one["do"] for one in seen["findings"])
    assert 'no table schema_migration in the search_path ("$user", public)' in said(seen)


def test_a_search_path_that_leaves_our_schema_out_is_said_and_which_one_it_is(
    ops: Tool, dsn: str, conn: psycopg.Connection
) -> None:
    conn.execute("CREATE SCHEMA theirs")
    elsewhere = {"POSTGRES_DSN": f"{dsn}?options=-csearch_path%3Dtheirs"}
    database = conn.info.dbname

    seen = ops.json("status", code=1, **elsewhere)
    checked = ops("doctor", **elsewhere)
    refused = ops("balances", **elsewhere)

    says = (
        f"no table schema_migration in the search_path (theirs) of database {database}:"
        " there is one in schema public, name it in the search_path"
    )
    assert says in said(seen)
    assert says in " ".join(checked.stdout.split())
    assert " ".join(refused.stderr.split()) == f"refused: {says}"


def test_every_look_of_a_watch_is_a_json_document_in_a_line_of_its_own(ops: Tool) -> None:
    done = ops.shell("ops status --watch --every 0.2 --json | head -2")

    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert (done.code, done.stderr) == (1, "")
    assert not first["ok"]
    assert first.keys() == second.keys()
    assert first["looked_at"] < second["looked_at"]


def test_a_setting_that_is_wrong_is_named_and_ends_with_2(ops: Tool) -> None:
    done = ops("status", POSTGRES_DSN="no dsn")

    assert done.code == 2
    assert "POSTGRES_DSN" in done.stderr


def test_looking_declares_nothing(ops: Tool, amqp_url: str) -> None:
    ops("status")

    with pytest.raises(Exception, match="404"), messages.channel(amqp_url) as channel:
        channel.queue_declare(TICK_QUEUE, passive=True)


def test_ingest_that_waits_for_a_lock_is_said_though_no_message_is_ready(
    ops: Tool, conn: psycopg.Connection
) -> None:
    messages.add_providers(conn)
    with services(ops):
        healthy(ops)
        with conn.transaction():
            conn.execute("LOCK TABLE historical_transactions IN EXCLUSIVE MODE")
            ops("send", "1=5")
            eventually(lambda: "ingest" in about(ops("status", "--json").document))


def test_where_services_are_must_be_names_with_ports(ops: Tool) -> None:
    done = ops("status", OPS_SERVICES="ingest")

    assert done.code == 2
    assert "OPS_SERVICES" in done.stderr
