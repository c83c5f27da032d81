"""A transaction taken back by a counter-row: the same provider, the value negated.

Its identity is made of the other's, so that the unique index lets it be done once. It is a row like
any that a person adds: our trigger counts it, and KeyDB follows at the next boundary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import errors
from psycopg.rows import class_row

from ops import action, ids
from ops.wording import visible
from shared import postgres
from shared.errors import Refusal
from shared.ledger.life import REVERSAL

SELECT_ROW: LiteralString = """
SELECT id, provider_id, transaction_value AS value, message_id
  FROM historical_transactions
 WHERE message_id = %(identity)s
"""
SELECT_PROVIDER: LiteralString = "SELECT FROM initial_data WHERE id = %(provider_id)s"
SELECT_DEAD_LETTERS: LiteralString = """
SELECT id, state, reason, provider_id
  FROM dead_letter
 WHERE message_id = %(identity)s
 ORDER BY id
"""
SELECT_RECEIVED: LiteralString = """
SELECT EXISTS (SELECT FROM received_message WHERE message_id = %(identity)s)
"""
# Of the row as this statement sees it: it may have been changed since it was looked at.
INSERT_REVERSAL: LiteralString = """
INSERT INTO historical_transactions (provider_id, transaction_value, message_id)
SELECT h.provider_id, -h.transaction_value, %(reversal)s
  FROM historical_transactions h
  JOIN initial_data p ON p.id = h.provider_id
 WHERE h.message_id = %(identity)s
ON CONFLICT (message_id) DO NOTHING
"""
# Constraint triggers, too, have their say before it is looked at what stands.
FIRE_TRIGGERS: LiteralString = "SET CONSTRAINTS ALL IMMEDIATE"
SELECT_COUNTED: LiteralString = """
SELECT coalesce(sum(amount), 0)
  FROM outbox
 WHERE xid = pg_current_xact_id()
   AND transaction_id = %(id)s
   AND provider_id = %(provider_id)s
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `historical_transactions`; `value` in minor units."""

    id: int
    provider_id: int | None
    value: int | None
    message_id: str


@dataclass(frozen=True, slots=True)
class Reversed:
    """A row, and the row that takes it back."""

    row: Row
    reversal: Row
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Order:
    """What to take back, who asked for it, and why."""

    identity: str
    operator: str
    reason: str
    dry_run: bool


def reverse(conn: psycopg.Connection, order: Order) -> Reversed:
    """Add the counter-row and note who did it, in one transaction; a dry run rolls it back.

    Raises `Refusal` if there is nothing to take back, or it was taken back before, and
    `Unavailable`: then it may simply be tried again.
    """
    if order.identity.startswith(REVERSAL):
        raise Refusal(
            f"{visible(order.identity)} is a reversal itself: send a transaction with an identity"
            " of its own instead"
        )
    with postgres.translating(), conn.transaction(force_rollback=order.dry_run):
        row = _reversible(conn, order.identity)
        try:
            ids.inserting(conn, "historical_transactions", lambda: _insert(conn, order.identity))
        except errors.NumericValueOutOfRange as error:
            raise Refusal(f"{-(row.value or 0)} is beyond the range of the column") from error
        done = Reversed(row, _standing(conn, row), order.dry_run)
        _note(conn, done, order)
    return done


def _reversible(conn: psycopg.Connection, identity: str) -> Row:
    """Return the row to take back. Raises `Refusal` unless it can be."""
    row = _row(conn, identity)
    if row is None:
        raise Refusal(_why_none(conn, identity))
    name = visible(identity)
    if row.provider_id is None or row.value is None:
        raise Refusal(f"{name} (row {row.id}) has no provider or no value: nothing of it counts")
    if conn.execute(SELECT_PROVIDER, {"provider_id": row.provider_id}).fetchone() is None:
        raise Refusal(f"provider {row.provider_id} of {name} is gone: it has no balance any more")
    if other := _row(conn, REVERSAL + identity):
        raise Refusal(
            f"{name} is reversed already: by row {other.id}, {_signed(other)} for provider"
            f" {other.provider_id}"
        )
    return row


def _why_none(conn: psycopg.Connection, identity: str) -> str:
    given, name = {"identity": identity}, visible(identity)
    dead_letters: Sequence[tuple[int, str, str, int | None]]
    if dead_letters := conn.execute(SELECT_DEAD_LETTERS, given).fetchall():
        said = "; ".join(
            f"dead letter {number} waits for provider {provider}"
            if state == "waiting"
            else f"dead letter {number} is open ({reason})"
            for number, state, reason, provider in dead_letters
        )
        return f"{name} has no row yet, so it counts nowhere: {said}"
    if conn.execute(SELECT_RECEIVED, given).fetchone() == (True,):
        return f"{name} has no row any more: it was changed or deleted by hand"
    return f"there is no transaction {name}, and no dead letter: look at the spelling and the queue"


def _insert(conn: psycopg.Connection, identity: str) -> None:
    conn.execute(INSERT_REVERSAL, {"identity": identity, "reversal": REVERSAL + identity})
    conn.execute(FIRE_TRIGGERS)


def _standing(conn: psycopg.Connection, row: Row) -> Row:
    """Return the counter-row. Raises `Refusal` unless it is there, as it should be, and counted."""
    made = _row(conn, REVERSAL + row.message_id)
    if made is None:
        raise Refusal(
            "nothing was done: a rule or trigger on historical_transactions let no row come"
        )
    counted = conn.execute(
        SELECT_COUNTED, {"id": made.id, "provider_id": row.provider_id}
    ).fetchone()
    as_asked = (made.provider_id, made.value) == (row.provider_id, -(row.value or 0))
    if not as_asked or counted != (made.value,):
        raise Refusal(
            "nothing was done: the row was reversed or changed at this moment, or a trigger makes"
            " another row of it, or none of ours counts it (see triggers in ops doctor)"
        )
    return made


def _row(conn: psycopg.Connection, identity: str) -> Row | None:
    with conn.cursor(row_factory=class_row(Row)) as cursor:
        return cursor.execute(SELECT_ROW, {"identity": identity}).fetchone()


def _note(conn: psycopg.Connection, done: Reversed, order: Order) -> None:
    detail = {
        "reason": order.reason,
        "row": done.row.id,
        "reversal": done.reversal.id,
        "provider_id": done.reversal.provider_id,
        "value": done.reversal.value,
    }
    action.note(
        conn,
        [
            {
                "action": "transaction_reversed",
                "subject": order.identity,
                "outcome": "done",
                "operator": order.operator,
                "detail": detail,
            }
        ],
    )


def _signed(row: Row) -> str:
    return f"{row.value:+}" if row.value is not None else "no value"
