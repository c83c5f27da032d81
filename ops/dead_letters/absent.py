"""Dead letters that were asked for by id and are not there, and what is on record of them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, LiteralString

import psycopg

from ops.dead_letters.core import Choice
from ops.wording import moment, visible

SELECT_FATES: LiteralString = """
SELECT asked.id, d.queue, a.action, a.created_at, a.operator
  FROM unnest(%(ids)s::bigint[]) AS asked (id)
  LEFT JOIN dead_letter d ON d.id = asked.id
  LEFT JOIN LATERAL (
       SELECT action, created_at, operator
         FROM operator_action
        WHERE action IN ('dead_letter_replayed', 'dead_letter_purged')
          AND subject = asked.id::text
          AND outcome IN ('row', 'duplicate', 'sent_on', 'applied', 'ignored', 'deleted')
        ORDER BY id DESC
        LIMIT 1
       ) AS a ON true
"""
DONE: dict[str, Literal["replayed", "purged"]] = {
    "dead_letter_replayed": "replayed",
    "dead_letter_purged": "purged",
}


@dataclass(frozen=True, slots=True)
class Absent:
    """An id, and why there is no such dead letter; `record` is empty if there is none."""

    id: int
    says: str
    record: Literal["", "replayed", "purged"] = ""


def absent(conn: psycopg.Connection, choice: Choice, found: Collection[int]) -> list[Absent]:
    """Return the ids of `choice` that are not among those `found`, as they were given."""
    ids = [one for one in dict.fromkeys(choice.ids) if one not in found]
    if not ids:
        return []
    fates = {row[0]: row[1:] for row in conn.execute(SELECT_FATES, {"ids": ids})}
    return [
        _unfit(choice, one, fates[one][0])
        if fates[one][0] is not None
        else _gone(one, *fates[one][1:])
        for one in ids
    ]


def _unfit(choice: Choice, dead_letter: int, queue: str) -> Absent:
    if choice.queue not in (None, queue):
        came = f"came from {visible(queue)}, not from {visible(choice.queue)}"
        return Absent(dead_letter, f"dead letter {dead_letter} {came}")
    return Absent(dead_letter, f"dead letter {dead_letter} is not of the kind that was asked for")


def _gone(
    dead_letter: int, action: str | None, at: datetime | None, operator: str | None
) -> Absent:
    if action is None:
        return Absent(dead_letter, f"there is no dead letter {dead_letter}")
    by = f"{DONE[action]} at {moment(at)} by {visible(operator)}"
    return Absent(
        dead_letter, f"there is no dead letter {dead_letter} any more: {by}", DONE[action]
    )
