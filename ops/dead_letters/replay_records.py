"""Dead letters that are no transactions, acted on again by what acts on their queue.

Each is done and gone, or stays with what is wrong now. It never becomes anything that another
queue's messages become: a record that happens to have `id` and `value` is not money.
"""

from dataclasses import replace
from typing import LiteralString

import psycopg

from ops import action
from ops.dead_letters import store
from ops.dead_letters.core import StoredDeadLetter
from ops.dead_letters.replay import Edit, Order, Replayed, refuse_copy, replayed_action
from shared.errors import Refusal
from shared.queue_worker import Handle
from shared.unfit import Unfit

KEEP: LiteralString = """
UPDATE dead_letter
   SET reason = %(reason)s,
       error = %(error)s,
       body = %(body)s
 WHERE id = %(id)s
"""


def replay_records(
    conn: psycopg.Connection, order: Order, queue: str, handle: Handle, result: Replayed
) -> None:
    """Have `handle` act on the dead letters that came from `queue`, in the caller's transaction.

    Raises `Refusal` and psycopg's errors.
    """
    order = replace(order, choice=replace(order.choice, queue=queue))
    for page in store.pages(conn, order.choice, locked=True):
        outcomes = {one.id: _again(conn, one, order.edit, handle) for one in page}
        store.delete(conn, [key for key, one in outcomes.items() if one in ("applied", "ignored")])
        action.note(conn, [replayed_action(one, outcomes[one.id], order) for one in page])
        for dead_letter_id, outcome in outcomes.items():
            result.letters.append({"id": dead_letter_id, "outcome": outcome})
            result.applied += outcome == "applied"
            result.ignored += outcome == "ignored"
            if outcome not in ("applied", "ignored"):
                result.dead[outcome] += 1
        order.progress(len(page))


def _again(
    conn: psycopg.Connection, dead_letter: StoredDeadLetter, edit: Edit, handle: Handle
) -> str:
    """Return what became of a dead letter: an outcome, or the reason why it still is one."""
    if edit.message_id is not None:
        raise Refusal(
            f"dead letter {dead_letter.id} came from {dead_letter.queue}: no identity matters there"
        )
    body = dead_letter.body if edit.body is None else edit.body
    if edit != Edit():
        refuse_copy(conn, dead_letter, edit)
    try:
        with conn.transaction():  # what an unfit one has changed by then is taken back
            return handle(conn, body)
    except Unfit as unfit:
        kept = {"id": dead_letter.id, "reason": unfit.reason, "error": unfit.error, "body": body}
        conn.execute(KEEP, kept)
        return unfit.reason
