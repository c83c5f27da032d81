"""Streams of RabbitMQ as any reader sees them."""

from tests.support import messages
from tests.support.eventually import eventually


def cut_to(amqp_url: str, stream: str, offset: int) -> None:
    """Wait until retention, which the broker sees to beside all else, left nothing before this."""
    eventually(lambda: first_offset(amqp_url, stream) >= offset)


def first_offset(amqp_url: str, stream: str) -> int:
    """Return the offset of the oldest message there is; -1 if none comes."""
    with messages.channel(amqp_url) as reader:
        reader.basic_qos(prefetch_count=1)
        oldest = {"x-stream-offset": "first"}
        for _, properties, _ in reader.consume(stream, arguments=oldest, inactivity_timeout=5):
            found = properties.headers if properties else None
            return int(str(found["x-stream-offset"])) if found else -1
    return -1
