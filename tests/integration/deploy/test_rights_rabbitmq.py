"""Each of the broker's users tries everything: what it needs succeeds, all else is refused."""

import urllib.error
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, UnroutableError

from shared.amqp import ticks
from shared.amqp.channel import ORDERED
from tests.support import servers
from tests.support.servers import BROKER_USERS

QUEUE = "incoming_transactions"
ALERTS, DELIVERED, REQUESTS = "alerts", "notifications.delivered", "requests"
PRICES = "prices"
SIGHTINGS, RETRIES = "sightings", "sightings.retry"
TOPICS = ("changes", "notifications", RETRIES)
EVERYBODY, NOBODY = set(BROKER_USERS), set[str]()
REFUSED, UNAUTHORIZED = 403, 401


class Act(NamedTuple):
    """Something to try, and who may."""

    attempt: Callable[[BlockingChannel], object]
    by: set[str]


def publish(exchange: str, key: str = "") -> Callable[[BlockingChannel], object]:
    def attempt(channel: BlockingChannel) -> None:
        channel.confirm_delivery()
        channel.basic_publish(exchange, key, b"{}")

    return attempt


def make_anew(channel: BlockingChannel) -> None:
    channel.queue_delete(QUEUE)
    dead = {"x-dead-letter-exchange": "ticks"}
    channel.queue_declare(QUEUE, durable=True, arguments=dead)


def make_retries(channel: BlockingChannel) -> None:
    channel.exchange_declare(RETRIES, "topic", durable=True)
    back = {"x-dead-letter-exchange": RETRIES, "x-dead-letter-routing-key": SIGHTINGS}
    channel.queue_declare(f"{RETRIES}.1000", durable=True, arguments={**back, "x-expires": 60_000})
    channel.queue_bind(f"{RETRIES}.1000", RETRIES, f"{RETRIES}.1000")
    channel.queue_bind(SIGHTINGS, RETRIES, SIGHTINGS)


ACTS = {
    "look at the queue": Act(lambda c: c.queue_declare(QUEUE, passive=True), EVERYBODY),
    "declare the queue": Act(lambda c: c.queue_declare(QUEUE, durable=True), {"ingest"}),
    "read the queue": Act(lambda c: c.basic_get(QUEUE), {"ingest"}),
    "consume the queue": Act(lambda c: c.basic_consume(QUEUE, print), {"ingest"}),
    "empty the queue": Act(lambda c: c.queue_purge(QUEUE), {"ingest"}),
    "delete the queue": Act(lambda c: c.queue_delete(QUEUE), {"ingest"}),
    "make it anew, with its dead letters among the ticks": Act(make_anew, NOBODY),
    "declare another queue": Act(lambda c: c.queue_declare("another"), NOBODY),
    "declare one with a like name": Act(lambda c: c.queue_declare("syncerxticks"), NOBODY),
    "publish a transaction": Act(publish("", QUEUE), {"tracker", "ops"}),
    "publish a tick": Act(publish("ticks"), {"ticker"}),
    # RabbitMQ has no finer right than the default exchange.
    "publish past the exchange of ticks": Act(publish("", ticks.QUEUE), {"tracker", "ops"}),
    "publish elsewhere": Act(publish("amq.fanout"), NOBODY),
    "declare the exchange": Act(
        lambda c: c.exchange_declare("ticks", "fanout", durable=True), {"ticker", "syncer"}
    ),
    "declare another exchange": Act(lambda c: c.exchange_declare("other", "fanout"), NOBODY),
    "declare the queue of ticks": Act(
        lambda c: c.queue_declare(ticks.QUEUE, durable=True, arguments=ticks.QUEUE_ARGUMENTS),
        {"syncer"},
    ),
    "declare one whose name begins alike": Act(
        lambda c: c.queue_declare(f"{ticks.QUEUE}.1", exclusive=True), NOBODY
    ),
    "bind the queue of ticks": Act(lambda c: c.queue_bind(ticks.QUEUE, "ticks"), {"syncer"}),
    "consume ticks": Act(lambda c: c.basic_consume(ticks.QUEUE, print), {"syncer"}),
    "publish a change": Act(publish("changes", "tick.closed"), {"feed"}),
    "publish a notification": Act(publish("notifications", "below.1"), {"notifier"}),
    "declare the exchange of changes": Act(
        lambda c: c.exchange_declare("changes", "topic", durable=True), {"feed"}
    ),
    "declare the exchange of notifications": Act(
        lambda c: c.exchange_declare("notifications", "topic", durable=True), {"notifier"}
    ),
    "declare the queue of alerts": Act(
        lambda c: c.queue_declare(ALERTS, durable=True, arguments=ORDERED), {"notifier"}
    ),
    "consume alerts": Act(lambda c: c.basic_consume(ALERTS, print), {"notifier"}),
    "consume answers": Act(lambda c: c.basic_consume(DELIVERED, print), {"notifier"}),
    "declare the queue of prices": Act(
        lambda c: c.queue_declare(PRICES, durable=True, arguments=ORDERED), {"notifier"}
    ),
    "consume prices": Act(lambda c: c.basic_consume(PRICES, print), {"notifier"}),
    "send a price": Act(publish("", PRICES), {"tracker", "ops"}),
    "send an alert": Act(publish("", ALERTS), {"tracker", "ops"}),
    "hand on a request": Act(publish("gateway", REQUESTS), {"gateway"}),
    "hand on an alert": Act(publish("gateway", ALERTS), {"gateway"}),
    "declare the queue of requests": Act(
        lambda c: c.queue_declare(REQUESTS, durable=True), {"tracker"}
    ),
    "consume requests": Act(lambda c: c.basic_consume(REQUESTS, print), {"tracker"}),
    "hand on a sighting": Act(publish("gateway", SIGHTINGS), {"gateway"}),
    "consume sightings": Act(lambda c: c.basic_consume(SIGHTINGS, print), {"observer"}),
    "make what delays them": Act(make_retries, {"observer"}),
    "delay a sighting": Act(publish(RETRIES, f"{RETRIES}.1000"), {"observer"}),
    "have what was delayed become money": Act(
        lambda c: c.queue_bind(QUEUE, RETRIES, QUEUE), NOBODY
    ),
    "send what the gateway publishes elsewhere": Act(
        lambda c: c.queue_bind(QUEUE, "gateway", QUEUE), NOBODY
    ),
    "delete the gateway's exchange": Act(lambda c: c.exchange_delete("gateway"), NOBODY),
    "listen to changes": Act(lambda c: c.queue_bind(QUEUE, "changes", "#"), NOBODY),
    "lead changes to where alerts come from": Act(
        lambda c: c.queue_bind(ALERTS, "changes", "#"), NOBODY
    ),
    "listen to ticks elsewhere": Act(lambda c: c.queue_bind(QUEUE, "ticks"), NOBODY),
    "lead others' messages to ticks": Act(lambda c: c.exchange_bind("ticks", "amq.fanout"), NOBODY),
}
PAGES = {
    "nodes": {"console", "ops"},
    f"queues/%2F/{QUEUE}": {"console", "ops"},
    "definitions": NOBODY,
    "users": NOBODY,
}


@pytest.fixture
def broker(rabbitmq_server: servers.Rabbitmq) -> Iterator[servers.Rabbitmq]:
    """The virtual host in which the users have their rights, with all that the services make."""
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_server.url("/"))) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True)
        channel.exchange_declare("ticks", "fanout", durable=True)
        channel.queue_declare(ticks.QUEUE, durable=True, arguments=ticks.QUEUE_ARGUMENTS)
        channel.queue_declare(DELIVERED, durable=True)
        channel.queue_declare(PRICES, durable=True, arguments=ORDERED)
        for topic in TOPICS:
            channel.exchange_declare(topic, "topic", durable=True)
        yield rabbitmq_server
        for queue in (QUEUE, ticks.QUEUE, DELIVERED, PRICES, f"{RETRIES}.1000"):
            channel.queue_delete(queue)
        for queue in (REQUESTS, SIGHTINGS, ALERTS):  # the broker's own definitions have made them
            channel.queue_purge(queue)
        for exchange in ("ticks", *TOPICS):
            channel.exchange_delete(exchange)


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_each_user_may_do_what_it_needs_and_nothing_else(
    broker: servers.Rabbitmq, act: Act
) -> None:
    refused_first = sorted(BROKER_USERS, key=lambda user: user in act.by)

    assert {user for user in refused_first if may(broker, user, act)} == act.by


def may(broker: servers.Rabbitmq, user: str, act: Act) -> bool:
    url = pika.URLParameters(broker.url("/", user=user))
    with pika.BlockingConnection(url) as connection:
        try:
            act.attempt(connection.channel())
        except ChannelClosedByBroker as error:
            if error.reply_code != REFUSED:
                raise
            return False
        return True


def test_what_the_gateway_publishes_reaches_the_queues_bound_to_its_exchange_and_no_other(
    broker: servers.Rabbitmq,
) -> None:
    def is_routed(key: str) -> bool:
        try:
            channel.basic_publish("gateway", key, b"{}", mandatory=True)
        except UnroutableError:
            return False
        return True

    url = pika.URLParameters(broker.url("/", user="gateway"))
    with pika.BlockingConnection(url) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        found = {key: is_routed(key) for key in (REQUESTS, "sightings", QUEUE, ticks.QUEUE, ALERTS)}

    assert found == {
        REQUESTS: True, "sightings": True, QUEUE: False, ticks.QUEUE: False, ALERTS: True,
    }  # fmt: skip


@pytest.mark.parametrize(("page", "by"), PAGES.items())
def test_operators_look_at_the_management_page_and_nobody_changes_anything(
    broker: servers.Rabbitmq, page: str, by: set[str]
) -> None:
    def shown(user: str) -> bool:
        try:
            broker.manage("GET", page, user=user)
        except urllib.error.HTTPError as error:
            if error.code != UNAUTHORIZED:
                raise
            return False
        return True

    assert {user for user in BROKER_USERS if shown(user)} == by
    with pytest.raises(urllib.error.HTTPError, match="401"):
        broker.manage("PUT", "users/theirs", {"password": "x", "tags": ""}, user="ops")


@pytest.mark.parametrize("user", BROKER_USERS)
def test_no_user_enters_another_virtual_host(rabbitmq_server: servers.Rabbitmq, user: str) -> None:
    with (
        rabbitmq_server.vhost() as url,
        pytest.raises(pika.exceptions.ProbableAccessDeniedError),
    ):
        pika.BlockingConnection(pika.URLParameters(url.replace("//user:", f"//{user}:")))
