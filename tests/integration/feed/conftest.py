"""A feed, and a queue bound to its events."""

from collections.abc import Iterator

import pytest

from services.syncer.service import Syncer
from tests.support import changes_consumer, feeding
from tests.support.changes_consumer import Queue
from tests.support.feeding import Feeder


@pytest.fixture
def queue(amqp_url: str) -> Iterator[Queue]:
    """A queue of the test's own, in which every event is."""
    with changes_consumer.bound(amqp_url) as queue:
        yield queue


@pytest.fixture
def feeder(dsn: str, amqp_url: str, syncer: Syncer, queue: Queue) -> Iterator[Feeder]:
    """A feed that has started at the tick of minute 1: Visa has 1300, Mastercard 1800."""
    del syncer, queue
    with feeding.feeding(dsn, amqp_url) as feeder:
        assert feeder.run() == ["anew"]
        yield feeder
