"""The worked example: its rows, its message, and whether KeyDB then says what it should.

What it should say is computed from Postgres alone: `initial_value` plus the sum of the history.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import pika
import psycopg
import redis

from demo.failure import DemoFailed
from shared.unique_ids import time_ordered

PROVIDER = 1
VALUE = 600
BODY = b'{"id": 1, "value": 600}'
ROWS_SHOWN = 6
PROVIDERS_SHOWN = 10
FRESH_RESULT = {"1_Visa": 1900, "2_Mastercard": 1800}
WATERMARK = "minutebook:watermark"

SELECT_EMPTY: LiteralString = """
SELECT NOT EXISTS (SELECT FROM initial_data) AND NOT EXISTS (SELECT FROM historical_transactions)
"""
INSERT_PROVIDERS: LiteralString = """
INSERT INTO initial_data (id, provider_name, initial_value)
VALUES (1, 'Visa', 1000),
       (2, 'Mastercard', 2000)
"""
INSERT_TRANSACTIONS: LiteralString = """
INSERT INTO historical_transactions (id, provider_id, transaction_value)
VALUES (1, 1, 100),
       (2, 1, 200),
       (3, 2, -200)
"""
ADVANCE_SEQUENCES: LiteralString = """
SELECT minutebook_advance_sequence(relation)
  FROM unnest(ARRAY['initial_data', 'historical_transactions']) AS relation
"""
SELECT_TRUTH: LiteralString = """
SELECT p.id, p.provider_name, coalesce(p.initial_value, 0) + coalesce(sum(h.transaction_value), 0)
  FROM (SELECT id, provider_name, initial_value
          FROM initial_data
         ORDER BY id <> %(first)s, id
         LIMIT %(providers)s) AS p
  LEFT JOIN historical_transactions h ON h.provider_id = p.id
 GROUP BY p.id, p.provider_name, p.initial_value
 ORDER BY p.id
"""
SELECT_NEWEST_ROW: LiteralString = "SELECT coalesce(max(id), 0) FROM historical_transactions"
SELECT_ARRIVED: LiteralString = """
SELECT id
  FROM historical_transactions
 WHERE id > %(newest)s
   AND provider_id = %(provider)s
   AND transaction_value = %(value)s
 ORDER BY id
 LIMIT 1
"""
COUNT_SINCE: LiteralString = "SELECT count(*) FROM historical_transactions WHERE id > %(newest)s"
SELECT_LAST_ROWS: LiteralString = """
SELECT id, provider_id, transaction_value
  FROM (SELECT id, provider_id, transaction_value
          FROM historical_transactions
         ORDER BY id DESC
         LIMIT %(rows)s) AS newest
 ORDER BY id
"""

Row = tuple[int, int, int]
Balances = dict[str, int]


@dataclass(frozen=True)
class Truth:
    """What Postgres says: balances by KeyDB's key, and the id of the newest transaction."""

    balances: Balances
    key: str
    newest: int


@dataclass(frozen=True)
class Shown:
    """What KeyDB shows, read in one MULTI: balances, and the tick that they are of."""

    balances: Mapping[str, str | None]
    boundary: datetime | None
    applied_at: datetime | None

    @property
    def lateness_ms(self) -> float | None:
        """Milliseconds from the boundary to KeyDB written."""
        if self.boundary is None or self.applied_at is None:
            return None
        return (self.applied_at - self.boundary).total_seconds() * 1000


def load(conn: psycopg.Connection) -> bool:
    """Insert the example's rows if both tables are empty; say whether."""
    if conn.execute(SELECT_EMPTY).fetchone() != (True,):
        return False
    with conn.transaction():
        conn.execute(INSERT_PROVIDERS)
        conn.execute(INSERT_TRANSACTIONS)
        # Else the next row without an id would collide with one of these.
        conn.execute(ADVANCE_SEQUENCES)
    return True


def truth(conn: psycopg.Connection) -> Truth:
    """Return what balances should be. Raises `DemoFailed` when there is no provider 1."""
    limits = {"first": PROVIDER, "providers": PROVIDERS_SHOWN}
    with conn.transaction():
        rows = conn.execute(SELECT_TRUTH, limits).fetchall()
        newest = _number(conn, SELECT_NEWEST_ROW)
    key = next((f"{number}_{name}" for number, name, _ in rows if number == PROVIDER), None)
    if key is None:
        raise DemoFailed(
            f"the tables hold data of your own and no provider {PROVIDER}, which the demo's message"
            f" is for; it changed nothing. 'make clean' removes the stack with its data, or insert"
            f" a row with id {PROVIDER} into initial_data"
        )
    return Truth({f"{number}_{name}": int(value) for number, name, value in rows}, key, newest)


def shown(keydb: "redis.Redis", keys: list[str]) -> Shown:
    """Return what KeyDB shows for `keys`."""
    pipeline = keydb.pipeline(transaction=True)
    pipeline.mget(keys)
    pipeline.hmget(WATERMARK, ["boundary", "applied_at"])
    values, (boundary, applied_at) = pipeline.execute()
    return Shown(dict(zip(keys, values, strict=True)), _time(boundary), _time(applied_at))


def publish(connection: pika.BlockingConnection, queue: str) -> None:
    """Publish the message as any producer would: plain durable declare, publisher confirm.

    Returns once the broker has confirmed it; raises pika's error if it does not.
    """
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare(queue, durable=True)
    properties = pika.BasicProperties(
        message_id=str(time_ordered()),  # unique; were it sent again, it would count once
        delivery_mode=pika.DeliveryMode.Persistent,
    )
    channel.basic_publish("", queue, BODY, properties, mandatory=True)


def arrived(conn: psycopg.Connection, newest: int) -> int:
    """Return the id of the message's row, newer than `newest`; 0 while there is none."""
    return _number(conn, SELECT_ARRIVED, {"newest": newest, "provider": PROVIDER, "value": VALUE})


def last_rows(conn: psycopg.Connection) -> list[Row]:
    """Return the newest transactions, oldest of them first."""
    return conn.execute(SELECT_LAST_ROWS, {"rows": ROWS_SHOWN}).fetchall()


def rows_since(conn: psycopg.Connection, newest: int) -> int:
    """Return how many transactions are newer than `newest`."""
    return _number(conn, COUNT_SINCE, {"newest": newest})


def faults(before: Truth, now: Truth, after: Shown, *, fresh: bool) -> list[str]:
    """Return what KeyDB says wrongly, in sentences; nothing when all is as it should be."""
    wanted = now.balances | {before.key: before.balances[before.key] + VALUE}
    if fresh:
        wanted |= FRESH_RESULT
    found = [
        f"KeyDB's {key} is {after.balances.get(key)}, it should be {value}"
        for key, value in wanted.items()
        if after.balances.get(key) != str(value)
    ]
    if now.balances.get(before.key) != wanted[before.key]:
        found.append(
            f"in Postgres {before.key} went from {before.balances[before.key]} to"
            f" {now.balances.get(before.key)}, not up by {VALUE}"
        )
    return found


def _number(
    conn: psycopg.Connection, query: LiteralString, values: Mapping[str, int] | None = None
) -> int:
    row = conn.execute(query, values).fetchone()
    return int(row[0]) if row else 0


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
