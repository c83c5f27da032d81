"""Who did what by hand: kept in `operator_action`, in the commit of what was done."""

from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg
from psycopg.types.json import Jsonb

INSERT_ACTION: LiteralString = """
INSERT INTO operator_action (action, subject, outcome, operator, detail, body)
VALUES (%(action)s, %(subject)s, %(outcome)s, %(operator)s, %(detail)s, %(body)s)
"""


def note(conn: psycopg.Connection, actions: Sequence[dict[str, Any]]) -> None:
    """Write who did what; each with the columns of `operator_action`. Never commits."""
    given = [{"body": None, **one, "detail": Jsonb(one.get("detail", {}))} for one in actions]
    with conn.cursor() as cursor:
        cursor.executemany(INSERT_ACTION, given)
