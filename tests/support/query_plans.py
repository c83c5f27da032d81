"""Plans of Postgres, with what they really visited."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, LiteralString

import psycopg

from services.syncer import tick_store

Plan = dict[str, Any]
Explain = Callable[[dict[str, Any]], Plan]


def explain(conn: psycopg.Connection, query: LiteralString, values: dict[str, Any]) -> Plan:
    """Return the plan with what it really visited; nothing that it wrote stays."""
    with conn.transaction(force_rollback=True):
        row = conn.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", values).fetchone()
    assert row
    return row[0][0]["Plan"]  # type: ignore[no-any-return]


def keep_much(
    dsn: str,
    tables: Iterable[LiteralString],
    fill: Iterable[LiteralString],
    sizes: dict[str, int],
    *,
    analyzed: bool,
) -> None:
    """Fill a database by statements; Postgres learns what is in `tables` only if `analyzed`."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")  # no triggers
        for table in tables:
            conn.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        for statement in fill:
            conn.execute(statement, sizes)
        if analyzed:
            conn.execute("ANALYZE")


@contextlib.contextmanager
def planned_once(conn: psycopg.Connection, query: LiteralString) -> Iterator[Explain]:
    """Prepare a statement as a tick has it prepared: one plan, whatever the values.

    What is yielded returns the plan with what it really visited; nothing that it wrote stays.
    """
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", query)))
    numbered = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", query)
    given = ", ".join(["%s"] * len(names))

    def explained(values: dict[str, Any]) -> Plan:
        with conn.transaction(force_rollback=True), psycopg.ClientCursor(conn) as cursor:
            cursor.execute(tick_store.LOCK)
            execute = f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE explained ({given})"
            cursor.execute(execute.encode(), [values[name] for name in names])
            row = cursor.fetchone()
        assert row
        return row[0][0]["Plan"]  # type: ignore[no-any-return]

    conn.execute(f"PREPARE explained AS {numbered}".encode())
    try:
        yield explained
    finally:
        conn.execute("DEALLOCATE explained")


def nodes(plan: Plan) -> Iterator[Plan]:
    """Yield a plan's node and all below it."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def visited(node: Plan) -> float:
    """Return how many rows a scan has touched in all its loops."""
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    rows = node["Actual Rows"] + sum(node.get(name, 0) for name in removed)
    return float(rows * node["Actual Loops"])


def scans(plan: Plan, table: str) -> list[Plan]:
    """Return the scans of a table or of its partitions."""
    return [
        node
        for node in nodes(plan)
        if str(node.get("Relation Name", "")).startswith(table) and "Scan" in node["Node Type"]
    ]


def indexes(plan: Plan) -> set[str]:
    """Return the names of the indexes that are used."""
    return {str(node["Index Name"]) for node in nodes(plan) if "Index Name" in node}
