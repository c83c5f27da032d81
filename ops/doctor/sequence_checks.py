"""Postgres: the sequences that ids come from, compared with their tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import errors, sql
from psycopg.rows import class_row

from ops.doctor import core
from ops.doctor.core import Check

SERVER = "postgres"
INT64_MAX = 2**63 - 1
USED_WARN, USED_FAIL = 0.75, 0.95
THEIRS = ("initial_data", "historical_transactions")
RELATIONS = (*THEIRS, "outbox", "dead_letter", "operator_action")
UNINDEXED = "outbox"
"""Its ids are not unique, and to look for the largest would be to read all of it."""

SELECT_SEQUENCE: LiteralString = """
SELECT n.nspname AS schema, c.relname AS name, a.attlen AS column_bytes, s.seqstart AS start,
       s.seqmin AS min, s.seqmax AS max, s.seqincrement AS step, s.seqcache AS cache,
       s.seqcycle AS cycles
  FROM pg_attribute a
  JOIN pg_sequence s ON s.seqrelid = minutebook_id_sequence(%(relation)s)
  JOIN pg_class c ON c.oid = s.seqrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE a.attrelid = %(relation)s::regclass
   AND a.attname = 'id'
"""
SELECT_NEXT: LiteralString = """
SELECT last_value::numeric + CASE WHEN is_called THEN %(step)s ELSE 0 END
  FROM {}
"""
SELECT_NEWEST: LiteralString = """
SELECT CASE WHEN %(step)s > 0 THEN max(id) ELSE min(id) END
  FROM {}
 WHERE id BETWEEN %(min)s AND %(max)s
"""


@dataclass(frozen=True, slots=True)
class IdSequence:
    """A sequence as it was made; it counts down where `step` is negative."""

    schema: str
    name: str
    column_bytes: int
    start: int
    min: int
    max: int
    step: int
    cache: int
    cycles: bool

    @property
    def column_max(self) -> int:
        """The largest id that the column holds."""
        return int(2 ** (8 * self.column_bytes - 1) - 1)

    @property
    def last(self) -> int:
        """Where it ends, or the column that its ids go into."""
        return min(self.max, self.column_max) if self.step > 0 else max(self.min, ~self.column_max)

    @property
    def ends_first(self) -> bool:
        """Whether it ends before its column does."""
        return self.max < self.column_max if self.step > 0 else self.min > ~self.column_max


def inspect(conn: psycopg.Connection) -> Iterator[Check]:
    """Yield a check for each sequence, as far as they may be read."""
    for relation in RELATIONS:
        try:
            yield from _inspect(conn, relation)
        except errors.InsufficientPrivilege as error:
            yield core.skipped(SERVER, f"ids of {relation}", str(error.diag.message_primary))


def _inspect(conn: psycopg.Connection, relation: str) -> Iterator[Check]:
    with conn.cursor(row_factory=class_row(IdSequence)) as cursor:
        made = cursor.execute(SELECT_SEQUENCE, {"relation": relation}).fetchone()
    if made is None:
        return  # ids of providers may come from nowhere
    given = {"step": made.step, "min": made.min, "max": made.max}
    place = sql.Identifier(made.schema, made.name)
    following = conn.execute(sql.SQL(SELECT_NEXT).format(place), given).fetchone()
    newest = None
    if relation != UNINDEXED:
        query = sql.SQL(SELECT_NEWEST).format(sql.Identifier(relation))
        newest = (conn.execute(query, given).fetchone() or (None,))[0]
    yield assess(relation, made, int(following[0]) if following else made.start, newest)


def assess(relation: str, made: IdSequence, following: int, newest: int | None) -> Check:
    """Assess a sequence that gives `following` next, over a table whose last id is `newest`."""
    down = made.step < 0
    given = following - made.step
    reached = given if newest is None else min(given, newest) if down else max(given, newest)
    used = max(0.0, (reached - made.start) / ((made.last - made.start) or made.step))
    found, advice = [f"{used:.1%} used"], []
    if used > USED_WARN:
        advice.append(_longer(relation, made))
    behind = newest is not None and (newest <= following if down else newest >= following)
    if behind:
        found.append(f"behind: {following} is next, {newest} is there")
        advice.append(
            f"SELECT minutebook_advance_sequence('{relation}'): until then an INSERT without an id"
            " fails (23505); our own move it on when they meet that"
        )
    if made.cycles:
        found.append("cycles")
        advice.append(f"ALTER SEQUENCE {made.name} NO CYCLE: at its end it gives ids again")
    # Where the user's go down, or by twos, or some at a time, that is the user's own business.
    unordered = relation not in THEIRS and (made.step != 1 or made.cache != 1)
    if unordered:
        found.append(f"in steps of {made.step}, {made.cache} at a time")
        advice.append(
            f"ALTER SEQUENCE {made.name} INCREMENT 1 CACHE 1: what waits is taken by its ids"
        )
    return core.check(
        SERVER,
        f"ids of {relation}",
        "; ".join(found),
        fail=used > USED_FAIL,
        warn=bool(advice),
        advice="; ".join(advice),
    )


def _longer(relation: str, made: IdSequence) -> str:
    if made.ends_first:
        end = "MINVALUE -9223372036854775808" if made.step < 0 else "MAXVALUE 9223372036854775807"
        return f"ALTER SEQUENCE {made.name} AS bigint {end}"
    if relation in THEIRS and made.column_max < INT64_MAX:
        return "python -m migrations --widen (rewrites the table: plan for it)"
    return "the ids of a bigint are nearly used up: who set the sequence so high?"
