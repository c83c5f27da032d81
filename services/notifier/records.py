"""Change records of alerts: what the queue `alerts` says, written to the table `alert`.

Harmless twice: a record of a version that is known changes nothing, and one without a version says
how an alert is, not what to do to it.
"""

import psycopg

from shared import alert, alert_store, change_record
from shared.queue_worker import Outcome

QUEUE = "alerts"
KIND = "alert"
"""Under what name a record has the alert itself."""


def apply(conn: psycopg.Connection, body: bytes, history_s: int) -> Outcome:
    """Do what a record says, in its caller's transaction. Raises `Unfit`.

    `history_s` is how far back balances are known.
    """
    record = change_record.decode(body, KIND)
    if record.operation == "REMOVED":
        return alert_store.remove(conn, record)
    return alert_store.put(conn, record, alert.read(record.content, history_s))
