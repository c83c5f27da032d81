"""What upkeep removes: ticks and balances of the past, and what changed messages had said.

Each removes the oldest of it, at most as much as it is told; returns how many rows that were.
"""

from typing import LiteralString

import psycopg

# The last tick before the horizon goes, too: the first one after it says what held from then on.
PRUNE_TICKS: LiteralString = """
DELETE FROM tick
 WHERE epoch IN (
       SELECT epoch
         FROM tick
        WHERE epoch < (SELECT epoch
                         FROM tick
                        WHERE folded_at >= now() - make_interval(days => %(retention_d)s)
                        ORDER BY epoch
                        LIMIT 1)
        ORDER BY epoch
        LIMIT %(most)s)
RETURNING epoch
"""
# The newest balance at the horizon stays whatever its age: any later question is answered from it.
# What it has superseded goes. Only what the pruned ticks changed is looked at.
PRUNE_BALANCES: LiteralString = """
DELETE FROM balance old
 USING (SELECT DISTINCT ON (provider_id) provider_id, epoch
          FROM balance
         WHERE epoch >= %(first)s
           AND epoch <= (SELECT min(epoch) FROM tick)
         ORDER BY provider_id, epoch DESC) AS kept
 WHERE old.provider_id = kept.provider_id
   AND old.epoch < kept.epoch
"""
# What messages said whose rows were changed by hand: kept as long as the outbox rows of the change.
PRUNE_MESSAGES: LiteralString = """
DELETE FROM received_message
 WHERE (message_id, provider_id, value) IN (
       SELECT message_id, provider_id, value
         FROM received_message
        WHERE noted_at < now() - make_interval(hours => %(retention_h)s)
        ORDER BY noted_at
        LIMIT %(most)s)
"""


def prune_history(conn: psycopg.Connection, retention_d: int, most: int) -> int:
    """Remove the oldest ticks, `most` at most, with the balances that were superseded by then."""
    limits = {"retention_d": retention_d, "most": most}
    epochs = [epoch for (epoch,) in conn.execute(PRUNE_TICKS, limits)]
    if epochs:
        conn.execute(PRUNE_BALANCES, {"first": min(epochs)})
    return len(epochs)


def prune_messages(conn: psycopg.Connection, retention_h: int, most: int) -> int:
    """Remove the oldest notes of what messages said, `most` at most."""
    return conn.execute(PRUNE_MESSAGES, {"retention_h": retention_h, "most": most}).rowcount
