"""What an operator's replay of a dead letter does: the observer publishes the sighting again."""

import psycopg

from services.observer import store
from services.observer.core import QUEUE
from shared.queue_worker import Handle, Outcome


def write_down(conn: psycopg.Connection, body: bytes) -> Outcome:
    """Have the observer publish a sighting again, with its caller's commit. Raises `Unfit`."""
    store.replay(conn, body)
    return "applied"


HANDLERS: dict[str, Handle] = {QUEUE: write_down}
