"""The writer of ingest on a channel, and a gate that holds up what it stores."""

import contextlib
import threading
from collections.abc import Iterator
from functools import partial

import psycopg

from services.ingest.commit_pacing import CommitPacing
from services.ingest.writer import Writer
from shared.health import Health
from tests.support import messages
from tests.support.messages import FakeChannel, body, rows, validated

MANY = 10
"""A full batch."""
GATED = 1
"""Whoever stores this value waits for the gate."""
GATE = """
CREATE FUNCTION their_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.transaction_value = 1 THEN PERFORM pg_advisory_xact_lock(NEW.transaction_value); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER their_gate BEFORE INSERT ON historical_transactions
    FOR EACH ROW EXECUTE FUNCTION their_gate()
"""


class GatedWriter:
    """The writer's thread on a channel without a broker."""

    def __init__(self, dsn: str, conn: psycopg.Connection) -> None:
        rules = messages.rules(conn)
        rules.batch_max = MANY
        self.channel, self.health = FakeChannel(), Health()
        self.writer = Writer(
            partial(messages.ingest_connection, dsn),
            rules,
            CommitPacing(60),
            self.health,
            threading.Event(),
        )
        self._tag = 0

    def receive(self, *texts: bytes, named: bool = True) -> None:
        """Have messages come, all in one piece, each with an identity if they are `named`."""
        first = self._tag + 1
        self._tag += len(texts)
        self.channel.receive(
            *(
                validated(text, f"m{tag}" if named else None, tag=tag)
                for tag, text in enumerate(texts, first)
            )
        )

    def acknowledged(self) -> int:
        """Return up to which tag all is acknowledged."""
        return (self.channel.acknowledged or [0])[-1]


@contextlib.contextmanager
def at_work(dsn: str, conn: psycopg.Connection) -> Iterator[GatedWriter]:
    """Run a writer while inside, on a database with providers and the gate."""
    messages.add_providers(conn)
    conn.execute(GATE)
    gated = GatedWriter(dsn, conn)
    with gated.writer.running():
        gated.writer.backlog = gated.channel.backlog
        yield gated


@contextlib.contextmanager
def gate_closed(dsn: str) -> Iterator[None]:
    """Keep the gate closed while inside."""
    with psycopg.connect(dsn) as user:
        user.execute("SELECT pg_advisory_xact_lock(%s)", [GATED])
        yield
        user.rollback()


def some(start: int, count: int = MANY) -> list[bytes]:
    """Return the bodies of so many transactions, with values from `start` on."""
    return [body(1, value) for value in range(start, start + count)]


def values(conn: psycopg.Connection) -> list[int]:
    """Return the values that are stored, in order."""
    return sorted(value for _, value in rows(conn))
