"""Whether a key is known for another request: asked in time, or not at all.

Accepting does without the answer: then the tracker gives it.
"""

import asyncio
import time
from collections.abc import Sequence

from services.gateway.core import Item
from shared import request_message
from shared.errors import Unavailable
from shared.ledger import request
from shared.postgres_pool import ReadingPool

WITHIN_S = 1.0
PAUSE_S = 5.0
"""After a question without an answer none is asked for so long: each would cost a second."""


class KnownRequests:
    """Asks Postgres for one event loop."""

    def __init__(self, pool: ReadingPool) -> None:
        """`pool` is asked by threads."""
        self._pool = pool
        self._again_at = 0.0

    async def conflicts(self, key: str, by: str, items: Sequence[Item]) -> bool:
        """Say whether a key is known, and of another token or with other items."""
        if time.monotonic() < self._again_at:
            return False
        try:
            async with asyncio.timeout(WITHIN_S):
                asked = await asyncio.to_thread(self._asked, key)
        except (TimeoutError, Unavailable):
            self._again_at = time.monotonic() + PAUSE_S
            return False
        return asked is not None and asked != request.Asked(by, _digest(items))

    def _asked(self, key: str) -> request.Asked | None:
        with self._pool.connection() as conn:
            return request.asked(conn, key)


def _digest(items: Sequence[Item]) -> bytes:
    return request_message.digest((one.id, one.value, one.message_id, None) for one in items)
