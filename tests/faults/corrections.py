"""Someone at psql: rows by hand, initial values, names, new providers; recorded if committed.

Each transaction also writes its number into a table of its own. If the answer to COMMIT is lost,
the number decides, and it is asked only once the server has no session of ours any more: until
then a COMMIT that is still on its way may arrive.
"""

import contextlib
import random
import threading
from collections.abc import Iterator

import psycopg

from shared.errors import Unavailable
from tests.faults import addresses, rare_work
from tests.faults.message_mixture import LATE, PROVIDERS, VALUE_MAX
from tests.support.beside import beside
from tests.support.reference_ledger import Books, Changes, Provider, Row
from tests.support.stack import Stack

NAME = "corrections"
NAMES = ("Card {}", "Card {} renamed", "Kärt-{}")
PAUSE_S = 0.1
ROLLED_BACK = 0.1
PREPARE = """
CREATE SCHEMA faults;
CREATE TABLE faults.correction (number bigint PRIMARY KEY);
"""
END_OTHERS = """
SELECT count(pg_terminate_backend(pid))
  FROM pg_stat_activity
 WHERE application_name = current_setting('application_name')
   AND pid <> pg_backend_pid()
"""


def keys() -> list[str]:
    """Return every key that KeyDB may ever show."""
    ours = [f"{one}_{name.format(one)}" for one in (*PROVIDERS, *LATE) for name in NAMES]
    return [*ours, *rare_work.KEYS]


class Corrections:
    """One run's corrections; `books` is their ledger."""

    def __init__(self, stack: Stack, seed: int) -> None:
        """Prepare the database; nothing is corrected before `run`."""
        self._stack = stack
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._late = iter(LATE[:-5])
        self.books = Books()
        self.committed = 0
        self.asked_again = 0
        """COMMITs whose answer was lost."""
        self._begin()

    def run(self) -> None:
        """Correct until told to stop."""
        number = 0
        while not self._stop.is_set():
            with (
                contextlib.suppress(Unavailable, psycopg.OperationalError),
                self._connect() as conn,
            ):
                while not (conn.broken or self._stop.wait(PAUSE_S)):
                    number += 1
                    self._correct(conn, number)
            self._stop.wait(PAUSE_S)

    def stop(self) -> None:
        """Let `run` return."""
        self._stop.set()

    def _begin(self) -> None:
        changes = Changes({n: Provider(NAMES[0].format(n), 1000 * n) for n in PROVIDERS})
        with self._connect() as conn, conn.transaction():
            conn.execute(PREPARE)
            for number, provider in changes.providers.items():
                assert provider
                _insert_provider(conn, number, provider)
        self.books = self.books.after(changes)

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(addresses.postgres_dsn(self._stack, NAME), autocommit=True)

    def _correct(self, conn: psycopg.Connection, number: int) -> None:
        changes = Changes()
        try:
            # A server that is lost before the rollback takes all back by itself.
            with contextlib.suppress(psycopg.Rollback), conn.transaction():
                for _ in range(self._random.randint(1, 3)):
                    self._change(conn, changes, self.books.after(changes))
                conn.execute("INSERT INTO faults.correction VALUES (%s)", [number])
                if self._random.random() < ROLLED_BACK:
                    changes = Changes()
                    raise psycopg.Rollback
        except psycopg.Error as error:
            lost = not isinstance(
                error, psycopg.errors.DeadlockDetected | psycopg.errors.LockNotAvailable
            )
            if not (lost and self._was_committed(number)):
                return
        self.books = self.books.after(changes)
        self.committed += 1

    def _was_committed(self, number: int) -> bool:
        self.asked_again += 1
        waiting = threading.Event()
        while True:
            with contextlib.suppress(Unavailable, psycopg.Error), self._connect() as conn:
                while conn.execute(END_OTHERS).fetchone() != (0,):
                    waiting.wait(PAUSE_S)
                found = "SELECT count(*) FROM faults.correction WHERE number = %s"
                return conn.execute(found, [number]).fetchone() == (1,)
            waiting.wait(PAUSE_S)

    def _change(self, conn: psycopg.Connection, changes: Changes, seen: Books) -> None:
        kind = self._random.random()
        if kind < 0.35 or not seen.rows:
            self._insert_row(conn, changes, seen)
        elif kind < 0.55:
            self._update_row(conn, changes, seen)
        elif kind < 0.7:
            number = self._random.choice(list(seen.rows))
            conn.execute("DELETE FROM historical_transactions WHERE id = %s", [number])
            changes.rows[number] = None
        elif kind < 0.97:
            self._update_provider(conn, changes, seen)
        elif (late := next(self._late, None)) is not None:
            changes.providers[late] = Provider(NAMES[0].format(late), self._value())
            _insert_provider(conn, late, changes.providers[late] or Provider("", 0))

    def _insert_row(self, conn: psycopg.Connection, changes: Changes, seen: Books) -> None:
        made = self._row(seen)
        inserted = conn.execute(
            "INSERT INTO historical_transactions (provider_id, transaction_value)"
            " VALUES (%s, %s) RETURNING id",
            [made.provider, made.value],
        ).fetchone()
        assert inserted
        changes.rows[inserted[0]] = made

    def _update_row(self, conn: psycopg.Connection, changes: Changes, seen: Books) -> None:
        number, made = self._random.choice(list(seen.rows)), self._row(seen)
        conn.execute(
            "UPDATE historical_transactions SET provider_id = %s, transaction_value = %s"
            " WHERE id = %s",
            [made.provider, made.value, number],
        )
        changes.rows[number] = made

    def _update_provider(self, conn: psycopg.Connection, changes: Changes, seen: Books) -> None:
        number = self._random.choice(list(seen.providers))
        name = self._random.choice(NAMES).format(number)
        made = Provider(name, self._value())
        conn.execute(
            "UPDATE initial_data SET provider_name = %s, initial_value = %s WHERE id = %s",
            [made.name, made.initial, number],
        )
        changes.providers[number] = made

    def _row(self, seen: Books) -> Row:
        return Row(self._random.choice(list(seen.providers)), self._value())

    def _value(self) -> int:
        return self._random.randint(-VALUE_MAX, VALUE_MAX)


def _insert_provider(conn: psycopg.Connection, number: int, provider: Provider) -> None:
    conn.execute(
        "INSERT INTO initial_data (id, provider_name, initial_value) VALUES (%s, %s, %s)",
        [number, provider.name, provider.initial],
    )


@contextlib.contextmanager
def correcting(stack: Stack, seed: int) -> Iterator[Corrections]:
    """Correct while inside; at the end every COMMIT is known to have happened or not."""
    corrections = Corrections(stack, seed)
    with beside(corrections.run, corrections.stop):
        yield corrections
