"""Aimed faults strike at the very step they are aimed at: it shows where the README says.

`test_faults.py` has all of them; here are those that leave a trace of their own, each by itself.
"""

import contextlib
import threading
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException

import psycopg
import pytest

from tests.faults import addresses, catalogue, kill_faults, network_faults, service_health
from tests.faults.fault import title
from tests.support import containers, ledger, messages, stack
from tests.support.beside import beside
from tests.support.eventually import eventually
from tests.support.ledger import Values
from tests.support.stack import Stack

PROVIDERS = 4
BURST = 10
PAUSE_S = 0.1
PER_TICK = 100
RIGHT_WITHIN_S = 60.0
METRICS_PORTS = {"ingest": 9101, "ticker": 9102, "syncer": 9103}
DUPLICATES = "minutebook_ingest_duplicates_total"
REDELIVERED = "minutebook_ingest_redelivered_total"
REPEATED = "minutebook_repeated_publications_total"
SENT_ALL = 'minutebook_republished_total{cause="unknown"}'
STARTED = "process_start_time_seconds"
LOST_POSTGRES = 'minutebook_reconnects_total{server="postgres"}'
LOST_RABBITMQ = 'minutebook_reconnects_total{server="rabbitmq"}'
SHOWS = {
    "ingest: postgres, batch cut in the middle": LOST_POSTGRES,
    "ingest: postgres, reply to a batch eaten": DUPLICATES,
    "ingest: postgres, COMMIT lost": LOST_POSTGRES,
    "ingest: postgres, reply to COMMIT eaten": DUPLICATES,
    "ingest: postgres, reply to COMMIT cut in the middle": DUPLICATES,
    "ingest: rabbitmq, delivery cut in the middle": REDELIVERED,
    "ingest: rabbitmq, ack eaten": DUPLICATES,
    "ingest: killed when it received a message": REDELIVERED,
    "ingest: killed before the insert": REDELIVERED,
    "ingest: killed between insert and COMMIT": REDELIVERED,
    "ingest: killed between COMMIT and ack": DUPLICATES,
    "ingest: killed before a batch of one statement": REDELIVERED,
    "ingest: killed between such a batch and ack": DUPLICATES,
    "ingest: killed before the ack is sent": DUPLICATES,
    "syncer: postgres, tick cut in the middle": LOST_POSTGRES,
    "syncer: postgres, COMMIT lost": LOST_POSTGRES,
    "syncer: postgres, reply to COMMIT eaten": LOST_POSTGRES,
    "syncer: rabbitmq, tick cut in the middle": LOST_RABBITMQ,
    "syncer: rabbitmq, ack eaten": LOST_RABBITMQ,
    "syncer: keydb, reply to the script eaten": REPEATED,
    "syncer: keydb, reply to the script cut in the middle": REPEATED,
    "syncer: killed between tick and COMMIT": STARTED,
    "syncer: killed between COMMIT and script": STARTED,
    "syncer: killed between script and published_at": STARTED,
    "syncer: killed within a chunked send": SENT_ALL,
    "ticker: rabbitmq, tick cut in the middle": LOST_RABBITMQ,
    "ticker: rabbitmq, confirm eaten": LOST_RABBITMQ,
}
"""Where it shows that the fault struck at this very step. A service that died counts from 0."""
ORDINARY_ONLY = {
    "ingest: postgres, reply to a batch eaten",
    "ingest: killed before a batch of one statement",
    "ingest: killed between such a batch and ack",
}
"""Aimed at the one statement that stores an ordinary batch. All others need a transaction: beside a
trigger that could rewrite rows no batch is ordinary."""
HAVE_TRIGGER = """
CREATE OR REPLACE FUNCTION their_trigger() RETURNS trigger LANGUAGE plpgsql
AS 'BEGIN RETURN NEW; END';
CREATE OR REPLACE TRIGGER their_trigger BEFORE INSERT ON historical_transactions
    FOR EACH ROW EXECUTE FUNCTION their_trigger()
"""
HAVE_NO_TRIGGER = "DROP TRIGGER IF EXISTS their_trigger ON historical_transactions"
AIMED = {title(one): one for one in catalogue.AIMED}


class Traffic:
    """A hundred messages a second, each confirmed and with an identity of its own."""

    def __init__(self, run: Stack) -> None:
        self._run = run
        self._stop = threading.Event()
        self._turn = threading.Lock()
        self.sent = 0

    def flow(self) -> None:
        """Publish until told to stop."""
        while not self._stop.wait(PAUSE_S):
            with self._turn:
                numbers = range(self.sent + 1, self.sent + BURST + 1)
                bodies = [messages.body(provider(n), n) for n in numbers]
                stack.publish(self._run, *bodies, message_ids=[f"m{n}" for n in numbers])
                self.sent += BURST

    def stop(self) -> None:
        """Let `flow` return."""
        self._stop.set()

    @contextlib.contextmanager
    def held(self) -> Iterator[int]:
        """Publish nothing while inside; yields how many messages were sent so far."""
        with self._turn:
            yield self.sent


def provider(number: int) -> int:
    """Return whose message it is: in most ticks most providers are quiet, and none hides a loss."""
    return 1 + number // PER_TICK % PROVIDERS


@pytest.fixture(scope="module")
def run() -> Iterator[Stack]:
    """A stack of ours, with everything in between."""
    with stack.project(containers.engine()) as one, contextlib.ExitStack() as prepared:
        one.settings["TICK_INTERVAL_SECONDS"] = "1"
        prepared.enter_context(network_faults.prepare(one))
        prepared.enter_context(kill_faults.prepare(one))
        stack.build(one.client)
        service_health.start(one)
        with one.postgres() as conn:
            for number in range(1, PROVIDERS + 1):
                ledger.add_provider(conn, f"Card {number}")
        yield one


@pytest.fixture(scope="module")
def traffic(run: Stack) -> Iterator[Traffic]:
    """Messages all the time."""
    one = Traffic(run)
    with beside(one.flow, one.stop):
        yield one


@pytest.mark.parametrize("name", SHOWS)
def test_an_aimed_fault_shows_where_it_struck_and_loses_and_doubles_nothing(
    run: Stack, traffic: Traffic, name: str
) -> None:
    fault, where = AIMED[name], SHOWS[name]
    with batches(run, ordinary=name in ORDINARY_ONLY):
        # Not before that: it may start the service again, which then counts from 0.
        before = 0.0 if "killed" in name else metric(run, fault.part, where)
        assert fault.strike(run).in_flight
    eventually(lambda: metric(run, fault.part, where) > before, RIGHT_WITHIN_S)
    with traffic.held() as sent:
        expected = [(n, provider(n), n) for n in range(1, sent + 1)]
        with run.postgres() as conn:
            eventually(lambda: count(conn) >= sent, RIGHT_WITHIN_S)
            assert rows(conn) == expected
            assert conn.execute("SELECT count(*) FROM dead_letter").fetchone() == (0,)
            eventually(lambda: shown(run) == ledger.truth(conn), RIGHT_WITHIN_S)
            ledger.assert_counted_once(conn)


@contextlib.contextmanager
def batches(run: Stack, *, ordinary: bool) -> Iterator[None]:
    """Have ordinary batches while inside, or none."""
    with run.postgres() as conn:
        conn.execute(HAVE_NO_TRIGGER if ordinary else HAVE_TRIGGER)
        if ordinary:  # ingest remembers for a while that it met others
            run.container("ingest").restart()
            eventually(lambda: metric(run, "ingest", STARTED) > 0, RIGHT_WITHIN_S)
        yield
        conn.execute(HAVE_TRIGGER)


def metric(run: Stack, service: str, name: str) -> float:
    """Return a metric of the service; 0 while it cannot be reached."""
    (port,) = addresses.ports(run, service, METRICS_PORTS[service]) or [0]
    with (
        contextlib.suppress(OSError, HTTPException),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer,
    ):
        for line in answer.read().decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
    return 0.0


def count(conn: psycopg.Connection) -> int:
    return len(rows(conn))


def rows(conn: psycopg.Connection) -> list[tuple[int, int, int]]:
    """Return number, provider and value of each message that is a row."""
    query = """
    SELECT substr(message_id, 2)::bigint, provider_id, transaction_value
      FROM historical_transactions
     ORDER BY 1
    """
    return conn.execute(query).fetchall()


def shown(run: Stack) -> Values:
    with run.keydb() as keydb:
        return ledger.shown(keydb)
