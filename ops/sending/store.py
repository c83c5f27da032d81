"""What `send` and `load` ask of Postgres: providers, and which batches were sent before."""

from collections.abc import Sequence
from typing import LiteralString

import psycopg

from ops import action
from ops.sending.batch import Batch, Earlier

ACTION = "batch_sent"
BEGUN, WHOLE, INCOMPLETE = "begun", "confirmed", "incomplete"

SELECT_PROVIDERS: LiteralString = """
SELECT id
  FROM initial_data
 ORDER BY id
 LIMIT %(most)s
"""
# Two people who send copies of a file at the same time must see each other's.
LOCK: LiteralString = "SELECT pg_advisory_xact_lock(hashtextextended('minutebook:batches', 0))"
SELECT_EARLIER: LiteralString = """
SELECT a.subject, a.detail ->> 'file', a.detail ->> 'sha256', a.created_at, a.operator,
       EXISTS (SELECT
                 FROM operator_action b
                WHERE b.action = 'batch_sent'
                  AND b.subject = a.subject
                  AND b.outcome = 'confirmed'),
       (SELECT count(*)
          FROM jsonb_array_elements_text(a.detail -> 'runs') AS run
         WHERE run = ANY (%(runs)s))::int,
       jsonb_array_length(a.detail -> 'runs')
  FROM operator_action a
 WHERE a.action = 'batch_sent'
   AND a.outcome = 'begun'
   AND (a.subject = %(name)s
        OR a.detail ->> 'sha256' = %(sha256)s
        OR a.detail ->> 'file' = %(file)s
        OR a.detail -> 'runs' ?| %(runs)s)
 ORDER BY a.id
"""


def providers(conn: psycopg.Connection, most: int) -> list[int]:
    """Return the ids of providers, `most` at most."""
    return [one for (one,) in conn.execute(SELECT_PROVIDERS, {"most": most})]


def lock(conn: psycopg.Connection) -> None:
    """Wait until no other sender is beginning a batch; keep others out until the commit."""
    conn.execute(LOCK)


def earlier(conn: psycopg.Connection, batch: Batch) -> list[Earlier]:
    """Return the batches of the same name, content, file name or some of the same lines."""
    given = {
        "name": batch.name,
        "sha256": batch.sha256,
        "file": batch.file or None,
        "runs": batch.runs,
    }
    return [Earlier(*row) for row in conn.execute(SELECT_EARLIER, given)]


def note(conn: psycopg.Connection, batches: Sequence[Batch], outcome: str, operator: str) -> None:
    """Write that batches were begun, or how they ended. Never commits."""
    actions = []
    for one in batches:
        detail = {"file": one.file, "sha256": one.sha256, "lines": one.lines}
        if outcome == BEGUN:
            detail |= {"made_up": one.made_up, "runs": one.runs}
        actions.append(
            {"action": ACTION, "subject": one.name, "outcome": outcome, "operator": operator}
            | {"detail": detail}
        )
    action.note(conn, actions)
