"""What is sent where there are several shards: the usual mixture, a part of it to the wrong shard.

Who is astray has an identity of its own, so that after a replay it is one row.
"""

import random
from collections.abc import Iterable

from shared import shard
from tests.faults.message_mixture import PROVIDERS, VALUE_MAX, Mixture, Sent
from tests.support import messages

ASTRAY, AGAIN = 0.1, 0.05
"""Of all messages so many are for another shard's queue; of these so many a second time."""
WRONG = "wrong_shard"


class ShardMixture:
    """An endless stream of messages for `count` shards, each with its routing key."""

    def __init__(self, seed: int, count: int) -> None:
        """The same seed gives the same messages in the same order."""
        self._random = random.Random(seed)
        self._usual = Mixture(seed)
        self._count = count
        self._astray: list[Sent] = []

    def draw(self) -> Sent:
        """Return the next one."""
        if self._random.random() < ASTRAY:
            return self._gone_astray()
        sent = self._usual.draw()
        sent.key = sent.key or str(shard.of(sent.provider, self._count))
        return sent

    def _gone_astray(self) -> Sent:
        if self._astray and self._random.random() < AGAIN:
            return self._random.choice(self._astray)
        provider = self._random.choice(PROVIDERS)
        value = self._random.randint(-VALUE_MAX, VALUE_MAX)
        others = [k for k in range(self._count) if k != shard.of(provider, self._count)]
        sent = Sent(
            f"astray-{len(self._astray)}",
            messages.body(provider, value),
            provider,
            value,
            WRONG,
            key=str(self._random.choice(others)),
        )
        self._astray.append(sent)
        return sent


def sent_right(sent: Iterable[Sent], count: int) -> int:
    """Take down that a replay has sent on what was astray; returns how many messages that were."""
    astray = [one for one in sent if one.reason == WRONG]
    for one in astray:
        one.reason, one.key = None, str(shard.of(one.provider, count))
    return len(astray)
