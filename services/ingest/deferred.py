"""Messages that can now become neither a row nor a dead letter: they stay unacknowledged.

A dead letter may be refused like any row (a right that was taken away, a lock, a trigger), and a
row may never be ready in time, even alone. The messages beside them are stored all the same, and
acknowledged one by one: an acknowledgement of all up to a tag would lose the deferred ones. Those
are tried again, less and less often, and health says why. If ingest ends before that succeeds, the
broker delivers them again.
"""

import contextlib
import enum
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import psycopg
import structlog

from services.ingest import core, postgres_errors, store
from services.ingest.batch_size import AdaptiveBatchSize
from services.ingest.core import DeadLetter, Validated

PART = "deferred messages"
"""What health calls them."""
RETRY_FIRST_S, RETRY_MAX_S = 1.0, 30.0
"""Seconds until they are tried again; doubled each time."""
REST_PER_TRY, REST_MAX_S = 10, 60.0
"""They are not tried for so many times as long as the last attempt took: others come first."""
ALONE_MAX = 3
"""Attempts in vain after which a message that was tried alone is deferred."""

Unwritten = tuple[DeadLetter, str]
"""A dead letter that was not written, and why."""
Keep = Callable[[psycopg.Connection, Sequence[DeadLetter]], Sequence[Unwritten]]


class Bury(Protocol):
    """Keeps dead letters over the connection of the commit they belong to."""

    def __call__(self, conn: psycopg.Connection, letters: Sequence[DeadLetter], /) -> object:
        """Write `letters`; never commits."""


class Letters(enum.Enum):
    """What becomes of the dead letters of a batch."""

    MUST = "written, or nothing is committed"
    MAY = "written; what cannot be is deferred"
    LATER = "deferred without an attempt"


class LettersRefused(Exception):
    """Dead letters cannot be written as they are; what is beside them may be."""

    def __init__(self, error: psycopg.Error) -> None:
        """`error` is what Postgres said."""
        super().__init__(postgres_errors.describe(error))
        self.error = error


log = structlog.get_logger()


class Deferred:
    """The deferred messages of one channel, by tag. Safe to use from several threads."""

    def __init__(self, batch_max: int = 1000) -> None:
        """Try up to `batch_max` at once."""
        self.batch_size = AdaptiveBatchSize(batch_max)
        self.reason = ""
        self._lock = threading.Lock()
        self._messages: dict[int, Validated] = {}
        self._pause_s = RETRY_FIRST_S
        self._retry_at = 0.0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._messages)

    def add(self, messages: Iterable[Validated], reason: str) -> None:
        """Defer messages. Whoever refused them is shown to people as `reason`."""
        with self._lock:
            if not self._messages:
                self._pause_s = RETRY_FIRST_S
                self._retry_at = time.monotonic() + RETRY_FIRST_S
            self._messages |= {one.delivery.tag: one for one in messages}
            self.reason = reason or self.reason  # those not even tried share that of the others
            log.warning("messages_deferred", messages=len(self._messages), reason=self.reason)

    def messages(self) -> list[Validated]:
        """Return all, in the order in which they came."""
        with self._lock:
            return [self._messages[tag] for tag in sorted(self._messages)]

    def is_before(self, tag: int) -> bool:
        """Say whether an acknowledgement of all up to `tag` would be of a deferred one, too."""
        with self._lock:
            return any(one <= tag for one in self._messages)

    def due(self) -> list[Validated]:
        """Return those to try now; none while it is too early."""
        with self._lock:
            if time.monotonic() < self._retry_at:
                return []
            return self._alike()[: self.batch_size.size]

    def has_letters(self) -> bool:
        """Say whether dead letters are among them."""
        with self._lock:
            return any(isinstance(one, DeadLetter) for one in self._messages.values())

    def tried(self, tried: Sequence[Validated], left: Iterable[Validated], took_s: float) -> None:
        """Say what is `left` of those tried; the others are settled."""
        with self._lock:
            for one in tried:
                del self._messages[one.delivery.tag]
            # To the end: what fails again and again must not keep the others from being tried.
            self._messages |= {one.delivery.tag: one for one in left}
            self._pause_s = min(2 * self._pause_s, RETRY_MAX_S)
            rest_s = max(self._pause_s, min(REST_PER_TRY * took_s, REST_MAX_S))
            self._retry_at = time.monotonic() + rest_s

    def try_soon(self) -> None:
        """Say that Postgres takes again what it did not take: perhaps these, too."""
        with self._lock:
            self._retry_at = 0.0

    def _alike(self) -> list[Validated]:
        # Dead letters and rows apart: the one does not say anything of the other.
        messages = list(self._messages.values())
        return [one for one in messages if type(one) is type(messages[0])]


class Keeping:
    """How the dead letters of a commit are written."""

    def __init__(self, bury: Bury, letters: Letters = Letters.MUST) -> None:
        """`bury` writes all or raises."""
        self._bury = bury
        self._letters = letters

    def at_once(self, conn: psycopg.Connection, letters: Sequence[DeadLetter]) -> list[Unwritten]:
        """Write all. Raises psycopg's error, or `LettersRefused` where some may be left out."""
        if self._letters is Letters.LATER:
            return [(one, "") for one in letters]
        try:
            self._bury(conn, letters)
        except psycopg.Error as error:
            if self._letters is Letters.MUST:
                raise
            raise LettersRefused(error) from error
        return []

    def each(self, conn: psycopg.Connection, letters: Sequence[DeadLetter]) -> list[Unwritten]:
        """Write those that can be written, if some may be left out; return the others."""
        if self._letters is not Letters.MAY:
            return self.at_once(conn, letters)
        trouble: list[str] = []

        def attempt(part: Sequence[DeadLetter]) -> str | None:
            if trouble:
                return trouble[0]
            try:
                with conn.transaction():  # a savepoint
                    self._bury(conn, part)
            except psycopg.Error as error:
                postgres_errors.raise_if_lost(conn, error)
                if postgres_errors.is_trouble(error):  # each attempt may wait as long as this one
                    trouble.append(postgres_errors.describe(error))
                return postgres_errors.describe(error)
            return None

        return core.bisect(letters, attempt)

    def mend(self, conn: psycopg.Connection, error: psycopg.Error) -> None:
        """Move on the sequence of dead letters if it was that; raise `error` if all is lost."""
        postgres_errors.raise_if_lost(conn, error)
        table = postgres_errors.clashing_ids(conn, error)
        if table is not None:
            with contextlib.suppress(psycopg.Error):  # then they are deferred
                store.advance_sequence(conn, table)
