"""Messages that can now become neither a row nor a dead letter: they stay unacknowledged.

A dead letter may be refused like any row (a right that was taken away, a lock, a trigger), and a
row may never be ready in time, even alone. The messages beside them are stored all the same, and
acknowledged one by one: an acknowledgement of all up to a tag would lose the deferred ones. Those
are tried again, less and less often, and health says why. If ingest ends before that succeeds, the
broker delivers them again.
"""

import contextlib
import time
from collections.abc import Iterable, Sequence

import psycopg
import structlog

from services.ingest import core, postgres_errors, store
from services.ingest.core import DeadLetter, Validated

RETRY_FIRST_S, RETRY_MAX_S = 1.0, 30.0
"""Seconds until they are tried again; doubled each time that none is settled."""
REST_PER_TRY, REST_MAX_S = 10, 60.0
"""They are not tried for so many times as long as the last attempt took: others come first."""
BATCH_MAX = 1000
"""So many are tried at once; half as many after an attempt that settled none."""
ALONE_MAX = 3
"""Failed attempts after which a message that was tried alone is deferred."""

Unwritten = tuple[DeadLetter, str]
"""A dead letter that was not written, and why."""

log = structlog.get_logger()


class Deferred:
    """The deferred messages of one channel, by tag. For the writing thread."""

    def __init__(self) -> None:
        """Begin with none."""
        self.reason = ""
        self._batch_size = BATCH_MAX
        self._messages: dict[int, Validated] = {}
        self._pause_s = RETRY_FIRST_S
        self._retry_at = 0.0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._messages)

    def add(self, messages: Iterable[Validated], reason: str) -> None:
        """Defer messages; `reason` is shown to people."""
        if not self._messages:
            self._pause_s = RETRY_FIRST_S
            self._retry_at = time.monotonic() + RETRY_FIRST_S
        self._messages |= {one.delivery.tag: one for one in messages}
        self.reason = reason or self.reason  # those not even tried share that of the others
        log.warning("messages_deferred", messages=len(self._messages), reason=self.reason)

    def messages(self) -> list[Validated]:
        """Return all, in the order in which they came."""
        return [self._messages[tag] for tag in sorted(self._messages)]

    def is_before(self, tag: int) -> bool:
        """Say whether an acknowledgement of all up to `tag` would be of a deferred one, too."""
        return any(one <= tag for one in self._messages)

    def has_dead_letters(self) -> bool:
        """Say whether dead letters are among them."""
        return any(isinstance(one, DeadLetter) for one in self._messages.values())

    def due(self) -> list[Validated]:
        """Return those to try now; none while it is too early."""
        if time.monotonic() < self._retry_at or not self._messages:
            return []
        # Dead letters and rows apart: the one does not say anything of the other.
        messages = list(self._messages.values())
        alike = [one for one in messages if type(one) is type(messages[0])]
        return alike[: self._batch_size]

    def tried(self, tried: Sequence[Validated], left: Sequence[Validated], took_s: float) -> None:
        """Say what is `left` of those tried; the others are settled."""
        for one in tried:
            del self._messages[one.delivery.tag]
        # To the end: what fails again and again must not keep the others from being tried.
        self._messages |= {one.delivery.tag: one for one in left}
        if len(left) < len(tried):
            self._pause_s = RETRY_FIRST_S
            self._batch_size = min(2 * self._batch_size, BATCH_MAX)
        else:
            self._pause_s = min(2 * self._pause_s, RETRY_MAX_S)
            self._batch_size = max(1, len(tried) // 2)
        rest_s = max(self._pause_s, min(REST_PER_TRY * took_s, REST_MAX_S))
        self._retry_at = time.monotonic() + rest_s

    def try_soon(self) -> None:
        """Say that Postgres takes again what it did not take: perhaps these, too."""
        self._retry_at = 0.0


def store_dead_letters(
    conn: psycopg.Connection, letters: Sequence[DeadLetter], queue: str
) -> list[Unwritten]:
    """Write those that can be written, within the caller's transaction; return the others.

    Raises psycopg's error if the connection is lost.
    """
    trouble: list[str] = []

    def attempt(part: Sequence[DeadLetter]) -> str | None:
        if trouble:
            return trouble[0]
        error = _write_in_savepoint(conn, part, queue)
        if error is not None and _moved_sequence(conn, error):
            error = _write_in_savepoint(conn, part, queue)
        if error is None:
            return None
        if postgres_errors.is_trouble(error):  # each attempt may wait as long as this one
            trouble.append(postgres_errors.describe(error))
        return postgres_errors.describe(error)

    return core.bisect(letters, attempt)


def _write_in_savepoint(
    conn: psycopg.Connection, letters: Sequence[DeadLetter], queue: str
) -> psycopg.Error | None:
    try:
        with conn.transaction():
            store.insert_dead_letters(conn, letters, queue=queue)
    except psycopg.Error as error:
        postgres_errors.raise_if_lost(conn, error)
        return error
    return None


def _moved_sequence(conn: psycopg.Connection, error: psycopg.Error) -> bool:
    """Move on the sequence of dead letters if `error` says that it is behind."""
    table = postgres_errors.clashing_ids(conn, error)
    if table is None:
        return False
    with contextlib.suppress(psycopg.Error), conn.transaction():
        store.advance_sequence(conn, table)
        return True
    return False
