"""An ordinary tick passes the functions that docs/architecture.md lists, and no others."""

import psycopg

from services.syncer.loop import PREPARED_S
from services.syncer.service import Syncer
from tests.support import call_lists, syncer_loop
from tests.support.ledger import add, minute
from tests.support.syncer_loop import Clock

LOOP = "services/syncer/loop.py"
WAITING = {
    (LOOP, "Loop._preparation_in_s"),
    (LOOP, "Loop._expect_ticks"),
    (LOOP, "Loop._report_trouble"),
    ("services/syncer/service.py", "Syncer.changed"),
    ("services/syncer/projection.py", "Projection._asking"),
}
"""What comes before the message, only tells health, or translates errors."""


def test_a_tick_passes_the_functions_that_are_listed(
    conn: psycopg.Connection, syncer: Syncer, amqp_url: str
) -> None:
    clock = Clock()
    with (
        syncer_loop.ticker(amqp_url) as ticker,
        syncer_loop.active(syncer, amqp_url, ticker, clock) as loop,
    ):
        for before_s in PREPARED_S:
            add(conn, 1, 5)
            clock.now = minute(3).timestamp() - before_s
            assert loop.run_once() == "fold"
        add(conn, 2, 7)
        syncer_loop.send(ticker, 3)
        with call_lists.noted() as calls:
            came = [loop.run_once()]
            while came[-1] != "tick":
                calls.clear()
                came.append(loop.run_once())

    assert calls - WAITING == call_lists.listed("One tick")
