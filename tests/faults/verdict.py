"""The ledgers held against Postgres and KeyDB, once all is quiet. Pure, but for what it reads.

Every confirmed message is one row or one dead letter; one that was published and never confirmed
is at most one. Rows by hand are those whose COMMIT happened. Every balance is right in both stores.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import psycopg

from tests.faults.difference import Difference
from tests.faults.message_mixture import Sent
from tests.support import ledger
from tests.support.ledger import Values
from tests.support.reference_ledger import Books, Provider, Row

SHOWN_MAX = 20

# One statement, one snapshot: true at any moment, however much goes on.
UNBALANCED = """
WITH last AS (
    SELECT snapshot FROM tick ORDER BY epoch DESC LIMIT 1
), counted AS (
    SELECT DISTINCT ON (provider_id) provider_id, balance AS amount
      FROM balance
     ORDER BY provider_id, epoch DESC
), unfolded AS (
    SELECT provider_id, amount
      FROM outbox
     WHERE xid >= (SELECT pg_snapshot_xmax(snapshot) FROM last)
        OR xid = ANY (ARRAY(SELECT pg_snapshot_xip(snapshot) FROM last))
), true_entry AS (
    SELECT id AS provider_id, initial_value AS amount FROM initial_data
     UNION ALL
    SELECT provider_id, transaction_value FROM historical_transactions
)
SELECT provider_id, sum(ours), sum(theirs)
  FROM (SELECT provider_id, amount AS ours, 0::numeric AS theirs FROM counted
         UNION ALL
        SELECT provider_id, amount, 0 FROM unfolded
         UNION ALL
        SELECT provider_id, 0, amount FROM true_entry) AS entry
 GROUP BY provider_id
HAVING sum(ours) <> sum(theirs)
"""
FOUND_ROWS = """
SELECT message_id, provider_id, transaction_value
  FROM historical_transactions
 WHERE message_id IS NOT NULL
"""
SETTLED = """
SELECT (SELECT count(*) FROM historical_transactions WHERE message_id IS NOT NULL)
       + (SELECT count(*) FROM dead_letter)
"""
ROWS_BY_HAND = """
SELECT id, provider_id, transaction_value
  FROM historical_transactions
 WHERE message_id IS NULL
"""


@dataclass(frozen=True)
class Stored:
    """What Postgres holds of messages, by identity and content."""

    rows: dict[str, list[Row]]
    dead_letters: dict[tuple[str, bytes], list[str]]


def unbalanced(conn: psycopg.Connection) -> list[str]:
    """Return the providers whose balance and unfolded rows are not what the tables say."""
    return [
        f"provider {provider}: balance and unfolded {ours}, tables {theirs}"
        for provider, ours, theirs in conn.execute(UNBALANCED)
    ]


def settled(conn: psycopg.Connection) -> int:
    """Return how many messages are rows or dead letters."""
    row = conn.execute(SETTLED).fetchone()
    return int(row[0]) if row else 0


def stored(conn: psycopg.Connection) -> Stored:
    """Read all rows and dead letters."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for identity, provider, value in conn.execute(FOUND_ROWS):
        rows[identity].append(Row(provider, value))
    dead_letters: dict[tuple[str, bytes], list[str]] = defaultdict(list)
    for identity, body, reason in conn.execute("SELECT message_id, body, reason FROM dead_letter"):
        dead_letters[identity, body].append(reason)
    return Stored(rows, dead_letters)


def of_messages(
    sent: Iterable[Sent], found: Stored, providers: Iterable[int]
) -> Iterator[Difference]:
    """Hold the producer's ledger against what is stored."""
    existing = set(providers)
    identities: dict[str, set[Row]] = defaultdict(set)
    contents = set()
    for one in sent:
        contents.add((one.identity, one.body))
        if one.reason is None:
            identities[one.identity].add(Row(one.provider, one.value))
        if wrong := _wrong(one, found, existing):
            yield Difference(f"{one.identity} {one.body[:60]!r}: {wrong}", one.at_s)
    for identity, rows in found.rows.items():
        if not set(rows) <= identities.get(identity, set()) or len(rows) > 1:
            yield Difference(f"{identity}: rows {rows} of {identities.get(identity)}")
    for key in found.dead_letters.keys() - contents:
        yield Difference(f"dead letter {key[0]} {key[1][:60]!r} was never sent")


def _wrong(sent: Sent, found: Stored, existing: set[int]) -> str:
    rows = [
        row for row in found.rows.get(sent.identity, ()) if row == Row(sent.provider, sent.value)
    ]
    reasons = found.dead_letters.get((sent.identity, sent.body), [])
    outcomes = ["row"] * len(rows) + reasons
    if not outcomes:
        return f"confirmed {sent.confirmed} times, and nowhere" if sent.confirmed else ""
    if len(outcomes) > 1:
        return f"is {outcomes}"
    expected = _expected(sent, found, existing)
    return "" if outcomes[0] in expected else f"is {outcomes[0]}, not {expected}"


def _expected(sent: Sent, found: Stored, existing: set[int]) -> set[str]:
    if sent.reason is not None:
        return {sent.reason}
    content = Row(sent.provider, sent.value)
    if found.rows.get(sent.identity, [content]) != [content]:
        return {"id_conflict"}
    return {"row" if sent.provider in existing else "unknown_provider"}


def of_corrections(conn: psycopg.Connection, books: Books) -> Iterator[Difference]:
    """Hold what was corrected by hand against the tables."""
    rows = {number: Row(*rest) for number, *rest in conn.execute(ROWS_BY_HAND)}
    providers = {number: Provider(*rest) for number, *rest in conn.execute("TABLE initial_data")}
    for kind, seen, expected in (
        ("row by hand", rows, books.rows),
        ("provider", providers, books.providers),
    ):
        for number in seen.keys() | expected.keys():
            if seen.get(number) != expected.get(number):
                yield Difference(f"{kind} {number}: {seen.get(number)}, not {expected.get(number)}")


def balances(sent: Iterable[Sent], found: Stored, books: Books) -> Values:
    """Return what has to be shown by the ledgers; of what was never confirmed, what is there."""
    totals = {number: provider.initial for number, provider in books.providers.items()}
    for one in sent:
        if one.reason is None and Row(one.provider, one.value) in found.rows.get(one.identity, ()):
            totals[one.provider] = totals.get(one.provider, 0) + one.value
    for row in books.rows.values():
        totals[row.provider] += row.value
    return {f"{n}_{one.name}": str(totals[n]) for n, one in books.providers.items()}


def of_balances(expected: Values, seen: Values, where: str) -> Iterator[Difference]:
    """Hold balances against what the ledgers say."""
    for key in sorted(expected.keys() | seen.keys()):
        if expected.get(key) != seen.get(key):
            yield Difference(f"{key} is {seen.get(key)} in {where}, not {expected.get(key)}")


def of_ticks(conn: psycopg.Connection) -> Iterator[Difference]:
    """Fail unless the ticks together hold each outbox row once."""
    try:
        ledger.assert_counted_once(conn)
    except AssertionError as error:
        yield Difference(f"the ticks do not add up: {str(error)[:300]}")


def boundary_of(text: str) -> float:
    """Return a watermark's boundary in seconds since 1970; 0 without one."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def newest(conn: psycopg.Connection) -> Values:
    """Return the balances of the newest tick, by key."""
    return ledger.balances(conn)
