"""`python -m tests.faults.gateway`: the service as it is, over a connection that may die."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import cast

from services.gateway import __main__ as gateway
from shared.amqp.direct import DirectPublisher
from shared.health import Turn
from shared.settings import RabbitmqSettings
from tests.faults import kill_orders
from tests.faults.request_kill_points import KillableDirectPublisher

ORDERS = kill_orders.by_settings()


@contextlib.contextmanager
def to_rabbitmq(chosen: RabbitmqSettings, *, name: str, turn: Turn) -> Iterator[DirectPublisher]:
    """Open a connection for one life of the producer."""
    with DirectPublisher.connected(chosen, name=name, turn=turn) as publisher:
        yield cast("DirectPublisher", KillableDirectPublisher(publisher, ORDERS))


PROGRAM = replace(gateway.PROGRAM, run=partial(gateway.run, connect=to_rabbitmq))

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
