"""Whether `historical_transactions` has lost rows: a repair would then seal the loss.

A repair takes the balances to the user's tables. Where rows of theirs are gone that were counted,
and no trigger saw them go, the balances may be all that still says what those rows were.
"""

from dataclasses import dataclass
from typing import LiteralString

import psycopg

from ops.wording import count
from shared import postgres

# By the outbox rows that are kept; an empty table, by the ids that its sequence has given out.
SELECT_LOSS: LiteralString = """
SELECT c.relpersistence = 'u',
       NOT EXISTS (SELECT FROM historical_transactions)
       AND pg_sequence_last_value(minutebook_id_sequence('historical_transactions')) IS NOT NULL,
       (SELECT count(*)
          FROM (SELECT
                  FROM outbox o
                 WHERE transaction_id IS NOT NULL
                 GROUP BY transaction_id
                HAVING bool_or(operation = 'added')
                   AND sum(amount) <> 0
                   AND NOT EXISTS (SELECT
                                     FROM historical_transactions h
                                    WHERE h.id = o.transaction_id)) AS lost)
  FROM pg_class c
 WHERE c.oid = 'historical_transactions'::regclass
"""


@dataclass(frozen=True, slots=True)
class Loss:
    """What became of `historical_transactions`; `rows`: those known to be gone, at least."""

    unlogged: bool
    emptied: bool
    rows: int

    def lines(self) -> list[str]:
        """Say what happened, and what to do instead of a repair."""
        how = "TRUNCATE or DELETE while triggers were disabled, or a table put back from a dump"
        if self.unlogged:
            how = "it is UNLOGGED, and a crash of Postgres empties such a table"
        gone = "all rows" if self.emptied else count(self.rows, "row") if self.rows else "rows"
        after = (
            "next: restore them from a backup with session_replication_role = replica, so that they"
            " are not counted again"
        )
        if self.unlogged:
            after += "; ALTER TABLE historical_transactions SET LOGGED"
        return [
            f"historical_transactions has lost {gone} that the balances count: {how}",
            f"{after}; then ops reconcile",
            "--repair would write the loss into the balances, and does with --accept-loss",
        ]


def find(conn: psycopg.Connection) -> Loss | None:
    """Return what was lost, if anything. Raises `Unavailable`."""
    with postgres.translating():
        row = conn.execute(SELECT_LOSS).fetchone()
    loss = Loss(*row) if row else None
    return loss if loss and (loss.unlogged or loss.emptied or loss.rows) else None
