"""A database and a store that two writers change, beside the books of what they wrote.

`Books` are kept from what was asked for, never from what Postgres says.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg
import redis
from psycopg import sql

from services.syncer.projection import KEYS_KEY, WATERMARK_KEY
from tests.support import ledger, servers
from tests.support.reference_ledger import Books, Changes, Provider, Row, Values
from tests.support.stepped_syncer import SteppedSyncer

WRITERS = 2
LIMITS = "-c statement_timeout=30s -c lock_timeout=20s"
"""Nobody here waits for another of the same thread, or the run would never go on."""
TABLES = ("initial_data", "historical_transactions", "outbox", "tick", "balance")

# What a snapshot shows is left to Postgres: services/syncer/tick_store.py says it in another way.
ACCOUNTS = """
SELECT provider_id, sum(amount)::bigint
  FROM ((SELECT DISTINCT ON (provider_id) provider_id, balance AS amount
           FROM balance
          ORDER BY provider_id, epoch DESC)
         UNION ALL
        (SELECT o.provider_id, o.amount
           FROM outbox o,
                (SELECT snapshot FROM tick ORDER BY epoch DESC LIMIT 1) AS t
          WHERE NOT pg_visible_in_snapshot(o.xid, t.snapshot))) AS account
 GROUP BY provider_id
"""


@dataclass(frozen=True)
class Seen:
    """What a reader gets in one MULTI."""

    epoch: int
    token: str
    values: Values


class SteppedSystem:
    """Everything that lasts for one run of the machine."""

    def __init__(
        self, dsn: str, keydb: servers.Keydb, store: "redis.Redis", alive: ExitStack
    ) -> None:
        """`store` is emptied; all that is opened is closed by `alive`."""
        self.keydb, self._dsn, self._store, self._alive = keydb, dsn, store, alive
        self.books = Books()
        self.counted: dict[str, Values] = {}
        self._saved: Books | None = None
        self.open: list[Changes | None] = [None] * WRITERS
        self.conn = self._connect(autocommit=True)
        self.writers = [self._connect() for _ in range(WRITERS)]
        self.syncers = [SteppedSyncer(dsn, keydb.url(), self.conn, self._note) for _ in range(2)]
        for syncer in self.syncers:
            alive.callback(syncer.close)
        store.flushall()

    def _connect(self, *, autocommit: bool = False) -> psycopg.Connection:
        opened = psycopg.connect(self._dsn, autocommit=autocommit, options=LIMITS)
        return self._alive.enter_context(opened)

    def _note(self, token: str) -> None:
        # The tick's statement has just run: what was committed by now is what it must count.
        self.counted[token] = self.books.balances()

    # --- writing ------------------------------------------------------------------------------

    def mine(self, writer: int) -> Books:
        """Return the books as this writer sees them."""
        return self.books.after(self._changes(writer))

    def free(self, writer: int, kind: str) -> list[int]:
        """Return the ids that this writer sees and the other one has not touched."""
        other = self.open[1 - writer] or Changes()
        seen = getattr(self.mine(writer), kind)
        return sorted(seen.keys() - getattr(other, kind).keys())

    def unused(self, writer: int) -> list[int]:
        """Return the providers that nobody has a row for, committed or not.

        Nor had one in the other's open transaction, which would have to be waited for.
        """
        other = self.open[1 - writer] or Changes()
        rows = [*self.mine(writer).rows.values(), *self.books.rows.values()]
        used = {row.provider for row in rows} | other.referred
        return [number for number in self.free(writer, "providers") if number not in used]

    def put_row(self, writer: int, row: Row, number: int | None = None) -> None:
        """Insert a transaction, or change the one with this id."""
        if number is None:
            number = self._one(
                writer,
                "INSERT INTO historical_transactions (provider_id, transaction_value)"
                " VALUES (%s, %s) RETURNING id",
                [row.provider, row.value],
            )
        else:
            self.writers[writer].execute(
                "UPDATE historical_transactions SET provider_id = %s, transaction_value = %s"
                " WHERE id = %s",
                [row.provider, row.value, number],
            )
        self._changes(writer).rows[number] = row
        self._changes(writer).referred.add(row.provider)

    def put_provider(self, writer: int, provider: Provider, number: int | None = None) -> None:
        """Insert a provider, or change the one with this id."""
        if number is None:
            number = self._one(
                writer,
                "INSERT INTO initial_data (provider_name, initial_value)"
                " VALUES (%s, %s) RETURNING id",
                [provider.name, provider.initial],
            )
        else:
            self.writers[writer].execute(
                "UPDATE initial_data SET provider_name = %s, initial_value = %s WHERE id = %s",
                [provider.name, provider.initial, number],
            )
        self._changes(writer).providers[number] = provider

    def delete_row(self, writer: int, number: int) -> None:
        """Delete a transaction."""
        self.writers[writer].execute("DELETE FROM historical_transactions WHERE id = %s", [number])
        self._changes(writer).rows[number] = None

    def delete_provider(self, writer: int, number: int) -> None:
        """Delete a provider without transactions."""
        self.writers[writer].execute("DELETE FROM initial_data WHERE id = %s", [number])
        self._changes(writer).providers[number] = None

    def commit(self, writer: int) -> None:
        """Commit; from now on it counts."""
        self.writers[writer].commit()
        self.books = self.mine(writer)
        self.open[writer] = None

    def roll_back(self, writer: int) -> None:
        """Undo all that was done since the last commit."""
        self.writers[writer].rollback()
        self.open[writer] = None

    def _changes(self, writer: int) -> Changes:
        changes = self.open[writer] = self.open[writer] or Changes()
        return changes

    def _one(self, writer: int, query: str, values: list[object]) -> int:
        row = self.writers[writer].execute(query.encode(), values).fetchone()
        assert row
        return int(row[0])

    # --- losing -------------------------------------------------------------------------------

    def save_database(self) -> None:
        """Remember what a replica that lags from now on would have."""
        self.conn.execute("DROP SCHEMA IF EXISTS saved CASCADE")
        self.conn.execute("CREATE SCHEMA saved")
        for table in TABLES:
            self.conn.execute(f"CREATE TABLE saved.{table} AS TABLE public.{table}".encode())
        self._saved = self.books

    def lose_commits(self) -> None:
        """Fail over to it: every connection ends, and what it lacks never happened.

        Transaction ids go on above those that were lost; model/fold.pml has the other case.
        """
        if self._saved is None:
            return
        for writer in range(WRITERS):
            self.roll_back(writer)
        for syncer in self.syncers:
            syncer.cut()
        with self.conn.transaction():
            self.conn.execute("SET LOCAL session_replication_role = replica")
            for table in reversed(TABLES):
                self.conn.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
            for table in TABLES:
                self.conn.execute(
                    f"INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE saved.{table}".encode()
                )
        self.books = self._saved

    # --- looking ------------------------------------------------------------------------------

    def seen(self) -> Seen | None:
        """Return what the store shows, or None if it is empty."""
        names = [key for key in self._store.scan_iter() if not key.startswith("minutebook:")]
        with self._store.pipeline(transaction=True) as both:
            both.hmget(WATERMARK_KEY, ["epoch", "token"])
            both.smembers(KEYS_KEY)
            both.mget(["", *names])
            (epoch, token), ours, values = both.execute()
        assert ours == set(names), "the set of our keys is another than the keys that are there"
        if token is None:
            assert not names, "keys without a watermark"
            return None
        return Seen(int(epoch), token, dict(zip(names, values[1:], strict=True)))

    def newest(self) -> tuple[str, Values]:
        """Return the newest tick's token and its balances."""
        _epoch, token = ledger.mark_of_newest(self.conn)
        return token, ledger.balances(self.conn)

    def accounts(self) -> dict[int, int]:
        """Return by provider the newest balance plus what the newest tick has not counted."""
        return dict(self.conn.execute(ACCOUNTS).fetchall())


@contextmanager
def stepped_system(postgres: servers.Postgres, keydb: servers.Keydb) -> Iterator[SteppedSystem]:
    """Yield a system of its own."""
    with postgres.database() as dsn, keydb.client() as store, ExitStack() as alive:
        yield SteppedSystem(dsn, keydb, store, alive)
