"""Changes of `initial_data`. The triggers count them; KeyDB follows at the next boundary.

Every function is one transaction, refuses with the reason in words, and notes who did it.
"""

from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import errors
from psycopg.types.json import Jsonb

from shared import postgres
from shared.errors import Refusal

INSERT_PROVIDER: LiteralString = """
INSERT INTO initial_data (id, provider_name, initial_value)
VALUES (%(id)s, %(name)s, %(initial)s)
"""
INSERT_NEXT_PROVIDER: LiteralString = """
INSERT INTO initial_data (id, provider_name, initial_value)
SELECT coalesce(max(id), 0) + 1, %(name)s, %(initial)s
  FROM initial_data
RETURNING id
"""
LOCK_PROVIDERS: LiteralString = "LOCK TABLE initial_data IN SHARE ROW EXCLUSIVE MODE"
SELECT_PROVIDER: LiteralString = """
SELECT id, provider_name, initial_value
  FROM initial_data
 WHERE id = %(id)s
   FOR UPDATE
"""
UPDATE_NAME: LiteralString = """
UPDATE initial_data
   SET provider_name = %(name)s
 WHERE id = %(id)s
"""
UPDATE_INITIAL: LiteralString = """
UPDATE initial_data
   SET initial_value = %(initial)s
 WHERE id = %(id)s
"""
SELECT_IN_USE: LiteralString = """
SELECT EXISTS (SELECT FROM historical_transactions WHERE provider_id = %(id)s)
"""
DELETE_PROVIDER: LiteralString = """
DELETE FROM initial_data
 WHERE id = %(id)s
"""
INSERT_ACTION: LiteralString = """
INSERT INTO operator_action (action, subject, outcome, operator, detail)
VALUES (%(action)s, %(subject)s, 'done', %(operator)s, %(detail)s)
"""


@dataclass(frozen=True, slots=True)
class Provider:
    """A row of `initial_data`; `initial_value` in minor units."""

    id: int
    provider_name: str
    initial_value: int


def add(
    conn: psycopg.Connection, provider_id: int | None, name: str, initial: int, *, operator: str
) -> Provider:
    """Insert a provider, with the next free id if none is given. Raises `Refusal`."""
    with postgres.translating(), conn.transaction():
        given = {"id": provider_id, "name": name, "initial": initial}
        try:
            if provider_id is None:
                conn.execute(LOCK_PROVIDERS)  # so that two people do not take the same id
                row = conn.execute(INSERT_NEXT_PROVIDER, given).fetchone()
                provider_id = row[0] if row else 0
            else:
                conn.execute(INSERT_PROVIDER, given)
        except errors.UniqueViolation as error:
            raise Refusal(f"there is a provider {provider_id} already") from error
        except errors.NumericValueOutOfRange as error:
            raise Refusal("id or initial value is beyond the range of its column") from error
        made = Provider(provider_id, name, initial)
        _note(conn, "provider_added", made, operator, {"name": name, "initial_value": initial})
        return made


def rename(conn: psycopg.Connection, provider_id: int, name: str, *, operator: str) -> Provider:
    """Give a provider another name: its old key goes as the new one comes. Raises `Refusal`."""
    with postgres.translating(), conn.transaction():
        before = _found(conn, provider_id)
        conn.execute(UPDATE_NAME, {"id": provider_id, "name": name})
        changed = {"from": before.provider_name, "to": name}
        _note(conn, "provider_renamed", before, operator, changed)
        return Provider(provider_id, name, before.initial_value)


def set_initial(
    conn: psycopg.Connection, provider_id: int, initial: int, *, operator: str
) -> Provider:
    """Change the value that a provider began with. Raises `Refusal`."""
    with postgres.translating(), conn.transaction():
        before = _found(conn, provider_id)
        try:
            conn.execute(UPDATE_INITIAL, {"id": provider_id, "initial": initial})
        except errors.NumericValueOutOfRange as error:
            raise Refusal(f"{initial} is beyond the range of the column") from error
        changed = {"from": before.initial_value, "to": initial}
        _note(conn, "provider_initial_set", before, operator, changed)
        return Provider(provider_id, before.provider_name, initial)


def remove(conn: psycopg.Connection, provider_id: int, *, operator: str) -> Provider:
    """Remove a provider that has no transactions. Raises `Refusal`."""
    with postgres.translating(), conn.transaction():
        before = _found(conn, provider_id)
        # Asked for, not left to a foreign key: adopted tables may have none.
        if conn.execute(SELECT_IN_USE, {"id": provider_id}).fetchone() == (True,):
            raise Refusal(f"provider {provider_id} has transactions and cannot be removed")
        try:
            conn.execute(DELETE_PROVIDER, {"id": provider_id})
        except errors.ForeignKeyViolation as error:
            raise Refusal(f"provider {provider_id} is still referred to") from error
        changed = {"name": before.provider_name, "initial_value": before.initial_value}
        _note(conn, "provider_removed", before, operator, changed)
        return before


def _found(conn: psycopg.Connection, provider_id: int) -> Provider:
    row = conn.execute(SELECT_PROVIDER, {"id": provider_id}).fetchone()
    if row is None:
        raise Refusal(f"there is no provider {provider_id}")
    return Provider(*row)


def _note(
    conn: psycopg.Connection, action: str, about: Provider, operator: str, detail: dict[str, Any]
) -> None:
    conn.execute(
        INSERT_ACTION,
        {
            "action": action,
            "subject": str(about.id),
            "operator": operator,
            "detail": Jsonb(detail),
        },
    )
