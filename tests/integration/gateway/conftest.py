"""A gateway that accepts, for all tests of a worker, in a virtual host of its own."""

from collections.abc import Iterator

import pytest

from tests.support import http_gateway, servers
from tests.support.http_gateway import Gateway, Queues


@pytest.fixture(scope="session")
def gateway_url(rabbitmq_server: servers.Rabbitmq) -> Iterator[str]:
    """A virtual host with the exchange and its queues."""
    with rabbitmq_server.vhost(queue_type="classic") as url:
        with http_gateway.queues(url):
            pass  # a connection that nobody reads would be lost
        yield url


@pytest.fixture(scope="session")
def shared_gateway(gateway_url: str) -> Iterator[Gateway]:
    """One for tests that leave it as it was; it has no Postgres, which accepting does without."""
    with http_gateway.accepting(gateway_url) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Gateway, queues: Queues) -> Gateway:
    """The same, with nothing in its queues."""
    return shared_gateway


@pytest.fixture
def queues(gateway_url: str) -> Iterator[Queues]:
    """What comes from it."""
    with http_gateway.queues(gateway_url) as queues:
        for queue in http_gateway.QUEUES:
            queues.all(queue)
        yield queues
