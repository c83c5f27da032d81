"""Balances as of any past minute, from the ticks and the append-only balances.

What held at a time is what the last tick at or before it wrote. A pruned past is not guessed at.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import LiteralString

import psycopg

from shared import postgres
from shared.errors import Unanswerable
from shared.ledger.balances import NEWEST_BALANCES

# One statement, hence one snapshot: pruning beside it cannot take the answer away halfway.
SELECT_BALANCE: LiteralString = """
SELECT oldest.boundary, asked.epoch, asked.boundary, b.key, b.balance::text, asked.folded_at
  FROM (SELECT min(boundary) AS boundary FROM tick) AS oldest
  LEFT JOIN LATERAL (
       SELECT epoch, boundary, folded_at
         FROM tick
        WHERE boundary <= %(at)s
        ORDER BY boundary DESC
        LIMIT 1
       ) AS asked ON true
  LEFT JOIN LATERAL (
       SELECT key, balance
         FROM balance
        WHERE provider_id BETWEEN %(provider_id)s AND %(provider_id)s
          AND epoch <= asked.epoch
        ORDER BY provider_id DESC, epoch DESC
        LIMIT 1
       ) AS b ON true
"""

SELECT_BALANCES: LiteralString = (
    """
WITH RECURSIVE asked AS MATERIALIZED (
    SELECT epoch, boundary
      FROM tick
     WHERE boundary <= %(at)s
     ORDER BY boundary DESC
     LIMIT 1
), """  # noqa: S608 - put together from constants
    + NEWEST_BALANCES
    + """
SELECT oldest.boundary, asked.epoch, asked.boundary, b.key, b.balance::text
  FROM (SELECT min(boundary) AS boundary FROM tick) AS oldest
  LEFT JOIN asked ON true
  LEFT JOIN newest_balance b ON b.key IS NOT NULL
"""
)


SELECT_OLDEST: LiteralString = "SELECT min(boundary) FROM tick"
SELECT_NOW: LiteralString = "SELECT clock_timestamp()"


@dataclass(frozen=True, slots=True)
class PastBalance:
    """A provider at tick `epoch` of `boundary`; without key and balance it did not exist then."""

    epoch: int
    boundary: datetime
    key: str | None
    balance: int | None


@dataclass(frozen=True, slots=True)
class PastBalances:
    """Every provider that existed at tick `epoch` of `boundary`: its key and balance."""

    epoch: int
    boundary: datetime
    balances: dict[str, int]


def balance_at(conn: psycopg.Connection, provider_id: int, at: datetime) -> PastBalance:
    """Return what `provider_id` had at `at` (with a time zone): what the last tick until then said.

    Raises `Unanswerable` for a time before the oldest tick that is kept, and `Unavailable`.
    """
    with postgres.translating():
        rows = conn.execute(SELECT_BALANCE, {"provider_id": provider_id, "at": _aware(at)})
        oldest, epoch, boundary, key, balance, _ = rows.fetchall()[0]
    if epoch is None:
        raise unanswerable(at, oldest)
    return PastBalance(epoch, boundary, key, int(balance) if key is not None else None)


def balances_at(conn: psycopg.Connection, at: datetime) -> PastBalances:
    """Return all that KeyDB had to show at `at` (with a time zone). Raises as `balance_at`."""
    with postgres.translating():
        rows = conn.execute(SELECT_BALANCES, {"at": _aware(at)}).fetchall()
    oldest, epoch, boundary, _, _ = rows[0]
    if epoch is None:
        raise unanswerable(at, oldest)
    return PastBalances(
        epoch, boundary, {key: int(balance) for *_, key, balance in rows if key is not None}
    )


def now(conn: psycopg.Connection) -> datetime:
    """Return the time by Postgres's clock."""
    ((found,),) = conn.execute(SELECT_NOW).fetchall()
    return found  # type: ignore[no-any-return]


def oldest_boundary(conn: psycopg.Connection) -> datetime:
    """Return the oldest boundary that is kept. Raises `Unanswerable` without one; psycopg's own."""
    ((oldest,),) = conn.execute(SELECT_OLDEST).fetchall()
    if oldest is None:
        raise Unanswerable("no tick was written yet")
    return oldest  # type: ignore[no-any-return]


def _aware(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError("a time without a time zone could be any of many")
    return at


def unanswerable(at: datetime, oldest: datetime | None) -> Unanswerable:
    """Return what to raise for a time before the `oldest` tick; None where there is no tick."""
    if oldest is None:
        return Unanswerable("no tick was written yet")
    since = f"{oldest.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return Unanswerable(
        f"nothing is kept of {at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ};"
        f" the oldest time to ask for is {since}"
    )
