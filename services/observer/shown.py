"""What KeyDB shows: a key for each object, gone when its time is over.

The value is when the object was seen, as RFC 3339 in UTC with six digits: texts that compare as the
times do. The end is a time of KeyDB's own clock. So a KeyDB that stands still, and does later what
it was sent before, shows nothing longer; and who comes late moves nothing back.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from services.observer.store import Clock
from shared import keydb

PREFIX = "minutebook:last_seen:"
KEYS_MAX = 1000
"""Of one script: KeyDB answers nobody else meanwhile."""
SCRIPT = """
for i, key in ipairs(KEYS) do
    local seen_at, until_ms = ARGV[2 * i - 1], ARGV[2 * i]
    local shown = redis.pcall('GET', key)
    if type(shown) ~= 'string' or shown < seen_at then
        redis.call('SET', key, seen_at)
        redis.call('PEXPIREAT', key, until_ms)
    end
end
"""


class Shown:
    """One KeyDB, reached by one connection."""

    def __init__(self, client: keydb.Client, kept_s: float) -> None:
        """A key is kept for `kept_s` after its object was seen."""
        self._client = client
        self._script = client.register_script(SCRIPT)
        self._kept_s = kept_s

    def show(self, seen: Mapping[int, datetime], clock: Clock) -> None:
        """Show when objects were seen, times of `clock`. Raises `Unavailable`."""
        objects = list(seen)
        with keydb.translating(self._client):
            for at in range(0, len(objects), KEYS_MAX):
                part = objects[at : at + KEYS_MAX]
                now: Any = self._client.time()
                now_ms = now[0] * 1000 + now[1] // 1000
                now_there = clock.time_at(time.monotonic())
                arguments: list[str | int] = []
                for one in part:
                    left_s = self._kept_s - (now_there - seen[one]).total_seconds()
                    arguments += [rfc3339(seen[one]), now_ms + int(left_s * 1000)]
                self._script(keys=[f"{PREFIX}{one}" for one in part], args=arguments)


def rfc3339(time: datetime) -> str:
    """Return a time as KeyDB shows it."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
