"""`ops status`: an ingest that is in trouble is said, with what helps."""

import socket
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import redis

from ops.status import replicas
from ops.status.snapshot import CLOSED
from shared import health
from shared.health import Health
from tests.support import keydb_rights, messages, ops_tool, refusing_trigger, servers
from tests.support.eventually import TIMEOUT_S, eventually
from tests.support.ops_tool import Tool


@pytest.fixture
def ops(dsn: str, amqp_url: str, store: "redis.Redis", keydb_server: servers.Keydb) -> Tool:
    """The tool against real servers on which nothing of ours runs."""
    return ops_tool.deployment(dsn, amqp_url, keydb_server.url(keydb_rights.OPERATOR))


def test_a_full_disk_of_postgres_is_said_with_what_helps_though_it_still_answers(
    ops: Tool, dsn: str, amqp_url: str, conn: psycopg.Connection
) -> None:
    messages.add_providers(conn)
    refusing_trigger.create(conn, "53100")
    with messages.ingest(dsn, amqp_url) as ingest:
        messages.publish(amqp_url, messages.body())
        eventually(lambda: "53100" in ingest.health()[1])
        # Nobody listens at the second port.
        places = f"127.0.0.1:{ingest.port()} {ops_tool.NOWHERE} nowhere.invalid:9102"
        seen = ops.json("status", code=1, OPS_SERVICES=places)
        said = ops("status", OPS_SERVICES=places).stdout
        refusing_trigger.drop(conn)
        eventually(lambda: messages.rows(conn) == [(1, 600)])
        eventually(lambda: ingest.health()[0] == 200)
        after = ops.json("status", code=1, OPS_SERVICES=places)

    full, *others = seen["services"]
    assert "53100" in full["problems"]["writer"]
    assert [one["error"] != "" for one in others] == [True, True]
    assert any("df -h" in one["do"] and "53100" in one["says"] for one in seen["findings"])
    assert "df -h" in said
    assert after["services"][0]["problems"] == {}


def test_a_message_stuck_in_ingests_hand_is_wrong_though_nobody_was_asked_but_the_broker(
    ops: Tool, amqp_url: str, rabbitmq_server: servers.Rabbitmq
) -> None:
    page = f"http://{servers.USER}:{servers.PASSWORD}@127.0.0.1:{rabbitmq_server.management_port}"
    managed = Tool(ops.settings | {"RABBITMQ_MANAGEMENT_URL": page})
    messages.publish(amqp_url, messages.body())

    def held() -> list[str]:
        found = managed("status", "--json").document["findings"]
        return [one["says"] for one in found if one["about"] == "ingest"]

    with messages.channel(amqp_url) as channel:
        channel.basic_consume(messages.QUEUE, lambda *_: None)
        channel.connection.process_data_events(1)
        (says,) = eventually(held)
        unasked = managed.json("status", code=1)["not_asked"]

    assert says == "1 message unacknowledged: in ingest's hand, and it acknowledges none"
    assert unasked == ["the services (OPS_SERVICES)"]


def test_a_replica_that_does_not_listen_yet_is_asked_again() -> None:
    with ThreadPoolExecutor(1) as pool, socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        assert replicas.ask([("127.0.0.1", port)], starts_within_s=0)[0].error == CLOSED
        asked = pool.submit(replicas.ask, [("127.0.0.1", port)], starts_within_s=TIMEOUT_S)
        held.close()
        with health.serving(Health(), "127.0.0.1", port):
            assert asked.result()[0].healthy
