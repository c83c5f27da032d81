"""What the balances should be, kept beside the database by someone who never reads it."""

from dataclasses import dataclass, field, replace
from typing import TypeVar

T = TypeVar("T")
Values = dict[str, str]


@dataclass(frozen=True)
class Provider:
    """A row of initial_data."""

    name: str
    initial: int


@dataclass(frozen=True)
class Row:
    """A row of historical_transactions."""

    provider: int
    value: int


@dataclass(frozen=True)
class Books:
    """Rows by id, as committed."""

    providers: dict[int, Provider] = field(default_factory=dict)
    rows: dict[int, Row] = field(default_factory=dict)

    def balances(self) -> Values:
        """Return what KeyDB has to show."""
        return {
            f"{number}_{self.providers[number].name}": str(balance)
            for number, balance in self.sums().items()
        }

    def sums(self) -> dict[int, int]:
        """Return each provider's balance by its id."""
        return {
            number: provider.initial
            + sum(row.value for row in self.rows.values() if row.provider == number)
            for number, provider in self.providers.items()
        }

    def after(self, changes: "Changes") -> "Books":
        """Return the books with a transaction's changes; None is a row that went."""
        return replace(
            self,
            providers=_changed(self.providers, changes.providers),
            rows=_changed(self.rows, changes.rows),
        )


@dataclass
class Changes:
    """What an open transaction has done; of the providers `referred` to, it holds the keys."""

    providers: dict[int, Provider | None] = field(default_factory=dict)
    rows: dict[int, Row | None] = field(default_factory=dict)
    referred: set[int] = field(default_factory=set)


def _changed(before: dict[int, T], changes: dict[int, T | None]) -> dict[int, T]:
    after = {**before, **changes}
    return {number: kept for number, kept in after.items() if kept is not None}
