"""What a loss needs: ticks of the test's own, changes between them, and a reader."""

import contextlib
from collections.abc import Iterator
from datetime import datetime

import pika
import psycopg
import redis
from pika.adapters.blocking_connection import BlockingChannel
from pydantic import Secret

from shared import tick
from shared.amqp import ticks
from shared.errors import Unavailable
from shared.settings import RabbitmqSettings
from tests.support import ledger, programs, servers
from tests.support.eventually import eventually
from tests.support.keydb_reader import KeydbReader, watching
from tests.support.ledger import minute

PROVIDERS = ["Visa", "Mastercard", "Amex"]
STILL = "Still"
"""A provider that never changes: whoever lost it must be sent it all the same."""
LOST = "Lost"
"""A provider that only a database knows which is lost."""
NAMES = [f"{number}_{name}" for number in range(1, 9) for name in [*PROVIDERS, STILL, LOST, "Gone"]]
INTERVAL_S = 86_400
"""The longest there is: when a real boundary is near, the syncer writes an interim tick."""
REPUBLISHED = "minutebook_republished_total"


class LossScenario:
    """One ledger, one store, and boundaries as the test publishes them."""

    def __init__(self, store: "redis.Redis", channel: BlockingChannel, reader: KeydbReader) -> None:
        """The queue of ticks is declared already."""
        self.store = store
        self.reader = reader
        self._channel = channel
        self._number = 0

    def tick(self) -> datetime:
        """Publish the next boundary of a past that all clocks have left behind."""
        self._number += 1
        at = minute(self._number)
        body = tick.encode(tick.Tick(at, INTERVAL_S, "test"))
        self._channel.basic_publish(ticks.EXCHANGE, "", body)
        return at

    def written(self, conn: psycopg.Connection) -> None:
        """Change balances, publish a boundary, and wait until its tick is written."""
        self.change(conn)
        at = self.tick()
        last = "SELECT boundary FROM tick ORDER BY epoch DESC LIMIT 1"
        eventually(lambda: conn.execute(last).fetchone() == (at,))

    def right(self, conn: psycopg.Connection) -> None:
        """Change balances, publish one boundary, and wait until KeyDB is right by it."""
        self.change(conn)
        self.tick()
        self.becomes_right(conn)

    def becomes_right(self, conn: psycopg.Connection) -> None:
        """Wait, without any tick of ours, until KeyDB shows the newest tick and that is true."""

        def probe() -> bool:
            ledger.assert_right(conn, self.store)
            return True

        eventually(probe)
        self.reader.learn(conn)

    def change(self, conn: psycopg.Connection) -> None:
        """Change all but one balance by amounts of their own, so that ticks mixed can be seen."""
        conn.execute(
            "INSERT INTO historical_transactions (provider_id, transaction_value)"
            " SELECT id, 10 * id + 1 FROM initial_data WHERE provider_name <> %s",
            [STILL],
        )


def providers(conn: psycopg.Connection) -> None:
    """Add the providers of the scenario, each with a value of its own."""
    for number, name in enumerate([*PROVIDERS, STILL], start=1):
        ledger.add_provider(conn, name, 1000 * number)


@contextlib.contextmanager
def scenario(amqp_url: str, keydb: servers.Keydb) -> Iterator[LossScenario]:
    """Watch the store and be the ticker; fails at the end if anything went back or was mixed."""
    eventually(lambda: _declared(amqp_url))
    with (
        contextlib.closing(pika.BlockingConnection(pika.URLParameters(amqp_url))) as connection,
        keydb.client() as store,
        keydb.client() as watched,
        watching(watched, NAMES) as reader,
    ):
        yield LossScenario(store, connection.channel(), reader)


def _declared(amqp_url: str) -> bool:
    settings = RabbitmqSettings(rabbitmq_url=Secret(amqp_url))
    with contextlib.suppress(Unavailable):  # on a busy machine the broker may take its time
        with ticks.Broker.connected(settings, name="test") as broker:
            broker.declare_queue()
        return True
    return False


def syncer(
    dsn: str, amqp_url: str, keydb_url: str
) -> "contextlib.AbstractContextManager[programs.Program]":
    """Run the syncer as a process, folding often."""
    return programs.running(
        "services.syncer",
        POSTGRES_DSN=dsn,
        RABBITMQ_URL=amqp_url,
        KEYDB_URL=keydb_url,
        SYNC_FOLD_INTERVAL_SECONDS="0.1",
    )


def republished(program: programs.Program, cause: str) -> float:
    """Return how many publications of more than one tick's changes there were."""
    return program.metric(f'{REPUBLISHED}{{cause="{cause}"}}')


def said(program: programs.Program, event: str, **facts: object) -> bool:
    """Say whether the program logged `event` with these facts."""
    return any(
        line.get("event") == event and facts.items() <= line.items() for line in program.lines()
    )


def will_say(program: programs.Program, event: str, **facts: object) -> None:
    """Wait until `said`: a line is logged after what it tells of, and that may be seen before."""
    eventually(lambda: said(program, event, **facts))
