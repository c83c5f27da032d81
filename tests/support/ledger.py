"""A ledger under test: rows by hand, syncers as production opens them, and what is true."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from pydantic import Secret

from services.syncer import tick_store
from services.syncer.core import KEYS_PER_SCRIPT_MAX, Accumulator, Publication, Watermark
from services.syncer.projection import KEYS_KEY, WATERMARK_KEY, Projection, ScriptResult
from services.syncer.service import Syncer
from shared import keydb, postgres
from shared.settings import KeydbSettings, PostgresSettings
from tests.support.eventually import eventually
from tests.support.servers import Keydb

START = datetime(2020, 1, 1, tzinfo=UTC)
Values = dict[str, str]

TRUTH = """
SELECT p.id || '_' || p.provider_name,
       (p.initial_value + coalesce(sum(h.transaction_value), 0))::text
  FROM initial_data p
  LEFT JOIN historical_transactions h ON h.provider_id = p.id
 GROUP BY p.id, p.provider_name, p.initial_value
"""
BALANCES = """
SELECT key, balance::text
  FROM (SELECT DISTINCT ON (provider_id) key, balance
          FROM balance
         WHERE epoch <= %s
         ORDER BY provider_id, epoch DESC) AS newest
 WHERE key IS NOT NULL
"""
LATEST = 2**62


def minute(number: int) -> datetime:
    """Return the `number`th boundary of a past that Postgres's clock has long left behind."""
    return START + timedelta(minutes=number)


def add_provider(conn: psycopg.Connection, name: str, initial: int = 0) -> int:
    """Insert a provider as a person at psql does; returns its id."""
    row = conn.execute(
        "INSERT INTO initial_data (provider_name, initial_value) VALUES (%s, %s) RETURNING id",
        [name, initial],
    ).fetchone()
    assert row
    return int(row[0])


def add(conn: psycopg.Connection, provider: int, value: int) -> None:
    """Insert a transaction by hand."""
    conn.execute(
        "INSERT INTO historical_transactions (provider_id, transaction_value) VALUES (%s, %s)",
        [provider, value],
    )


class Meddled(Projection):
    """A projection beside which something happens between reading the watermark and the script."""

    def __init__(self, client: keydb.Client, meddle: Callable[[], None]) -> None:
        """`meddle` is called once."""
        super().__init__(client)
        self._meddle: Callable[[], None] | None = meddle

    def apply(self, publication: Publication) -> ScriptResult:
        meddle, self._meddle = self._meddle, None
        if meddle:
            meddle()
        return super().apply(publication)


@contextlib.contextmanager
def keydb_client(url: str) -> Iterator[keydb.Client]:
    """Open KeyDB as the syncer does."""
    with keydb.client(KeydbSettings(keydb_url=Secret(url)), name="test") as client:
        yield client


@contextlib.contextmanager
def projecting(url: str) -> Iterator[Projection]:
    """Yield a projection over a client of its own."""
    with keydb_client(url) as client:
        yield Projection(client)


@contextlib.contextmanager
def syncer_of(dsn: str, projection: Projection) -> Iterator[Syncer]:
    """Yield a syncer on a connection of its own, opened as the service opens it."""
    settings = PostgresSettings(postgres_dsn=Secret(dsn))
    with postgres.connection(settings, application="test", options=tick_store.OPTIONS) as conn:
        yield Syncer(conn, projection)


@contextlib.contextmanager
def syncing(dsn: str, url: str, *, chunk: int = KEYS_PER_SCRIPT_MAX) -> Iterator[Syncer]:
    """Yield a syncer on connections of its own."""
    with keydb_client(url) as client, syncer_of(dsn, Projection(client, chunk=chunk)) as syncer:
        yield syncer


def truth(conn: psycopg.Connection) -> Values:
    """Return what KeyDB should show, worked out from the user's tables alone."""
    return dict(conn.execute(TRUTH).fetchall())


def balances(conn: psycopg.Connection, epoch: int = LATEST) -> Values:
    """Return what the ledger says at `epoch`."""
    return dict(conn.execute(BALANCES, [epoch]).fetchall())


def newest(conn: psycopg.Connection) -> tuple[int, int, int]:
    """Return epoch, rows and amount of the newest tick."""
    row = conn.execute(
        "SELECT epoch, rows, amount::bigint FROM tick ORDER BY epoch DESC LIMIT 1"
    ).fetchone()
    assert row
    return row


def shown(client: Any) -> Values:
    """Return every key of KeyDB that is no bookkeeping of ours."""
    return {key: client.get(key) for key in client.scan_iter() if not key.startswith("minutebook:")}


def dump(server: Keydb) -> Callable[[], None]:
    """Take what the store holds now; returns what puts it back, as an old file would."""
    with server.client(decode_responses=False) as raw:
        held = {key: raw.dump(key) for key in raw.scan_iter()}

    def restore() -> None:
        with (
            server.client(decode_responses=False) as raw,
            raw.pipeline(transaction=True) as pipe,
        ):
            pipe.flushall()
            for key, value in held.items():
                pipe.restore(key, 0, value)
            pipe.execute()

    return restore


def flush(server: Keydb) -> Callable[[], None]:
    """Return what empties the store."""

    def empty() -> None:
        with server.client() as raw:
            raw.flushall()

    return empty


def watermark(client: Any) -> tuple[str, str]:
    """Return epoch and token that KeyDB shows, empty if it shows none."""
    epoch, token = client.hmget(WATERMARK_KEY, ["epoch", "token"])
    return epoch or "", token or ""


def mark_of_newest(conn: psycopg.Connection) -> tuple[str, str]:
    """Return epoch and token of the newest tick as KeyDB shows them."""
    row = conn.execute(
        "SELECT epoch::text, token FROM tick ORDER BY tick.epoch DESC LIMIT 1"
    ).fetchone()
    assert row
    return row


def assert_right(conn: psycopg.Connection, client: Any) -> None:
    """Fail unless KeyDB shows the newest tick, and that tick is the truth."""
    _same(balances(conn), truth(conn))
    _same(shown(client), truth(conn))
    _same(client.smembers(KEYS_KEY), set(truth(conn)))
    _same(watermark(client), mark_of_newest(conn))


def assert_counted_once(conn: psycopg.Connection) -> None:
    """Fail unless the ticks together hold each outbox row once and the balances are the truth."""
    counted = conn.execute("SELECT sum(rows)::bigint, sum(amount)::bigint FROM tick").fetchone()
    written = conn.execute(
        "SELECT count(*), coalesce(sum(amount), 0)::bigint FROM outbox"
    ).fetchone()
    _same(counted, written)
    _same(balances(conn), truth(conn))


def _same(seen: object, expected: object) -> None:
    assert seen == expected, f"{seen} is not {expected}"


@contextlib.contextmanager
def waiting_for_the_tick_lock(dsn: str, work: Callable[[], object]) -> Iterator[psycopg.Connection]:
    """Yield a transaction that holds the tick lock while `work`, in a thread, waits for it.

    Committed at the end, when `work` goes on; what it raised is raised here.
    """
    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(dsn, autocommit=True) as watch,
        psycopg.connect(dsn) as holder,
    ):
        holder.execute(tick_store.LOCK)
        running = pool.submit(work)
        eventually(lambda: waits_for_advisory_lock(watch))
        yield holder
        holder.commit()
        running.result(timeout=60)


def waits_for_advisory_lock(conn: psycopg.Connection) -> bool:
    """Say whether someone waits for an advisory lock of this database."""
    row = conn.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    return row != (0,)


def tick_within(conn: psycopg.Connection, boundary: datetime | None) -> Watermark:
    """Write a tick in the open transaction of `conn`, which holds the lock; None: interim."""
    last = tick_store.newest_tick(conn)
    mark = Watermark(last.epoch + 1, f"by-hand-{last.epoch + 1}")
    tick_store.insert_tick(conn, mark, boundary, Accumulator(last.token, last.snapshot))
    return mark


def count_all(conn: psycopg.Connection) -> None:
    """Write a tick that is not published: all that is committed is counted."""
    write_tick(conn, minute(tick_store.newest_tick(conn).epoch + 1))


def write_tick(conn: psycopg.Connection, boundary: datetime | None) -> Watermark:
    """Write a tick that is not published; without a boundary an interim one."""
    with conn.transaction():
        tick_store.lock_ticks(conn)
        return tick_within(conn, boundary)


def rfc3339_micros(seconds: int, micros: int) -> str:
    """Return a time since 1970 as `2026-11-20T23:42:00.000000Z`."""
    at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
