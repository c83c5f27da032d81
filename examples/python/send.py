"""Send one transaction: python send.py PROVIDER_ID VALUE [MESSAGE_ID]. Needs pika."""

import json
import os
import secrets
import sys
import time
import uuid

import pika

URL = os.environ.get("RABBITMQ_URL", "amqp://user:password@127.0.0.1:5672/%2F")
QUEUE = "incoming_transactions"
SHARDS = int(os.environ.get("SHARDS", "1"))


def time_ordered_id() -> str:
    """Return a UUIDv7. From Python 3.14 on: uuid.uuid7()."""
    version_7, variant = 0x7 << 76, 0b10 << 62
    chance = secrets.randbits(74)
    high, low = chance >> 62, chance & ((1 << 62) - 1)
    millis = time.time_ns() // 1_000_000
    return str(uuid.UUID(int=millis << 80 | version_7 | high << 64 | variant | low))


def main() -> None:
    """Publish and wait for the confirm; raises unless the message is in the queue for good."""
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: python send.py PROVIDER_ID VALUE [MESSAGE_ID]")
    provider_id, value, *given = sys.argv[1:]
    message_id = given[0] if given else time_ordered_id()
    try:
        body = json.dumps({"id": int(provider_id), "value": int(value)}).encode()
    except ValueError:
        sys.exit("PROVIDER_ID and VALUE are whole numbers")
    with pika.BlockingConnection(pika.URLParameters(URL)) as connection:
        channel = connection.channel()
        exchange, key = "transactions", str(int(provider_id) % SHARDS)
        if SHARDS == 1:
            exchange, key = "", QUEUE
            channel.queue_declare(QUEUE, durable=True)
        channel.confirm_delivery()
        # Raises UnroutableError or NackError; if the connection is lost: send it again, same id.
        channel.basic_publish(
            exchange,
            key,
            body,
            pika.BasicProperties(delivery_mode=2, message_id=message_id),
            mandatory=True,
        )
    print(f"confirmed {message_id}")


if __name__ == "__main__":
    main()
