"""Dead letters of queues other than ingest's: messages that are no transactions.

Works in its caller's transaction and never commits.
"""

import hashlib
from typing import LiteralString

import psycopg

from shared.amqp import amqp_json
from shared.amqp.properties import MalformedProperties, Properties
from shared.change_record import NAME_BYTES_MAX
from shared.unfit import Unfit

INSERT: LiteralString = """
INSERT INTO dead_letter (message_id, reason, error, queue, body, properties, state)
VALUES (%(message_id)s, %(reason)s, %(error)s, %(queue)s, %(body)b, %(properties)s, 'open')
ON CONFLICT (message_id, body_sha256) DO NOTHING
"""


def insert(
    conn: psycopg.Connection, queue: str, properties: Properties, body: bytes, unfit: Unfit
) -> None:
    """Write a message and why it is unfit; delivered again it is the same dead letter."""
    values: dict[str, object] = {
        "message_id": identity(queue, properties, body),
        "reason": unfit.reason,
        "error": unfit.error,
        "queue": queue,
        "body": bytes(body),
        "properties": amqp_json.encode(properties.all()),
    }
    conn.execute(INSERT, values)


def identity(queue: str, properties: Properties, body: bytes) -> str:
    """Return the queue's name and the message's own `message_id`, or one made of its content.

    The queue's name keeps it apart from transactions: ingest takes one that is a dead letter
    already, with the same identity and body, for settled.
    """
    try:
        found = properties.message_id
    except MalformedProperties:
        found = None
    if isinstance(found, str) and 0 < len(found.encode()) <= NAME_BYTES_MAX and "\0" not in found:
        return found if found.startswith(f"{queue}:") else f"{queue}:{found}"
    return f"{queue}:{hashlib.sha256(body).hexdigest()}"
