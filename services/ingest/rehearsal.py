"""What ingest has to do in Postgres to store good messages, rehearsed (`adoption.checks`).

Not dead letters and messages that wait for a provider: good ones are stored without them, and what
those lack is reported where it fails.
"""

from typing import LiteralString

from services.ingest import processed_messages, store
from shared.transactions import INSERT_ALL_OR_NONE, INSERT_TRANSACTIONS

STATEMENTS: tuple[LiteralString, ...] = (
    INSERT_TRANSACTIONS,
    INSERT_ALL_OR_NONE,
    store.SELECT_OUTCOMES,
    store.ADVANCE_SEQUENCE,
    processed_messages.NOTE,
    processed_messages.SELECT_SETTLED,
)
