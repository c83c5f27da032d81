"""Dead letters of queues other than ingest's: messages that are no transactions.

Works in its caller's transaction and never commits.
"""

import hashlib
from typing import LiteralString

import psycopg

from shared.amqp import amqp_json
from shared.amqp.properties import MalformedProperties, Properties
from shared.change_record import NAME_BYTES_MAX, Unfit

INSERT: LiteralString = """
INSERT INTO dead_letter (message_id, reason, error, queue, body, properties, state)
VALUES (%(message_id)s, %(reason)s, %(error)s, %(queue)s, %(body)s, %(properties)s, 'open')
ON CONFLICT (message_id, body_sha256) DO NOTHING
"""
SELECT_QUEUE: LiteralString = """
SELECT queue
  FROM dead_letter
 WHERE message_id = %(message_id)s
   AND body_sha256 = sha256(%(body)s)
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
    if conn.execute(INSERT, values).rowcount:
        return
    if conn.execute(SELECT_QUEUE, values).fetchone() != (queue,):  # another queue had it, too
        conn.execute(INSERT, values | {"message_id": f"{queue}:{values['message_id']}"})


def identity(queue: str, properties: Properties, body: bytes) -> str:
    """Return the message's own `message_id`; of one that has none, a name made of its content."""
    try:
        found = properties.message_id
    except MalformedProperties:
        found = None
    if isinstance(found, str) and 0 < len(found.encode()) <= NAME_BYTES_MAX and "\0" not in found:
        return found
    return f"{queue}:{hashlib.sha256(body).hexdigest()}"
