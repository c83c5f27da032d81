"""Changes of `initial_data`. The triggers count them; KeyDB follows at the next boundary.

Every function is one transaction, refuses with a reason, and notes who did it. What it
returns and notes is what then stands in the table: rules and triggers of the user's may have made
something else of it, or nothing, which is a refusal.
"""

from dataclasses import asdict, dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import errors

from ops import action, ids
from shared import postgres
from shared.errors import Refusal

# The id may be GENERATED ALWAYS.
INSERT_PROVIDER: LiteralString = """
INSERT INTO initial_data (id, provider_name, initial_value) OVERRIDING SYSTEM VALUE
VALUES (%(id)s, %(name)s, %(initial)s)
RETURNING id
"""
INSERT_PROVIDER_BY_DEFAULT: LiteralString = """
INSERT INTO initial_data (provider_name, initial_value)
VALUES (%(name)s, %(initial)s)
RETURNING id
"""
# For a column without a default; locked, so that two people do not take the same id.
INSERT_NEXT_PROVIDER: LiteralString = """
INSERT INTO initial_data (id, provider_name, initial_value)
SELECT coalesce(max(id), 0) + 1, %(name)s, %(initial)s
  FROM initial_data
RETURNING id
"""
LOCK_PROVIDERS: LiteralString = "LOCK TABLE initial_data IN SHARE ROW EXCLUSIVE MODE"
SELECT_HAS_DEFAULT: LiteralString = """
SELECT atthasdef OR attidentity <> ''
  FROM pg_attribute
 WHERE attrelid = 'initial_data'::regclass
   AND attname = 'id'
"""
SELECT_PROVIDER: LiteralString = """
SELECT id, provider_name::text, initial_value
  FROM initial_data
 WHERE id = %(id)s
"""
SELECT_PROVIDER_LOCKED: LiteralString = SELECT_PROVIDER + "FOR UPDATE"
# Constraint triggers, too, have their say before it is looked at what stands.
FIRE_TRIGGERS: LiteralString = "SET CONSTRAINTS ALL IMMEDIATE"
SELECT_COUNTED: LiteralString = """
SELECT EXISTS (SELECT FROM outbox WHERE xid = pg_current_xact_id() AND provider_id = %(id)s)
"""
SELECT_PROVIDERS: LiteralString = """
SELECT id, provider_name::text, initial_value
  FROM initial_data
 ORDER BY id
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


@dataclass(frozen=True, slots=True)
class Provider:
    """A row of `initial_data`; `initial_value` in minor units."""

    id: int
    provider_name: str
    initial_value: int


def everyone(conn: psycopg.Connection) -> list[Provider]:
    """Return all providers, by id."""
    with postgres.translating():
        return [Provider(*row) for row in conn.execute(SELECT_PROVIDERS)]


def add(
    conn: psycopg.Connection, provider_id: int | None, name: str, initial: int, *, operator: str
) -> Provider:
    """Insert a provider; without an id it gets what the column's default gives. Raises `Refusal`.

    With an id the column's sequence is moved on past it.
    """
    with postgres.translating(), conn.transaction():
        given = {"id": provider_id, "name": name, "initial": initial}
        try:
            made = _standing(conn, _insert(conn, given))
        except errors.UniqueViolation as error:
            if provider_id is not None and _standing(conn, provider_id):
                raise Refusal(f"there is a provider {provider_id} already") from error
            raise
        except errors.NumericValueOutOfRange as error:
            raise Refusal("id or initial value is beyond the range of its column") from error
        if made is None:
            raise Refusal("nothing was added: a rule or trigger on initial_data let no row come")
        stands = {"name": made.provider_name, "initial_value": made.initial_value}
        asked = {"name": name, "initial_value": initial}
        _note(conn, "provider_added", made, operator, _with_asked(stands, asked))
        return made


def rename(conn: psycopg.Connection, provider_id: int, name: str, *, operator: str) -> Provider:
    """Give a provider another name: its old key goes as the new one comes. Raises `Refusal`."""
    with postgres.translating(), conn.transaction():
        before = _found(conn, provider_id)
        if before.provider_name == name:
            raise Refusal(f"nothing to change: provider {provider_id} has this name already")
        conn.execute(UPDATE_NAME, {"id": provider_id, "name": name})
        after = _changed(conn, before, "provider_name")
        changed = {"from": before.provider_name, "to": after.provider_name}
        _note(conn, "provider_renamed", after, operator, _with_asked(changed, {"to": name}))
        return after


def set_initial(
    conn: psycopg.Connection, provider_id: int, initial: int, *, operator: str
) -> Provider:
    """Change the value that a provider began with. Raises `Refusal`."""
    with postgres.translating(), conn.transaction():
        before = _found(conn, provider_id)
        if before.initial_value == initial:
            raise Refusal(f"nothing to change: provider {provider_id} began with {initial} already")
        try:
            conn.execute(UPDATE_INITIAL, {"id": provider_id, "initial": initial})
        except errors.NumericValueOutOfRange as error:
            raise Refusal(f"{initial} is beyond the range of the column") from error
        after = _changed(conn, before, "initial_value")
        changed = {"from": before.initial_value, "to": after.initial_value}
        _note(conn, "provider_initial_set", after, operator, _with_asked(changed, {"to": initial}))
        return after


def remove(conn: psycopg.Connection, provider_id: int, *, operator: str) -> Provider:
    """Remove a provider that has no transactions. Raises `Refusal`."""
    with postgres.translating(), conn.transaction():
        before = _found(conn, provider_id)
        # Asked for, not left to a foreign key: adopted tables may have none.
        if conn.execute(SELECT_IN_USE, {"id": provider_id}).fetchone() == (True,):
            raise Refusal(f"provider {provider_id} has transactions and cannot be removed")
        try:
            conn.execute(DELETE_PROVIDER, {"id": provider_id})
            conn.execute(FIRE_TRIGGERS)
        except errors.ForeignKeyViolation as error:
            raise Refusal(f"provider {provider_id} is still referred to") from error
        if _standing(conn, provider_id):
            raise Refusal("nothing was removed: a rule or trigger on initial_data keeps the row")
        changed = {"name": before.provider_name, "initial_value": before.initial_value}
        _note(conn, "provider_removed", before, operator, changed)
        return before


def _insert(conn: psycopg.Connection, given: dict[str, Any]) -> int | None:
    """Return the id of the row that was made, if one was; constraint triggers have fired."""

    def insert(query: LiteralString) -> int | None:
        row = conn.execute(query, given).fetchone()
        conn.execute(FIRE_TRIGGERS)
        return row[0] if row else None

    has_default = conn.execute(SELECT_HAS_DEFAULT).fetchone() == (True,)
    if given["id"] is not None:
        with conn.transaction():
            made = insert(INSERT_PROVIDER)
        ids.advance(conn, "initial_data")
        return made
    if has_default:
        return ids.inserting(conn, "initial_data", lambda: insert(INSERT_PROVIDER_BY_DEFAULT))
    conn.execute(LOCK_PROVIDERS)
    return insert(INSERT_NEXT_PROVIDER)


def _found(conn: psycopg.Connection, provider_id: int) -> Provider:
    found = _standing(conn, provider_id, SELECT_PROVIDER_LOCKED)
    if found is None:
        raise Refusal(f"there is no provider {provider_id}")
    return found


def _standing(
    conn: psycopg.Connection, provider_id: int | None, query: LiteralString = SELECT_PROVIDER
) -> Provider | None:
    row = conn.execute(query, {"id": provider_id}).fetchone()
    return Provider(*row) if row else None


def _changed(conn: psycopg.Connection, before: Provider, column: str) -> Provider:
    """Return what stands now. Raises `Refusal` if `column` says what it said before."""
    conn.execute(FIRE_TRIGGERS)
    after = _standing(conn, before.id)
    if after is None or asdict(after)[column] == asdict(before)[column]:
        raise Refusal(
            f"nothing was changed: a rule or trigger on initial_data let {column} stay as it was"
        )
    return after


def _with_asked(stands: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """Return what to note: what stands and, where it is something else, what was asked for."""
    return stands if stands | asked == stands else stands | {"asked": asked}


def _note(
    conn: psycopg.Connection, what: str, about: Provider, operator: str, detail: dict[str, Any]
) -> None:
    """Write who did it, if our triggers have seen it: else KeyDB would never follow."""
    if conn.execute(SELECT_COUNTED, {"id": about.id}).fetchone() == (False,):
        raise Refusal("nothing was done: no trigger of ours counts it; see triggers in ops doctor")
    done = {"action": what, "subject": str(about.id), "outcome": "done", "operator": operator}
    action.note(conn, [done | {"detail": detail}])
