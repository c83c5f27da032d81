"""Messages that can now become neither a row nor a dead letter: they stay unacknowledged.

A dead letter may be refused like any row (a right that was taken away, a lock, a trigger), and one
row alone may take longer than a statement may. The messages beside them are stored all the same.
Those that are deferred are tried again, less and less often (`retrier.py`), and health says why. If
ingest ends before that succeeds, the broker delivers them again.
"""

import time
from collections.abc import Iterable, Sequence

import structlog

from services.ingest.core import DeadLetter, Validated

RETRY_FIRST_S, RETRY_MAX_S = 1.0, 30.0
"""Seconds until they are tried again; doubled each time that none is stored."""
REST_PER_TRY, REST_MAX_S = 10, 60.0
"""They are not tried for so many times as long as the last attempt took: others come first."""
BATCH_MAX = 1000
"""So many are tried at once; half as many after an attempt that stored none."""

log = structlog.get_logger()


class Deferred:
    """The deferred messages of one channel. For the writing thread."""

    def __init__(self) -> None:
        """Begin with none."""
        self.by_tag: dict[int, Validated] = {}
        """In the order in which they are tried."""
        self.reason = ""
        """Why, for people to read."""
        self._batch_size = BATCH_MAX
        self._pause_s = RETRY_FIRST_S
        self._retry_at = 0.0

    def add(self, messages: Iterable[Validated], reason: str) -> None:
        """Defer messages, for this `reason`."""
        if not self.by_tag:
            self._pause_s = RETRY_FIRST_S
            self._retry_at = time.monotonic() + RETRY_FIRST_S
        self.by_tag |= {one.delivery.tag: one for one in messages}
        self.reason = reason or self.reason  # those not even tried share that of the others
        log.warning("messages_deferred", messages=len(self.by_tag), reason=self.reason)

    def has_dead_letters(self) -> bool:
        """Say whether dead letters are among them."""
        return any(isinstance(one, DeadLetter) for one in self.by_tag.values())

    def due(self) -> list[Validated]:
        """Return those to try now; none while it is too early."""
        if time.monotonic() < self._retry_at or not self.by_tag:
            return []
        # Rows or dead letters, not both: if one kind is refused, the other may be taken.
        messages = list(self.by_tag.values())
        alike = [one for one in messages if type(one) is type(messages[0])]
        return alike[: self._batch_size]

    def note_attempt(
        self, tried: Sequence[Validated], left: Sequence[Validated], took_s: float
    ) -> None:
        """Keep what is `left` of those `tried`; the others are stored."""
        for one in tried:
            del self.by_tag[one.delivery.tag]
        # To the end: what fails again and again must not keep the others from being tried.
        self.by_tag |= {one.delivery.tag: one for one in left}
        if len(left) < len(tried):
            self._pause_s = RETRY_FIRST_S
            self._batch_size = min(2 * self._batch_size, BATCH_MAX)
        else:
            self._pause_s = min(2 * self._pause_s, RETRY_MAX_S)
            self._batch_size = max(1, len(tried) // 2)
        rest_s = max(self._pause_s, min(REST_PER_TRY * took_s, REST_MAX_S))
        self._retry_at = time.monotonic() + rest_s

    def try_soon(self) -> None:
        """Have them tried at once: Postgres takes again what it did not take."""
        self._retry_at = 0.0
