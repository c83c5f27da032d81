"""What most examples show: one row, one commit, one acknowledgement."""

import json
import os

import pika
import psycopg
from pika.adapters.blocking_connection import BlockingChannel

from bench.peers import broker

PREFETCH = 2000
INSERT = """
WITH stored AS (
    INSERT INTO historical_transactions (provider_id, transaction_value, message_id)
    VALUES (%s, %s, %s)
    ON CONFLICT (message_id) DO NOTHING
    RETURNING id, provider_id, transaction_value
)
INSERT INTO outbox (transaction_id, provider_id, amount, operation)
SELECT id, provider_id, transaction_value, 'added'
  FROM stored
"""


def main() -> None:
    """Store messages until killed. Autocommit: each statement is a durable commit of its own."""
    with (
        psycopg.connect(
            os.environ["POSTGRES_DSN"], autocommit=True, options="-c minutebook.writer=ingest"
        ) as conn,
        broker.channel(prefetch=PREFETCH) as channel,
    ):

        def on_message(
            channel: BlockingChannel,
            method: pika.spec.Basic.Deliver,
            properties: pika.BasicProperties,
            body: bytes,
        ) -> None:
            message = json.loads(body)
            conn.execute(INSERT, [message["id"], message["value"], properties.message_id])
            channel.basic_ack(method.delivery_tag or 0)

        channel.basic_consume(broker.QUEUE, on_message)
        channel.start_consuming()


if __name__ == "__main__":
    main()
