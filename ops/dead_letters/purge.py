"""Dead letters deleted for good, on record: those that a person was asked about, and no others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from ops import action
from ops.dead_letters import store
from ops.dead_letters.core import Choice, StoredDeadLetter
from shared import postgres

ACTION = "dead_letter_purged"


@dataclass(frozen=True, slots=True)
class Order:
    """Which dead letters, who asked for it, and why.

    `ids` are those that `choice` found when a person was asked. Of these the ones go that it still
    finds; what came in between does not.
    """

    choice: Choice
    ids: Sequence[int]
    operator: str
    note: str
    dry_run: bool


def purge(conn: psycopg.Connection, order: Order) -> list[StoredDeadLetter]:
    """Delete in one transaction, which a dry run rolls back; return what went, without bodies."""
    if not order.ids:
        return []
    gone: list[StoredDeadLetter] = []
    choice = replace(order.choice, ids=tuple(order.ids))
    with postgres.translating(), conn.transaction(force_rollback=order.dry_run):
        for page in store.pages(conn, choice, locked=True):
            store.delete(conn, [one.id for one in page])
            action.note(conn, [_action(one, order) for one in page])
            gone += [replace(one, body=b"", properties={}) for one in page]
    return gone


def _action(dead_letter: StoredDeadLetter, order: Order) -> dict[str, Any]:
    detail = {
        "message_id": dead_letter.message_id,
        "reason": dead_letter.reason,
        "queue": dead_letter.queue,
    }
    return {
        "action": ACTION,
        "subject": str(dead_letter.id),
        "outcome": "deleted",
        "operator": order.operator,
        "detail": detail | action.asked(order.choice.as_detail(), order.note),
    }
