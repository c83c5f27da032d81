"""Messages for `ops dead-letters` to work on, and what it leaves behind."""

from collections.abc import Sequence
from typing import Any

import psycopg

from tests.support import messages
from tests.support.messages import received
from tests.support.ops_tool import Tool


def store(ops: Tool, *batch: tuple[bytes, str]) -> None:
    """Have ingest's own path store bodies with their identities, in one batch."""
    _store(ops, batch, redelivered=False)


def redeliver(ops: Tool, *batch: tuple[bytes, str]) -> None:
    """Do the same for messages that the broker delivers again."""
    _store(ops, batch, redelivered=True)


def _store(ops: Tool, batch: Sequence[tuple[bytes, str]], *, redelivered: bool) -> None:
    numbered = enumerate(batch, start=1)
    come = [received(text, name, tag=tag) for tag, (text, name) in numbered]
    with messages.ingest_connection(ops.settings["POSTGRES_DSN"]) as writer:
        messages.store_batch(writer, [one._replace(redelivered=redelivered) for one in come])


def dead_letters(ops: Tool, *options: str) -> dict[str, int]:
    """Return the ids of the dead letters that are there by their identity."""
    found = ops.json("dead-letters", "list", *options)["letters"]
    return {one["message_id"]: one["id"] for one in found}


def actions(conn: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Return what operators did: action, subject, outcome, operator, body."""
    return conn.execute(
        "SELECT action, subject, outcome, operator, body FROM operator_action ORDER BY id"
    ).fetchall()
