"""An observer beside its three servers and the API that it asks."""

from collections.abc import Iterator

import pytest
import redis

from tests.support import keydb_rights, messages, object_api, programs, servers
from tests.support.eventually import eventually
from tests.support.object_api import Running
from tests.support.observing import Environment, Sender
from tests.support.programs import Program


@pytest.fixture
def api() -> Iterator[Running]:
    """The API: everything is online, and it answers at once."""
    with object_api.running() as api:
        yield api


@pytest.fixture
def environment(
    dsn: str,
    amqp_url: str,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    api: Running,
) -> Environment:
    """Settings of an observer with the rights of its logins, quick about what expires."""
    return {
        "POSTGRES_DSN": f"{dsn}?options=-c%20role%3Dminutebook_observer",
        "RABBITMQ_URL": amqp_url,
        "KEYDB_URL": keydb_server.url(keydb_rights.OBSERVER),
        "OBSERVER_URL": api.url,
        "OBSERVER_TIMEOUT_SECONDS": "1",
    }


@pytest.fixture
def sender(amqp_url: str) -> Iterator[Sender]:
    """Who sends sightings."""
    with messages.channel(amqp_url) as channel:
        sender = Sender(channel)
        sender.declare()
        yield sender


@pytest.fixture
def observer(environment: Environment) -> Iterator[Program]:
    """An observer that consumes."""
    with programs.running("services.observer", **environment) as observer:
        eventually(lambda: observer.health()[0] == 200)
        yield observer
