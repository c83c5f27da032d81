"""The time in which a filled queue is emptied: measured from outside, for every program alike.

Each 20 ms an observer asks the broker how many messages are ready. The clock starts at the last
sight of a full queue (so the program's start and connecting do not count) and stops when none is
ready and everything is settled: all rows visible in Postgres or, for a program without a database,
its word that the last acknowledgement is out and its connection is closed.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pika
import psycopg

from bench import cores
from bench.ground import QUEUE, Ground
from bench.peers.broker import SETTLED
from bench.programs import Contender, Program

POLL_EVERY_S = 0.02
TIMEOUT_S = 900.0

# The newest row by its primary key costs the same however many there are; only when the last id is
# seen are all counted. With one writer that is once.
NEWEST = "SELECT coalesce(max(id), 0) FROM historical_transactions"
TOTAL = """
SELECT (SELECT count(*) FROM historical_transactions WHERE id > {kept})
     + (SELECT count(*) FROM dead_letter)
"""
DEAD = "SELECT coalesce(max(id), 0) FROM dead_letter"


@dataclass(frozen=True)
class Drain:
    """A queue emptied."""

    messages: int
    seconds: float
    cpu_s: float
    """CPU of the programs alone, neither Postgres's nor the broker's."""
    others_s: Mapping[str, float]
    """CPU of the servers, and what was left idle (`bench.cores`)."""

    @property
    def per_s(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU microseconds per message."""
        return self.cpu_s / self.messages * 1e6


class Stored:
    """Whether all messages are rows or dead letters, asked cheaply."""

    def __init__(self, conn: psycopg.Connection, messages: int, kept: int = 0) -> None:
        """`conn` is the observer's own, in autocommit mode; rows up to the id `kept` were there."""
        self._conn = conn
        self._messages = messages
        self._kept = kept

    def __call__(self) -> bool:
        """Ask."""
        seen = self._number(NEWEST) - self._kept + self._number(DEAD)
        total = TOTAL.format(kept=self._kept)
        return seen >= self._messages and self._number(total) == self._messages

    def _number(self, query: str) -> int:
        row = self._conn.execute(query.encode()).fetchone()
        return int(row[0]) if row else 0


def drained(
    ground: Ground,
    messages: int,
    programs: Sequence[Program],
    settled: Callable[[], bool],
    release: Callable[[], object] | None = None,
) -> Drain:
    """Watch the queue from full to settled. Raises `TimeoutError`, `programs.Ended`.

    `release` lets programs that wait for it begin, once the observer is looking.
    """
    with contextlib.closing(
        pika.BlockingConnection(pika.URLParameters(ground.amqp_url))
    ) as connection:
        channel = connection.channel()

        def ready() -> int:
            return int(channel.queue_declare(QUEUE, passive=True).method.message_count)

        deadline = time.monotonic() + TIMEOUT_S
        started, cpu_before = time.monotonic(), sum(program.cpu_s() for program in programs)
        others_before = cores.spent_s()
        full = True
        if release:
            release()
        while full or ready() > 0 or not settled():
            now, cpu_now = time.monotonic(), sum(program.cpu_s() for program in programs)
            if full and ready() >= messages:
                started, cpu_before, others_before = now, cpu_now, cores.spent_s()
            else:
                full = False
            if now > deadline:
                raise TimeoutError(f"the queue was not empty after {TIMEOUT_S:g} s")
            for program in programs:
                program.log()
            connection.sleep(POLL_EVERY_S)
        ended = time.monotonic()
        others = cores.spent_s()
    cpu_s = sum(program.cpu_s() for program in programs) - cpu_before
    others_s = {name: others[name] - before for name, before in others_before.items()}
    return Drain(messages, ended - started, cpu_s, others_s)


def drain_with(contender: Contender, ground: Ground, messages: int, kept: int = 0) -> Drain:
    """Start one program on a filled queue and watch it to the end; `kept`: see `Stored`."""
    with (
        contender.running(ground, BENCH_MESSAGES=str(messages)) as program,
        observer(ground) as conn,
    ):
        if contender.name.startswith("null"):
            return drained(ground, messages, [program], lambda: SETTLED in program.log())
        return drained(ground, messages, [program], Stored(conn, messages, kept))


@contextlib.contextmanager
def observer(ground: Ground) -> Iterator[psycopg.Connection]:
    """Open a connection that only looks."""
    with psycopg.connect(ground.dsn, autocommit=True, prepare_threshold=1) as conn:
        yield conn
