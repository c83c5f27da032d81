"""What `ops find` says, and of which tick."""

from typing import Any

import psycopg

from tests.support.ledger import minute
from tests.support.ops_tool import Tool

ONE = "payment-1"
DELETE = "DELETE FROM historical_transactions"


def found(ops: Tool, *arguments: str, code: int = 0) -> Any:
    """Return the document; fails unless the same is shown to people."""
    assert ops("find", *(arguments or (ONE,))).code == code
    return ops.json("find", *(arguments or (ONE,)), code=code)


def summary(document: Any) -> tuple[Any, ...]:
    return document["state"], document["counted_by"], document["epoch"], document["boundary"]


def epoch(conn: psycopg.Connection, number: int) -> int:
    row = conn.execute("SELECT epoch FROM tick WHERE boundary = %s", [minute(number)]).fetchone()
    assert row
    return int(row[0])


def rfc3339(number: int) -> str:
    return minute(number).strftime("%Y-%m-%dT%H:%M:%SZ")
