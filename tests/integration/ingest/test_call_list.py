"""An ordinary message passes the functions that docs/architecture.md lists, and no others."""

import threading

import psycopg
import pytest
from pydantic import Secret

from services.ingest.receiver import Receiver
from shared.amqp.consumer import Consumer
from shared.settings import RabbitmqSettings
from tests.support import call_lists, messages
from tests.support.eventually import eventually

pytestmark = pytest.mark.usefixtures("providers")

RECEIVER = "services/ingest/receiver.py"
BACKLOG = "services/ingest/backlog.py"
LOOPS = {
    *((RECEIVER, f"Receiver.{one}") for one in ("run", "check", "_wait_for_room", "_finish")),
    *((BACKLOG, f"Backlog.{one}") for one in ("wait_for_room", "unacknowledged", "turn", "close")),
    ("services/ingest/writer.py", "_span"),
    ("services/ingest/service.py", "Outcome.messages"),
}
"""What the threads do once in a while, not for a message; a span, and what is asked for metrics."""


def test_a_message_passes_the_functions_that_are_listed(
    ours: psycopg.Connection, amqp_url: str
) -> None:
    settings, stop = RabbitmqSettings(rabbitmq_url=Secret(amqp_url)), threading.Event()
    writer = messages.idle_writer(ours, messages.FakeChannel())
    with Consumer.connected(settings, name="test") as broker:
        receiver = Receiver(broker, writer)
        receiver.start(messages.QUEUE, prefetch=10)
        receiving = threading.Thread(target=receiver.run, args=(stop,))
        with call_lists.noted() as calls:

            def acknowledged() -> bool:
                writer.run_once(ours)
                return (RECEIVER, "Receiver._acknowledge.acknowledge") in calls

            receiving.start()
            messages.publish(amqp_url, messages.body(1, 600), identities=["payment-1"])
            eventually(acknowledged)
            stop.set()
            receiving.join()

    assert messages.rows(ours) == [(1, 600)]
    assert calls - LOOPS == call_lists.listed("One message")
