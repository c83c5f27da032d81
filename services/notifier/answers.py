"""Answers: who was told of a notification may say on a queue that it arrived where it should."""

from typing import LiteralString

import psycopg

from shared.change_record import name, read_object
from shared.queue_worker import Outcome
from shared.unfit import Unfit

QUEUE = "notifications.delivered"

# The first answer counts.
UPDATE_DELIVERED: LiteralString = """
UPDATE notification
   SET delivered_at = clock_timestamp()
 WHERE id = %(id)s
   AND delivered_at IS NULL
"""
SELECT_KNOWN: LiteralString = "SELECT EXISTS (SELECT FROM notification WHERE id = %(id)s)"


def note(conn: psycopg.Connection, body: bytes) -> Outcome:
    """Note that `{"id": …}` was delivered, in the caller's transaction. Raises `Unfit`."""
    answered = {"id": name(read_object(body), "id")}
    if conn.execute(UPDATE_DELIVERED, answered).rowcount:
        return "applied"
    if conn.execute(SELECT_KNOWN, answered).fetchone() == (False,):
        raise Unfit("unknown_notification", "there is no notification of this id (any more)")
    return "ignored"
