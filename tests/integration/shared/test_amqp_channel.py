"""A connection to RabbitMQ is closed whatever other threads still ask of it."""

from pydantic import Secret

from shared.amqp.consumer import Consumer
from shared.settings import RabbitmqSettings
from tests.support import messages
from tests.support.eventually import eventually


def test_an_acknowledgement_that_comes_too_late_does_not_keep_the_connection_open(
    amqp_url: str,
) -> None:
    messages.publish(amqp_url, b"one")
    tags: list[int] = []
    settings = RabbitmqSettings(rabbitmq_url=Secret(amqp_url))
    with Consumer.connected(settings, name="test") as consumer:
        consumer.consume(messages.QUEUE, prefetch=1, on_message=lambda tag, *_: tags.append(tag))
        while not tags:
            consumer.poll(0.1)
        consumer.from_thread(lambda: consumer.ack(tags[0]))
    eventually(lambda: messages.waiting_in_queue(amqp_url) == 1)
