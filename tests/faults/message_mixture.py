"""What is sent: transactions of known amounts, and beside them all that goes wrong in practice.

Drawn from a seeded generator: the same seed gives the same messages in the same order.
"""

import random
from dataclasses import dataclass

from tests.support import messages
from tests.support.unfit_bodies import UNFIT_BODIES

PROVIDERS = range(1, 13)
LATE = range(1001, 1041)
"""Providers that do not exist at first; most of them appear in the course of a run."""
VALUE_MAX = 100_000


@dataclass(slots=True, eq=False)
class Sent:
    """One content under one identity, however often it is published.

    `reason` is that of the dead letter it must become; None if it is fit to be a row.
    """

    identity: str
    body: bytes
    provider: int = 0
    value: int = 0
    reason: str | None = None
    at_s: float = 0.0
    """When it was first published (monotonic)."""
    published: int = 0
    confirmed: int = 0
    given_up: bool = False
    """Its confirm was lost, and it was not published again."""
    key: str = ""
    """Routing key of the exchange of shards; without one it goes to the queue."""


class Mixture:
    """An endless stream of messages."""

    def __init__(self, seed: int) -> None:
        """Identities hold the seed, so that two runs on one stack would not clash."""
        self._random = random.Random(seed)
        self._seed = seed
        self._number = 0
        self._past: list[Sent] = []

    def draw(self) -> Sent:
        """Return the next: mostly new; 4 % repeat an earlier one, 1 % abuse its identity."""
        kind = self._random.random()
        if kind < 0.04 and self._past:
            return self._random.choice(self._past)
        if kind < 0.05 and self._past:
            return self._other_content(self._random.choice(self._past))
        if kind < 0.08:
            return self._unfit()
        late = kind < 0.11
        provider = self._random.choice(LATE if late else PROVIDERS)
        value = self._random.randint(-VALUE_MAX, VALUE_MAX)
        sent = Sent(self._identity(), messages.body(provider, value), provider, value)
        self._past.append(sent)
        return sent

    def _other_content(self, earlier: Sent) -> Sent:
        value = earlier.value + self._random.randint(1, VALUE_MAX)
        text = messages.body(earlier.provider, value)
        return Sent(earlier.identity, text, earlier.provider, value)

    def _unfit(self) -> Sent:
        reasons = [one for one in UNFIT_BODIES if one != "too_large"]
        rare = self._random.random() < 0.02
        reason = "too_large" if rare else self._random.choice(reasons)
        return Sent(self._identity(), UNFIT_BODIES[reason], reason=reason)

    def _identity(self) -> str:
        self._number += 1
        return f"{self._seed}-{self._number}"
