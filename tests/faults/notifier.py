"""`python -m tests.faults.notifier`: the service as it is, over connections that may die."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import cast

from services.notifier import __main__ as notifier
from shared import follower_store
from shared.amqp.topic import TopicPublisher
from shared.follower import Follower
from shared.health import Health
from tests.faults import kill_orders
from tests.faults.kill_points import KillableConnection, KillableTopicPublisher, Statement

ORDERS = kill_orders.by_settings()
NAMES = {follower_store.MOVE: Statement("judgement")}
"""The transaction that moves the position, and writes what the alerts say."""


@contextlib.contextmanager
def connected(
    chosen: notifier.NotifierSettings, health: Health, follower: Follower
) -> Iterator[notifier.Connected]:
    """Open what one life works with."""
    with notifier.connected(chosen, health, follower) as (conn, publisher):
        wrapped = cast("TopicPublisher", KillableTopicPublisher(publisher, ORDERS))
        yield KillableConnection(conn, ORDERS, NAMES).as_connection(), wrapped


PROGRAM = replace(notifier.PROGRAM, run=partial(notifier.run, connect=connected))

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
