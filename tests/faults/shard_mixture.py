"""What is sent where there are several shards: the usual mixture, a part of it to the wrong shard.

What is misrouted has an identity of its own, so that after a replay it is one row.
"""

import random
from collections.abc import Iterable

from shared import shard
from tests.faults.message_mixture import PROVIDERS, VALUE_MAX, Mixture, Sent
from tests.support import messages

MISROUTED, AGAIN = 0.1, 0.05
"""Of all messages so many are for another shard's queue; of these so many a second time."""
WRONG = "wrong_shard"


class ShardMixture:
    """An endless stream of messages for `count` shards, each with its routing key."""

    def __init__(self, seed: int, count: int) -> None:
        """The same seed gives the same messages in the same order."""
        self._random = random.Random(seed)
        self._usual = Mixture(seed)
        self._count = count
        self._misrouted: list[Sent] = []

    def draw(self) -> Sent:
        """Return the next one."""
        if self._random.random() < MISROUTED:
            return self._draw_misrouted()
        sent = self._usual.draw()
        sent.key = sent.key or str(shard.of(sent.provider, self._count))
        return sent

    def _draw_misrouted(self) -> Sent:
        if self._misrouted and self._random.random() < AGAIN:
            return self._random.choice(self._misrouted)
        provider = self._random.choice(PROVIDERS)
        value = self._random.randint(-VALUE_MAX, VALUE_MAX)
        others = [k for k in range(self._count) if k != shard.of(provider, self._count)]
        sent = Sent(
            f"misrouted-{len(self._misrouted)}",
            messages.body(provider, value),
            provider,
            value,
            WRONG,
            key=str(self._random.choice(others)),
        )
        self._misrouted.append(sent)
        return sent


def sent_right(sent: Iterable[Sent], count: int) -> int:
    """Note that a replay has sent on what was misrouted; returns how many messages that were."""
    misrouted = [one for one in sent if one.reason == WRONG]
    for one in misrouted:
        one.reason, one.key = None, str(shard.of(one.provider, count))
    return len(misrouted)
