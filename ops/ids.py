"""New ids: rows loaded with ids of their own leave the sequence behind, which is moved on here."""

from collections.abc import Callable
from typing import LiteralString, TypeVar

import psycopg
from psycopg import errors

T = TypeVar("T")

ADVANCE_SEQUENCE: LiteralString = "SELECT minutebook_advance_sequence(%(relation)s)"


def inserting(conn: psycopg.Connection, relation: str, insert: Callable[[], T]) -> T:
    """Insert into `relation`; if a new id clashes, move its sequence on and insert again.

    Inside the transaction of its caller, if there is one. Raises psycopg's errors as they are.
    """
    try:
        with conn.transaction():
            return insert()
    except errors.UniqueViolation:
        advance(conn, relation)
    return insert()


def advance(conn: psycopg.Connection, relation: str) -> None:
    """Move the sequence of `relation` past all ids in use; never back. Outlives a rollback."""
    conn.execute(ADVANCE_SEQUENCE, {"relation": relation})
