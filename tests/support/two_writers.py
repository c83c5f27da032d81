"""Two writers of ingest on one channel, and gates that hold up what they store."""

import contextlib
import threading
from collections.abc import Iterator

import psycopg

from services.ingest.commit_pacing import CommitPacing
from services.ingest.helper import Helper
from services.ingest.writer import Writer
from shared import postgres
from shared.errors import Unavailable
from shared.health import Health
from tests.support import messages
from tests.support.messages import FakeInbox, body, rows, validated

MANY = 10
"""A full batch."""
GATED, GATED_TOO = 1, 2
"""Whoever stores these values waits, each for a gate of its own."""
GATE = """
CREATE FUNCTION their_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.transaction_value <= 2 THEN PERFORM pg_advisory_xact_lock(NEW.transaction_value); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER their_gate BEFORE INSERT ON historical_transactions
    FOR EACH ROW EXECUTE FUNCTION their_gate()
"""


class Pair:
    """Both writers, and how often they connected."""

    def __init__(self, dsn: str, conn: psycopg.Connection) -> None:
        intake = messages.intake(conn)
        intake.batch_max = MANY
        self.dsn, self.connections, self.open, self.open_most = dsn, 0, 0, 2
        self.backends: list[int] = []
        self.inbox = FakeInbox()
        self.health = Health()
        self.first = Writer(self.connect, intake, CommitPacing(60), self.health, threading.Event())
        self.helper = Helper(self.first)
        self._tag = 0

    @contextlib.contextmanager
    def connect(self) -> Iterator[psycopg.Connection]:
        self.connections += 1
        if self.open == self.open_most:
            raise Unavailable("postgres", "too many connections")
        self.open += 1
        try:
            with messages.ingest_connection(self.dsn) as conn, postgres.translating():
                self.backends.append(conn.info.backend_pid)
                yield conn
        finally:
            self.open -= 1

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with self.first.running(), self.helper.running():
            self.first.serve(self.inbox)
            yield

    def receive(self, *texts: bytes, identities: dict[int, str] | None = None) -> None:
        """Have messages come, all in one piece; `identities` by their place."""
        for place, text in enumerate(texts):
            self._tag += 1
            identity = (identities or {}).get(place, f"m{self._tag}")
            self.inbox.pending.add(validated(text, identity, tag=self._tag))
        self.inbox.pending.announce()

    def both_at_work(self) -> bool:
        return self.first.in_hand is not None and self.helper.in_hand is not None

    def acknowledged(self) -> int:
        return (self.inbox.acknowledged or [0])[-1]


@contextlib.contextmanager
def pair_at_work(dsn: str, conn: psycopg.Connection) -> Iterator[Pair]:
    """Run both writers while inside, on a database with providers and gates."""
    prepare(conn)
    pair = Pair(dsn, conn)
    with pair.running():
        yield pair


def prepare(conn: psycopg.Connection) -> None:
    """Load the providers of the worked example, and make the gates."""
    messages.add_providers(conn)
    conn.execute(GATE)


@contextlib.contextmanager
def gate_closed(dsn: str, gate: int = GATED) -> Iterator[psycopg.Connection]:
    """Keep a gate closed while inside, or until what is yielded is rolled back."""
    with psycopg.connect(dsn) as user:
        user.execute("SELECT pg_advisory_xact_lock(%s)", [gate])
        yield user
        user.rollback()


def some(start: int, count: int = MANY, provider: int = 1) -> list[bytes]:
    return [body(provider, value) for value in range(start, start + count)]


def values(conn: psycopg.Connection) -> list[int]:
    return sorted(value for _, value in rows(conn))


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)
