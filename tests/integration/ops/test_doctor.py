"""`ops doctor`: a setting that is wrong on a real server is found, with what to change."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pika
import psycopg
import pytest
import redis

from shared.amqp import ticks
from tests.support import http_gateway, keydb_rights, messages, ops_tool, servers
from tests.support.eventually import eventually
from tests.support.http_gateway import EXCHANGE
from tests.support.ops_tool import Tool
from tests.support.servers import PASSWORD, USER

LIMIT = ("rabbitmq", "delivery limit")


@pytest.fixture
def ops(
    dsn: str, amqp_url: str, store: "redis.Redis", keydb_server: servers.Keydb
) -> Iterator[Tool]:
    """The tool against servers as compose sets them up, without the management page."""
    messages.publish(amqp_url)
    yield ops_tool.deployment(dsn, amqp_url, keydb_server.url(keydb_rights.OPERATOR))
    for name, value in (("maxmemory-policy", "noeviction"), ("appendonly", "yes")):
        store.config_set(name, value)


@pytest.fixture
def managed(ops: Tool, rabbitmq_server: servers.Rabbitmq) -> Tool:
    """The tool with the management page."""
    page = f"http://{USER}:{PASSWORD}@127.0.0.1:{rabbitmq_server.management_port}"
    return Tool(ops.settings | {"RABBITMQ_MANAGEMENT_URL": page})


def set_policy(
    ops: Tool, server: servers.Rabbitmq, name: str, queue: str, /, **definition: int
) -> None:
    vhost = urlsplit(ops.settings["RABBITMQ_URL"]).path[1:]
    policy = {"pattern": f"^{queue}$", "apply-to": "queues", "priority": len(definition)}
    server.manage("PUT", f"policies/{vhost}/{name}", policy | {"definition": definition})


def found_at_last(ops: Tool, name: str, value: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Wait for the page to show a policy: it learns of it within seconds."""

    def probe() -> Any:
        made = ops("doctor", "--json").document["checks"]
        found = {(one["server"], one["name"]): one for one in made}
        return found if found.get(("rabbitmq", name), {}).get("found") == value else None

    seen: dict[tuple[str, str], dict[str, Any]] = eventually(probe)
    return seen


def checks(ops: Tool, code: int, **settings: str) -> dict[tuple[str, str], dict[str, Any]]:
    found = ops.json("doctor", code=code, **settings)
    assert found["ok"] is (code == 0)
    return {(one["server"], one["name"]): one for one in found["checks"]}


def failing(ops: Tool) -> set[tuple[str, str]]:
    found = checks(ops, 1)
    assert all(one["advice"] for one in found.values() if one["verdict"] != "ok")
    return {name for name, one in found.items() if one["verdict"] == "fail"}


def test_servers_as_compose_sets_them_up_pass(ops: Tool) -> None:
    found = checks(ops, 0)

    for name in (
        "fsync", "synchronous_commit", "triggers", "clock", "ids of outbox", "schema",
        "identities' index",
    ):  # fmt: skip
        assert found["postgres", name]["verdict"] == "ok", name
    for name in ("maxmemory-policy", "appendonly", "appendfsync", "active-replica", "clock"):
        assert found["keydb", name]["verdict"] == "ok", name
    assert "what" in ops("doctor").stdout


def test_a_store_that_evicts_or_forgets_is_found(ops: Tool, store: "redis.Redis") -> None:
    store.config_set("maxmemory-policy", "allkeys-lru")
    assert failing(ops) == {("keydb", "maxmemory-policy")}
    store.config_set("maxmemory-policy", "noeviction")
    store.config_set("appendonly", "no")

    assert checks(ops, 0)["keydb", "appendonly"]["verdict"] == "warn"


def test_a_trigger_that_is_disabled_or_gone_is_found(ops: Tool, conn: psycopg.Connection) -> None:
    conn.execute("ALTER TABLE historical_transactions DISABLE TRIGGER minutebook_updated")
    conn.execute("DROP TRIGGER minutebook_truncated ON initial_data")

    found = checks(ops, 1)["postgres", "triggers"]

    assert "minutebook_updated on historical_transactions" in found["found"]
    assert "minutebook_truncated on initial_data" in found["found"]


def test_tables_that_changed_so_that_they_would_lose_messages_are_found(
    ops: Tool, conn: psycopg.Connection
) -> None:
    conn.execute("ALTER TABLE historical_transactions SET UNLOGGED")
    conn.execute(
        "ALTER TABLE historical_transactions DROP CONSTRAINT historical_transactions_message_id_key"
    )
    conn.execute("ALTER TABLE outbox ENABLE ROW LEVEL SECURITY")

    assert failing(ops) == {
        ("postgres", name) for name in ("tables", "message ids", "row-level security")
    }


def test_a_service_with_the_owners_rights_is_found(ops: Tool, dsn: str) -> None:
    what = ("postgres", "services' rights")
    with psycopg.connect(dsn, application_name="minutebook-syncer"):
        assert checks(ops, 0)[what]["found"] == "the owner's: syncer as user"
    assert checks(ops, 0)[what]["verdict"] == "ok"


def test_commits_that_may_be_lost_are_found(ops: Tool, conn: psycopg.Connection) -> None:
    name = conn.info.dbname
    conn.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')

    assert failing(ops) == {("postgres", "synchronous_commit")}


def test_a_postgres_that_takes_no_writes_is_found(ops: Tool, conn: psycopg.Connection) -> None:
    name = conn.info.dbname
    conn.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')

    found = checks(ops, code=1)

    assert found["postgres", "transaction_read_only"]["verdict"] == "fail"


def test_ids_that_run_out_are_found(ops: Tool, conn: psycopg.Connection) -> None:
    conn.execute("ALTER TABLE historical_transactions ALTER COLUMN id TYPE integer")
    conn.execute("SELECT setval(minutebook_id_sequence('historical_transactions'), 2147483000)")

    assert failing(ops) == {("postgres", "ids of historical_transactions")}


def test_what_is_open_and_what_lies_in_the_default_partition_is_found(
    ops: Tool, conn: psycopg.Connection
) -> None:
    conn.execute(
        "INSERT INTO outbox (provider_id, amount, operation, created_at)"
        " VALUES (1, 0, 'added', now() - interval '1 year')"
    )

    assert checks(ops, 0)["postgres", "outbox default partition"]["verdict"] == "warn"


def test_a_queue_that_drops_messages_is_found_and_one_that_does_not_passes(
    managed: Tool, rabbitmq_server: servers.Rabbitmq
) -> None:
    set_policy(managed, rabbitmq_server, "ours", messages.QUEUE, **{"delivery-limit": -1})

    found = found_at_last(managed, "delivery limit", "-1")
    assert found[LIMIT]["verdict"] == "ok"
    assert found["rabbitmq", "queue type"]["found"] == "quorum"
    assert {one["verdict"] for one in found.values()} <= {"ok", "warn"}

    dropping = {"delivery-limit": 20, "message-ttl": 1000}
    set_policy(managed, rabbitmq_server, "theirs", messages.QUEUE, **dropping)
    found = found_at_last(managed, "delivery limit", "20")
    assert {name for name, one in found.items() if one["verdict"] == "fail"} == {
        LIMIT,
        ("rabbitmq", "message-ttl"),
    }
    assert "set_policy" in found[LIMIT]["advice"]


def test_a_queue_of_ticks_that_drops_them_is_a_warning(
    managed: Tool, rabbitmq_server: servers.Rabbitmq, amqp_url: str
) -> None:
    set_policy(managed, rabbitmq_server, "theirs", ticks.QUEUE, **{"delivery-limit": 20})
    with pika.BlockingConnection(pika.URLParameters(amqp_url)) as connection:
        connection.channel().queue_declare(
            ticks.QUEUE, durable=True, arguments=ticks.QUEUE_ARGUMENTS
        )

    found = found_at_last(managed, f"delivery limit of {ticks.QUEUE}", "20")

    assert found["rabbitmq", f"delivery limit of {ticks.QUEUE}"]["verdict"] == "warn"


def test_an_exchange_of_the_gateways_that_leads_nowhere_is_found_once_there_is_a_tracker(
    managed: Tool, rabbitmq_server: servers.Rabbitmq, conn: psycopg.Connection, amqp_url: str
) -> None:
    set_policy(managed, rabbitmq_server, "ours", ".*", **{"delivery-limit": -1})
    exchange, bindings = (
        ("rabbitmq", "exchange gateway"),
        ("rabbitmq", "bindings of exchange gateway"),
    )
    assert exchange not in checks(managed, 0)

    conn.execute(
        "INSERT INTO follower (name, epoch, token, moved_at) VALUES ('tracker', 1, 't', now())"
    )
    assert checks(managed, 0)[exchange]["found"] == "missing"

    with http_gateway.queues(amqp_url) as queues:
        found = checks(managed, 0)
        assert (found[exchange]["verdict"], found[bindings]["verdict"]) == ("ok", "ok")
        queues.channel.queue_unbind("sightings", EXCHANGE, "sightings")
        assert checks(managed, 0)[bindings]["found"] == "none to sightings"


def test_without_the_management_page_it_says_what_was_not_checked(ops: Tool) -> None:
    found = checks(ops, 0)
    wrong = checks(ops, 0, RABBITMQ_MANAGEMENT_URL="http://user:no@127.0.0.1:9")

    assert found["rabbitmq", "queue type, delivery limit, alarms"]["found"] == "not checked"
    assert wrong["rabbitmq", "management page"]["verdict"] == "warn"
    assert ops("doctor", RABBITMQ_MANAGEMENT_URL="ftp://x").code == 2


def test_servers_that_are_down_fail_and_hide_nothing_of_the_others(ops: Tool) -> None:
    nowhere = ops_tool.deployment().settings
    found = checks(ops, 1, RABBITMQ_URL=nowhere["RABBITMQ_URL"], KEYDB_URL=nowhere["KEYDB_URL"])

    assert found["rabbitmq", "answers"]["verdict"] == "fail"
    assert found["keydb", "answers"]["verdict"] == "fail"
    assert found["postgres", "fsync"]["verdict"] == "ok"


def test_a_database_without_our_schema_says_to_migrate(ops: Tool, empty_dsn: str) -> None:
    found = checks(ops, 1, POSTGRES_DSN=empty_dsn)

    assert "python -m migrations" in found["postgres", "schema"]["advice"]
