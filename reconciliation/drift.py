"""What must agree and does not: the user's tables, the ledger, KeyDB. Pure comparisons.

The *ledger* is the newest balances and what the outbox holds beyond them.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class LedgerDrift:
    """A provider whose ledger is not what the user's tables say.

    `truth` is `initial_value` and the sum of its transactions; `balance` its newest balance,
    `unfolded` what the outbox adds to that. `key` is what the tables make of its name, `shown` what
    the ledger does; None: nothing to show.
    """

    provider_id: int
    truth: int
    balance: int
    unfolded: int
    key: str | None
    shown: str | None

    @property
    def missing(self) -> int:
        """Return what would have to be added to the ledger; 0 when only the key differs."""
        return self.truth - self.balance - self.unfolded


@dataclass(frozen=True, slots=True)
class KeydbDrift:
    """A key of KeyDB that is not what the ledger says of the tick that KeyDB shows.

    None is no value; `listed` says whether it is a member of the set of our keys.
    """

    key: str
    expected: str | None
    found: str | None
    listed: bool


@dataclass(frozen=True, slots=True)
class LedgerComparison:
    """The user's tables against the ledger: all `drifting` providers, the first as `drifts`."""

    epoch: int
    providers: int
    transactions: int
    drifting: frozenset[int]
    drifts: tuple[LedgerDrift, ...]


@dataclass(frozen=True, slots=True)
class KeydbComparison:
    """KeyDB against the balances at the tick it shows: all `drifting` keys, the first as `drifts`.

    State `unknown`: KeyDB shows no tick of this database, and the next tick sends it everything;
    `moving`: it was published to during every attempt to read it.
    """

    state: Literal["compared", "unknown", "moving", "unreachable", "not_asked"]
    epoch: int | None = None
    keys: int = 0
    drifting: frozenset[str] = frozenset()
    drifts: tuple[KeydbDrift, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """One reconciliation."""

    ledger: LedgerComparison
    keydb: KeydbComparison
    duration_s: float

    @property
    def drifting(self) -> int:
        """Return how many providers differ somewhere."""
        of_keys = {key.partition("_")[0] for key in self.keydb.drifting}
        return len({str(one) for one in self.ledger.drifting} | of_keys)


def compare(
    expected: Mapping[str, str], listed: AbstractSet[str], found: Mapping[str, str | None]
) -> Iterator[KeydbDrift]:
    """Yield what is wrong of the keys in `found`; `listed` are the members of our set."""
    for key, value in found.items():
        due = expected.get(key)
        if value != due or (key in listed) != (key in expected):
            yield KeydbDrift(key, due, value, key in listed)
