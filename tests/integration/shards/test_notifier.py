"""A shard's notifier reads the shard's own queues, and counts what they hold from the start."""

import pika

from tests.support import messages, price_records, programs
from tests.support.eventually import eventually
from tests.support.shards import Pipeline

SERIES = 'minutebook_queue_messages_total{outcome="unfit",queue="%s"} %s'


def test_each_shards_notifier_takes_the_prices_and_alerts_that_were_sent_to_it(
    pair: tuple[Pipeline, Pipeline], amqp_url: str
) -> None:
    zero, one = pair
    with programs.running("services.notifier", **one.environment) as notifier:
        eventually(lambda: notifier.logs().count('"event": "consuming"') == 3)
        # A series that only the first one made would hide it: that is no increase.
        before = notifier.asked("/metrics")[1]
        publish(amqp_url, "prices.1", price_records.record())
        publish(amqp_url, "alerts.1", b"unfit")
        eventually(lambda: SERIES % ("alerts.1", "1.0") in notifier.asked("/metrics")[1])

        assert SERIES % ("alerts.1", "0.0") in before
        assert 'queue="alerts"' not in before
        eventually(lambda: one.conn.execute("SELECT count(*) FROM price").fetchone() == (1,))
        assert zero.conn.execute("SELECT count(*) FROM price").fetchone() == (0,)
        assert messages.reasons(one.conn) == ["not_json"]


def publish(amqp_url: str, queue: str, body: bytes) -> None:
    with messages.channel(amqp_url) as producer:
        producer.confirm_delivery()
        about = pika.BasicProperties(delivery_mode=2)
        producer.basic_publish("", queue, body, about, mandatory=True)
