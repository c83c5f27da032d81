"""`python -m tests.faults.ticker`: the service as it is, over a connection that may die."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import cast

from services.ticker import __main__ as ticker
from shared.amqp import ticks
from shared.health import Turn
from shared.settings import RabbitmqSettings
from tests.faults import kill_orders
from tests.faults.kill_points import KillableBroker

ORDERS = kill_orders.by_settings()


@contextlib.contextmanager
def to_rabbitmq(chosen: RabbitmqSettings, *, name: str, turn: Turn) -> Iterator[ticks.Broker]:
    """Open a connection for one life of the ticker."""
    with ticks.Broker.connected(chosen, name=name, turn=turn) as broker:
        yield cast("ticks.Broker", KillableBroker(broker, ORDERS))


PROGRAM = replace(ticker.PROGRAM, run=partial(ticker.run, connect=to_rabbitmq))

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
