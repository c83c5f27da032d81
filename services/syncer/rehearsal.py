"""What a tick has to do in Postgres, rehearsed at the syncer's start (`adoption.checks`).

Not retention: ticks go on without it, and what it lacks is reported where it fails.
"""

from typing import LiteralString

from services.syncer import boundary, posting, store

STATEMENTS: tuple[LiteralString, ...] = (
    store.SELECT_NEWEST,
    store.SELECT_FRESH,
    store.TAKE_BASELINE,
    store.SELECT_NOTED,
    store.SELECT_CHANGED,
    store.SELECT_OLD_KEYS,
    store.SELECT_ALL,
    store.UPDATE_PUBLISHED,
    posting.INSERT_TICK,
    posting.SELECT_BEFORE,
    boundary.TAKE_BACK,
)
