"""Which providers a pipeline has where there are several, and how it names what is its own.

Providers are split by id over N pipelines, each with a Postgres of its own; RabbitMQ and KeyDB are
common to all. A pipeline that is the only one has every provider, and the names as they are.
"""

import re
from dataclasses import dataclass

EXCHANGE = "transactions"
"""Direct exchange to which producers publish where there are several; routing key: `id % N`."""
SHARD_MEANS = (
    "k/N: this pipeline is the k-th (from 0) of N, each with a Postgres of its own: it has the"
    " providers whose id % N is k, and the names of its queues end in .k; empty: the only one"
)
"""The setting."""
SENT_ON = "x-minutebook-sent-on"
"""Header of a message whose dead letter an operator sent on to the shard that has its provider."""
COUNT_MAX = 1024
WRITTEN = re.compile(r"(0|[1-9][0-9]{0,3})/([1-9][0-9]{0,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shard:
    """The `number`-th of `count` pipelines, counted from 0."""

    number: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Return what `k/N` says; nothing is the only one. Raises `ValueError`."""
        if not text:
            return cls()
        found = WRITTEN.fullmatch(text)
        number, count = map(int, found.groups()) if found else (0, 0)
        if not number < count <= COUNT_MAX:
            raise ValueError(f"not of the form k/N with k from 0 to N-1, N {COUNT_MAX} at most")
        return cls(number, count)

    def __str__(self) -> str:
        """Return it as the setting has it."""
        return f"{self.number}/{self.count}"

    @property
    def split(self) -> "Shard | None":
        """Itself, or None where it is the only one: then no provider is another's."""
        return self if self.count > 1 else None

    def has(self, provider_id: int) -> bool:
        """Say whether a provider is of this one."""
        return of(provider_id, self.count) == self.number

    def refusal(self, provider_id: int) -> str:
        """Return why a provider of another shard is refused."""
        whose = Shard(of(provider_id, self.count), self.count)
        return f"the provider is of shard {whose}, and this is {self}"

    def route(self, provider_id: int) -> str:
        """Return by which key of the exchange a provider's messages reach its pipeline.

        Nothing where there is only one: they go to its queue by name.
        """
        return str(of(provider_id, self.count)) if self.split else ""

    def name(self, name: str) -> str:
        """Return what our own queue or exchange of this name is called."""
        return f"{name}.{self.number}" if self.split else name

    def key(self, key: str) -> str:
        """Return what our own key in KeyDB is called."""
        return f"{key}:{self.number}" if self.split else key


ONLY = Shard()
"""The shard of a pipeline that is the only one."""


def of(provider_id: int, count: int) -> int:
    """Return the number of a provider's pipeline: the remainder that is never negative.

    Python's `%` is that. In languages whose remainder has the sign of the dividend (C, Java, Go,
    JavaScript, and SQL) it is `((id % n) + n) % n`.
    """
    return provider_id % count
