"""Whether the tables are as they must be: asked before work begins. Changes nothing.

Asked by `python -m migrations`, before it adopts tables and after every run; by the services at
each connection, since anybody can change tables later; and by `ops doctor`. Takes milliseconds.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import LiteralString, NamedTuple

import psycopg
import structlog

from adoption.problems import SELECT_PROBLEMS
from shared import postgres
from shared.errors import Refusal, StatementFailed, Unavailable

TOPICS = ("tables", "message ids", "triggers", "row-level security")

log = structlog.get_logger()


class Problem(NamedTuple):
    """What is wrong with a table, and what to do about it.

    `serious`: transactions stored now could be lost or doubled, or cannot be stored at all.
    """

    topic: str
    serious: bool
    what: str
    advice: str

    def __str__(self) -> str:
        """Return both, for people."""
        return f"{self.what}. To do: {self.advice}"


def problems(conn: psycopg.Connection) -> list[Problem]:
    """Return what is wrong now. Raises psycopg's errors as they are."""
    return [Problem(*row) for row in conn.execute(SELECT_PROBLEMS)]


def refuse(conn: psycopg.Connection) -> None:
    """Raise `Refusal` if anything serious is wrong with the tables; log the rest."""
    if problem := _serious(conn):
        raise Refusal(problem)


def check(
    conn: psycopg.Connection, statements: Sequence[LiteralString], *, stores: bool = False
) -> None:
    """Find out whether a service can work, with this schema and its own rights.

    Raises `Refusal` for a schema of another release; `Unavailable` with the reason, so that it
    waits until that is corrected: Postgres refuses one of its `statements`; or it `stores`
    transactions, and something is seriously wrong. All other problems are logged.
    """
    with postgres.translating():
        postgres.check_schema(conn)
        if problem := _serious(conn):
            if stores:
                raise Unavailable("postgres", problem)
            log.error("table_problem", problem=problem)
        _rehearse(conn, statements)


def _serious(conn: psycopg.Connection) -> str:
    found = problems(conn)
    for one in found:
        if not one.serious:
            log.warning("table_problem", problem=str(one))
    return "; ".join(str(one) for one in found if one.serious)


def _rehearse(conn: psycopg.Connection, statements: Sequence[LiteralString]) -> None:
    """Have each planned and not executed: that takes its rights, its columns, its unique index."""
    nothing: defaultdict[str, object] = defaultdict(lambda: None)
    for statement in statements:
        try:
            conn.execute("EXPLAIN " + statement, nothing, prepare=False)
        except postgres.TROUBLE:
            raise
        except psycopg.Error as error:
            says = f"refuses what this login has to do: {postgres.detail(error)}"
            raise StatementFailed("postgres", says, error.diag.message_hint) from error
