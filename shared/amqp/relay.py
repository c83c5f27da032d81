"""Consumes one queue and publishes to others, over one connection that neither leaves waiting."""

from shared.amqp.consumer import Consumer
from shared.amqp.publisher import Publisher


class Relay(Publisher, Consumer):
    """What comes while we wait for confirms is handed to `on_message` as usual."""
