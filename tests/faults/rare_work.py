"""Work for the steps that load alone seldom brings: releasing messages, a partition to drop.

What is made here is gone again afterwards: it is in no ledger but for `KEYS`, which KeyDB may show
meanwhile. Everything may be tried again: another part may be away at the moment.
"""

import contextlib
import random
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import psycopg
from psycopg import sql

from shared.errors import Unavailable
from tests.faults import addresses
from tests.support.eventually import eventually
from tests.support.partitions import GO_ON
from tests.support.stack import QUEUE, Stack

T = TypeVar("T")
Nudge = Callable[[], object]

PROVIDER, NAME = 900_001, "Provoked"
KEYS = [f"{PROVIDER}_{NAME}"]
VALUE = 77
PARTITION_H = 4
EXPIRED_H = range(40, 16_000)
"""One drawn at random: two faults at a time must not have the same partition."""
PATIENCE_S = 60.0
HELD = "held between detach and drop"

WAIT: str = """
INSERT INTO dead_letter (
       message_id, reason, error, queue, body, properties, provider_id, value, state)
VALUES (%s, 'unknown_provider', 'provoked', %s, '{}', '{}', %s, %s, 'waiting')
ON CONFLICT DO NOTHING
"""
ARRIVE = "INSERT INTO initial_data VALUES (%s, %s, 0) ON CONFLICT DO NOTHING"
RELEASED = "SELECT count(*) FROM historical_transactions WHERE message_id = %s"
# A life begins with a retention round, after its first tick.
NEW_LIFE = """
SELECT pg_terminate_backend(pid)
  FROM pg_stat_activity
 WHERE application_name = 'minutebook-syncer'
"""
# In this life of the server only: the next one finds the same partition, and must drop it.
HOLD = """
CREATE SCHEMA provocation;
CREATE FUNCTION provocation.hold() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_postmaster_start_time() = {started}::timestamptz
       AND to_regclass({name}) IS NOT NULL
       AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass({name})) THEN
        PERFORM set_config('application_name', {held}, false);
        PERFORM pg_sleep(20);
    END IF;
END $$;
CREATE EVENT TRIGGER hold ON ddl_command_end WHEN TAG IN ('ALTER TABLE')
    EXECUTE FUNCTION provocation.hold();
"""
LET_GO = "DROP SCHEMA IF EXISTS provocation CASCADE"
DROP = "SELECT to_regclass(%(name)s) IS NULL OR minutebook_drop_partition(%(name)s)"


@contextlib.contextmanager
def none(_stack: Stack) -> Iterator[Nudge]:
    """Leave it to the load."""
    yield lambda: None


@contextlib.contextmanager
def release(stack: Stack) -> Iterator[Nudge]:
    """Have a provider come that a message waits for."""
    identity = f"provoked-{uuid.uuid4()}"

    def arrive(conn: psycopg.Connection) -> bool:
        with conn.transaction():
            conn.execute(WAIT.encode(), [identity, QUEUE, PROVIDER, VALUE])
            conn.execute(ARRIVE, [PROVIDER, NAME])
        return True

    def leave(conn: psycopg.Connection) -> bool:
        with conn.transaction():
            if conn.execute(RELEASED, [identity]).fetchone() == (0,):
                return False
            conn.execute("DELETE FROM historical_transactions WHERE message_id = %s", [identity])
            conn.execute("DELETE FROM initial_data WHERE id = %s", [PROVIDER])
        return True

    _done(stack, arrive)
    yield lambda: None
    _done(stack, leave)


@contextlib.contextmanager
def expired_partition(stack: Stack, *, held: bool = False) -> Iterator[Nudge]:
    """Have the syncer find a partition to drop; `held` between detach and drop, once."""
    age = timedelta(hours=random.choice(EXPIRED_H))
    hour = (datetime.now(UTC) - age).replace(minute=0, second=0, microsecond=0)
    hour -= timedelta(hours=hour.hour % PARTITION_H)
    name = f"outbox_{hour:%Y%m%d_%H}"

    def make(conn: psycopg.Connection) -> bool:
        conn.execute(GO_ON)
        conn.execute("SELECT minutebook_make_partition(%s)", [hour])
        if held:
            _hold(conn, name)
        return True

    def tidy(conn: psycopg.Connection) -> bool:
        if held:
            conn.execute(LET_GO)
        return conn.execute(DROP, {"name": name}).fetchone() == (True,)

    _done(stack, make)
    try:
        yield lambda: _done(stack, _new_life)
    finally:
        _done(stack, tidy)


def is_held(stack: Stack) -> bool:
    """Say whether a partition is detached and not dropped at this moment."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
    return _done(stack, lambda conn: conn.execute(query, [HELD]).fetchall()) == [(1,)]


def _new_life(conn: psycopg.Connection) -> bool:
    conn.execute(NEW_LIFE)
    return True


def _hold(conn: psycopg.Connection, name: str) -> None:
    conn.execute(LET_GO)
    ((started,),) = conn.execute("SELECT pg_postmaster_start_time()::text").fetchall()
    conn.execute(
        sql.SQL(HOLD).format(
            started=sql.Literal(started), name=sql.Literal(f"public.{name}"), held=sql.Literal(HELD)
        )
    )


def _done(stack: Stack, work: Callable[[psycopg.Connection], T]) -> T:
    """Do `work` over a connection of its own, again until it could be done and says so."""

    def probe() -> T | None:
        with contextlib.suppress(Unavailable, psycopg.OperationalError):
            dsn = addresses.postgres_dsn(stack, "provocation")
            with psycopg.connect(dsn, autocommit=True) as conn:
                return work(conn)
        return None

    found = eventually(probe, PATIENCE_S)
    assert found is not None
    return found
