"""Change records of prices: what the queue `prices` says, written to the table `price`.

Prices have nothing to do with ticks, and alerts nothing with prices: the queue is here because this
service has all that a queue of records needs, and a service for it alone would be the same again.
Harmless twice, as records of alerts are.
"""

import psycopg

from shared import change_record, price, price_store
from shared.queue_worker import Outcome

QUEUE = "prices"
KIND = "price"
"""Under what name a record has the price itself."""


def apply(conn: psycopg.Connection, body: bytes) -> Outcome:
    """Do what a record says, in its caller's transaction. Raises `Unfit`."""
    record = change_record.decode(body, KIND)
    if record.operation == "REMOVED":
        return price_store.remove(conn, record)
    return price_store.put(conn, record, price.read(record.content))
