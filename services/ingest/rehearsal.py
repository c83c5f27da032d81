"""What ingest has to do in Postgres, rehearsed at its start (`shared.table_checks`)."""

from typing import LiteralString

from services.ingest import received, store, traced, waiting
from shared.transactions import INSERT_TRANSACTIONS

STATEMENTS: tuple[LiteralString, ...] = (
    INSERT_TRANSACTIONS,
    traced.INSERT_TRACED,
    store.SELECT_OUTCOMES,
    store.INSERT_DEAD_LETTERS,
    store.ADVANCE_SEQUENCE,
    received.NOTE,
    received.SELECT_SETTLED,
    waiting.SELECT_ARRIVED,
    waiting.SELECT_WAITING,
    waiting.PROMOTE,
    waiting.SETTLE_PROMOTED,
    waiting.SETTLE_CONFLICTING,
    waiting.GIVE_UP,
)
