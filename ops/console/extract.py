"""The end of a provider's statement, read backwards: a little, then more, until it is enough.

Each tick that changed the balance is a question of its own: no more are read than needed.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

import psycopg

from shared.errors import Refusal
from shared.ledger import history
from shared.ledger.statement import End, Movement, statement

HOUR = timedelta(hours=1)
"""So far back at most."""
MOVEMENTS_SHOWN, MOVEMENTS_READ, LAST_TICK_MAX = 100, 5000, 100_000
"""How many are shown; are read of a time, or it is left; and of the last tick, or it is refused."""
GROWTH, RESERVE = 5, 1.2
"""Of a time without any movement the next one is so many times as long; else it is as long as what
is still missing should take, and a little more."""


@dataclass(frozen=True, slots=True)
class Extract:
    """The end of a statement, newest first; `whole`: `opening` is what the last one began with."""

    opening: End
    closing: End
    movements: list[Movement]
    whole: bool


def extract(
    conn: psycopg.Connection, provider_id: int, interval: timedelta, now: datetime
) -> Extract:
    """Return the newest movements; ticks come each `interval`.

    The caller holds a transaction, REPEATABLE READ. Raises `Unanswerable`, `Refusal` and
    `Unavailable`.
    """
    oldest = max(now - HOUR, history.oldest_boundary(conn))
    begin, span, longest = max(now - interval, oldest), interval, HOUR
    found = _read(conn, provider_id, (begin, now), LAST_TICK_MAX)
    if found is None:
        most = f"more than {LAST_TICK_MAX:,} movements in the last tick"
        raise Refusal(f"{most}: ops statement {provider_id}")
    opening, closing, movements = found
    while begin > oldest and (missing := MOVEMENTS_SHOWN + 1 - len(movements)) > 0:
        since = max(begin - span, oldest)
        found = _read(conn, provider_id, (since, begin), MOVEMENTS_READ)
        if found is None and span > interval:
            # Nor is as long a time tried again further back: what is too many lies there.
            longest = span = max((begin - since) / GROWTH, interval)
            continue
        if found is None:
            break
        begin, opening = since, found[0]
        movements += found[2]
        each = (now - begin) / len(movements) if movements else None
        wanted = GROWTH * span if each is None else max(RESERVE * missing * each, interval)
        span = min(wanted, longest)
    whole = len(movements) <= MOVEMENTS_SHOWN
    return Extract(opening, closing, movements[:MOVEMENTS_SHOWN], whole)


def _read(
    conn: psycopg.Connection, provider_id: int, times: tuple[datetime, datetime], most: int
) -> tuple[End, End, list[Movement]] | None:
    """Return both ends and the movements, newest first; None if there are more than `most`."""
    with statement(conn, provider_id, *times) as found:
        newest = deque(islice(found.movements, most), MOVEMENTS_SHOWN + 1)
        if next(found.movements, None) is not None:
            return None
    return found.opening, found.closing, list(reversed(newest))
