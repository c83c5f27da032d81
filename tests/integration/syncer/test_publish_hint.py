"""Subscribers are told of each tick that KeyDB shows; nothing depends on it."""

import contextlib
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis

from services.syncer.core import Watermark
from services.syncer.projection import WATERMARK_KEY
from services.syncer.service import Syncer
from tests.support import keydb_rights, ledger, servers
from tests.support.containers import ROOT
from tests.support.eventually import eventually
from tests.support.ledger import add, minute

pytestmark = servers.on_both_stores

READING = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
CHANNEL = "minutebook:ticks"


class Subscriber:
    """Hears what is said on our channel."""

    def __init__(self, subscription: "redis.client.PubSub") -> None:
        self._subscription = subscription

    def heard(self) -> dict[str, Any] | None:
        """Return the next hint, None if nothing was said."""
        message = self._subscription.get_message(timeout=0.2)
        return json.loads(message["data"]) if message else None


@contextlib.contextmanager
def subscribed(store: "redis.Redis") -> Iterator[Subscriber]:
    with store.pubsub() as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe(CHANNEL)
        eventually(lambda: subscription.get_message(timeout=0.2))  # that we are subscribed
        yield Subscriber(subscription)


def allow(store: "redis.Redis", name: str, *rules: str) -> None:
    store.execute_command("ACL", "SETUSER", name, *rules)  # type: ignore[no-untyped-call]


@pytest.fixture
def mute_url(store: "redis.Redis", keydb_server: servers.Keydb) -> Iterator[str]:
    """The URL of a user with the rules that were shipped before there was a channel."""
    name = f"test-{uuid.uuid4().hex}"
    newer = (keydb_rights.CHANNEL, *keydb_rights.TO_TELL_READERS)
    allow(store, name, *(rule for rule in keydb_rights.RULES if rule not in newer), "resetchannels")
    try:
        yield keydb_server.url().replace(keydb_rights.USER, name)
    finally:
        store.acl_deluser(name)


def test_a_tick_that_is_shown_is_told_once_with_what_it_changed(
    syncer: Syncer, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    with subscribed(store) as subscriber:
        add(conn, 1, 5)
        conn.execute("UPDATE initial_data SET provider_name = 'Master' WHERE id = 2")
        syncer.tick(minute(2))
        epoch, _ = ledger.watermark(store)
        expected = {"tick": "2020-01-01T00:02:00Z", "epoch": int(epoch), "changed": 3}
        assert eventually(subscriber.heard) == expected
        assert syncer.publisher.publish().state == "done"
        assert subscriber.heard() is None


def test_a_tick_in_chunks_is_told_by_its_last_one(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    for _ in range(5):
        ledger.add_provider(conn, "p")
    with (
        subscribed(store) as subscriber,
        ledger.syncing(dsn, keydb_server.url(), chunk=2) as syncer,
    ):
        syncer.tick(minute(1))
        hint = eventually(subscriber.heard)
        assert hint is not None
        assert hint["changed"] == 5
        assert str(hint["epoch"]) == ledger.watermark(store)[0]
        assert subscriber.heard() is None


def test_a_user_that_may_not_publish_shows_every_tick_and_tells_nobody(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", mute_url: str
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    with subscribed(store) as subscriber, ledger.syncing(dsn, mute_url) as syncer:
        for number in (1, 2):
            add(conn, visa, 5)
            assert syncer.tick(minute(number)).state == "applied"
            ledger.assert_right(conn, store)
        assert subscriber.heard() is None


def test_the_readers_example_prints_each_tick_that_it_is_told_of(
    syncer: Syncer, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    (code,) = re.findall(r"```python\n(import json, redis\n.*?)```", READING, re.DOTALL)
    example = code.replace("keydb:6379", f"{keydb_server.host}:{keydb_server.port}")
    assert example != code
    with subprocess.Popen(
        [sys.executable, "-u", "-c", example],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "default"},
    ) as reader:
        try:
            eventually(lambda: store.pubsub_numsub(CHANNEL)[0][1] == 1)
            assert reader.stdout
            first = reader.stdout.readline()
            add(conn, 1, 600)
            syncer.tick(minute(2))
            line = reader.stdout.readline()
        finally:
            reader.kill()
    shown = Watermark(*_shown(store))
    assert first.startswith("['1300', [")
    assert line.startswith(f"['1900', ['{shown.boundary}', '{shown.epoch}', '{shown.token}']]")
    assert "'changed': 1" in line


def _shown(store: "redis.Redis") -> tuple[int, str, str]:
    epoch, token, boundary = map(str, store.hmget(WATERMARK_KEY, ["epoch", "token", "boundary"]))
    return int(epoch), token, boundary
