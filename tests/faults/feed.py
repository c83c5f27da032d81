"""`python -m tests.faults.feed`: the service as it is, over connections that may die."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import cast

from services.feed import __main__ as feed
from shared import follower_store
from shared.amqp.publisher import Publisher
from shared.follower import Follower
from shared.health import Health
from tests.faults import kill_orders
from tests.faults.kill_points import KillableConnection, KillablePublisher, Statement

ORDERS = kill_orders.by_settings()
NAMES = {follower_store.MOVE: Statement("move")}


@contextlib.contextmanager
def connected(
    chosen: feed.FeedSettings, health: Health, follower: Follower, stop: threading.Event
) -> Iterator[feed.Connected]:
    """Open what one life works with."""
    with feed.connected(chosen, health, follower, stop) as (conn, publisher):
        wrapped = cast("Publisher", KillablePublisher(publisher, ORDERS))
        yield KillableConnection(conn, ORDERS, NAMES).as_connection(), wrapped


PROGRAM = replace(feed.PROGRAM, run=partial(feed.run, connect=connected))

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
