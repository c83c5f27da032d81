"""Which operator did what: kept in `operator_action`, in the commit of what was done."""

from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg
from psycopg.types.json import Jsonb

from ops import ids
from shared.errors import Refusal

INSERT_ACTIONS: LiteralString = """
INSERT INTO operator_action (action, subject, outcome, operator, detail, body)
SELECT *
  FROM unnest(%(action)s::text[], %(subject)s::text[], %(outcome)s::text[], %(operator)s::text[],
              %(detail)s::jsonb[], %(body)s::bytea[])
"""


def note(conn: psycopg.Connection, actions: Sequence[dict[str, Any]]) -> None:
    """Write who did what; each with the columns of `operator_action`. Never commits.

    Raises `Refusal` if the table did not take them all: what is not on record is not done.
    """
    if not actions:
        return
    given = [{"body": None, **one, "detail": Jsonb(one.get("detail", {}))} for one in actions]
    if ids.inserting(conn, "operator_action", lambda: _insert(conn, given)) != len(given):
        raise Refusal("nothing was done: a rule or trigger on operator_action keeps no record")


def asked(chosen: dict[str, str], why: str) -> dict[str, Any]:
    """Return for a `detail` by which filter something was chosen, and why it was done."""
    given: dict[str, Any] = {"chosen": chosen, "note": why}
    return {name: one for name, one in given.items() if one}


def _insert(conn: psycopg.Connection, actions: Sequence[dict[str, Any]]) -> int:
    columns = {name: [one[name] for one in actions] for name in actions[0]}
    return conn.execute(INSERT_ACTIONS, columns).rowcount
