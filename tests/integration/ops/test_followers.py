"""`ops followers`: what it shows is so, and what it changes is on record."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pika
import psycopg
import pytest
import redis
from pydantic import Secret

from services.syncer.service import Syncer
from shared import postgres
from shared.follower import Follower
from shared.follower_store import Reason, Span, Tick
from shared.health import Health
from shared.settings import PostgresSettings
from tests.support import keydb_rights, ops_tool, servers
from tests.support.eventually import eventually
from tests.support.ledger import minute
from tests.support.ops_tool import Tool
from tests.support.servers import PASSWORD, USER


class Nothing:
    """A follower's work."""

    def __init__(self) -> None:
        self.anew: list[Reason] = []

    def follow(self, span: Span) -> None:
        pass

    def start_anew(self, _tick: Tick, reason: Reason) -> None:
        self.anew.append(reason)


@pytest.fixture
def ops(dsn: str) -> Tool:
    return ops_tool.deployment(dsn)


@pytest.fixture
def own_conn(dsn: str) -> Iterator[psycopg.Connection]:
    with postgres.connection(PostgresSettings(postgres_dsn=Secret(dsn)), application="x") as conn:
        yield conn


@pytest.fixture
def feed() -> Follower:
    return Follower("feed", Health(), threading.Event())


@contextlib.contextmanager
def at_work(feed: Follower, conn: psycopg.Connection) -> Iterator[Nothing]:
    """Be the active feed, at the newest tick."""
    work = Nothing()
    with feed.active(conn):
        while feed.run_once(conn, work) != "idle":
            pass
        yield work


def listed(ops: Tool) -> dict[str, Any]:
    (found,) = ops.json("followers", "list")["followers"]
    return dict(found)


def test_a_follower_is_listed_with_where_it_stands_and_whether_it_runs(
    ops: Tool, syncer: Syncer, own_conn: psycopg.Connection, feed: Follower
) -> None:
    assert ops.json("followers", "list") == {"followers": []}

    with at_work(feed, own_conn):
        found = listed(ops)
        assert (found["name"], found["lag_ticks"], found["lag_s"]) == ("feed", 0, 0)
        assert (found["running"], found["starts_anew"], found["error"]) == (True, False, None)
        assert found["boundary"] == f"{minute(1):%Y-%m-%dT%H:%M:%SZ}"
    own_conn.close()
    syncer.tick(minute(2))
    syncer.tick(minute(3))

    eventually(lambda: not listed(ops)["running"])
    found = listed(ops)
    assert found["lag_ticks"] == 2
    assert found["lag_s"] > 0
    assert "stopped" in ops("followers", "list").stdout


def test_one_that_is_asked_to_starts_anew_and_who_asked_is_on_record(
    ops: Tool, conn: psycopg.Connection, syncer: Syncer, own_conn: psycopg.Connection,
    feed: Follower,
) -> None:  # fmt: skip
    with at_work(feed, own_conn) as work:
        syncer.tick(minute(2))
        ops.json("followers", "anew", "feed")
        assert listed(ops)["starts_anew"]

        assert feed.run_once(own_conn, work) == "anew"

        assert work.anew[-1] == "asked"
        assert not listed(ops)["starts_anew"]
    acts = conn.execute("SELECT action, subject, operator FROM operator_action").fetchall()
    assert acts == [("follower_anew", "feed", "night shift")]


def test_one_that_runs_is_not_forgotten_and_one_that_is_stopped_is(
    ops: Tool, conn: psycopg.Connection, syncer: Syncer, own_conn: psycopg.Connection,
    feed: Follower,
) -> None:  # fmt: skip
    with at_work(feed, own_conn):
        refused = ops("followers", "forget", "feed")
        assert refused.code == 1
        assert "stop it first" in refused.stderr
    own_conn.close()

    eventually(lambda: ops("followers", "forget", "feed").code == 0)

    assert ops.json("followers", "list") == {"followers": []}
    acts = conn.execute("SELECT action, subject FROM operator_action").fetchall()
    assert acts == [("follower_forgotten", "feed")]


@pytest.mark.parametrize("command", ["anew", "forget"])
def test_a_name_that_is_none_is_refused_with_those_there_are(
    ops: Tool, syncer: Syncer, own_conn: psycopg.Connection, feed: Follower, command: str
) -> None:
    with at_work(feed, own_conn):
        refused = ops("followers", command, "fed")

    assert refused.code == 1
    assert "there is no follower fed; there are: feed" in refused.stderr


@pytest.fixture
def managed(
    dsn: str, amqp_url: str, store: "redis.Redis", keydb_server: servers.Keydb,
    rabbitmq_server: servers.Rabbitmq,
) -> Tool:  # fmt: skip
    """The tool with the management page of a broker that bounds queues of changes."""
    page = f"http://{USER}:{PASSWORD}@127.0.0.1:{rabbitmq_server.management_port}"
    tool = ops_tool.deployment(dsn, amqp_url, keydb_server.url(keydb_rights.OPERATOR))
    policy = {"pattern": "^changes[.]", "apply-to": "queues", "priority": 0}
    bound = {"max-length-bytes": 1000, "delivery-limit": -1}
    place = f"policies/{urlsplit(amqp_url).path[1:]}/bound"
    rabbitmq_server.manage("PUT", place, policy | {"definition": bound})
    return Tool(tool.settings | {"RABBITMQ_MANAGEMENT_URL": page})


def test_doctor_names_queues_behind_followers_that_have_no_bound_and_an_exchange_that_is_gone(
    managed: Tool, amqp_url: str, syncer: Syncer, own_conn: psycopg.Connection, feed: Follower
) -> None:
    def found() -> dict[str, str]:
        checks = managed("doctor", "--json").document["checks"]
        return {one["name"]: one["found"] for one in checks}

    def is_told() -> bool:
        return found().get("queues around the core") == "without a bound: theirs"

    with at_work(feed, own_conn), pika.BlockingConnection(pika.URLParameters(amqp_url)) as made:
        channel = made.channel()
        assert found()["exchange changes"] == "missing"
        channel.exchange_declare("changes", "topic", durable=True)
        for name in ("changes.bound", "theirs"):
            channel.queue_declare(name, durable=True)
            channel.queue_bind(name, "changes", "#")

        eventually(is_told, 30)
        assert found()["exchange changes"] == "exists"
        assert found()["follower feed"] == "up to date"
