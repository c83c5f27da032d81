"""What a fault is: one thing that happens to one part, and is over when `strike` returns."""

from dataclasses import dataclass
from typing import Protocol

from tests.support.stack import Stack


@dataclass(frozen=True)
class Struck:
    """What came of it."""

    in_flight: bool
    """Whether work was in hand when it struck, as well as can be told from outside."""


class Fault(Protocol):
    """One way to harm one part.

    `part` is the name of the compose service that suffers, `name` what happens to it ("pause",
    "reply eaten"); the two together are unique.
    """

    @property
    def name(self) -> str:
        """What happens."""

    @property
    def part(self) -> str:
        """To whom: ingest, ticker, syncer, postgres, rabbitmq or keydb."""

    def strike(self, stack: Stack) -> Struck:
        """Do it and heal it; returns when it is healed, not when the stack is healthy again."""


def title(fault: Fault) -> str:
    """Return how reports and the selection by name call it: `ingest: pause`."""
    return f"{fault.part}: {fault.name}"
