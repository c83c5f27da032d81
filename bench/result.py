"""What a question's answer looks like: rows of a table, as JSON and for a person."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

Row = dict[str, Any]
"""Column to value; the columns of the first row are those of the table."""


@dataclass(frozen=True)
class Result:
    """The answer to one question."""

    name: str
    question: str
    rows: list[Row]
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> Row:
        """Return it as JSON has it."""
        return asdict(self)

    def as_table(self) -> Table:
        """Return it as a table."""
        columns = list(self.rows[0]) if self.rows else []
        table = Table(title=f"{self.name}: {self.question}", caption="\n".join(self.notes))
        for column in columns:
            number = column != columns[0]
            table.add_column(
                column, justify="right" if number else "left", no_wrap=number, overflow="fold"
            )
        for row in self.rows:
            table.add_row(*(_text(row.get(column)) for column in columns))
        return table


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    messages: int
    runs: int
    large_bodies: int
    ticks: int = 300
    retained: int = 10_000_000
    since_checkpoint: int = 0
    """Rows kept before the first turn: in all, and after that since Postgres's last checkpoint."""
    against: Path | None = None
    """Another checkout to measure beside this one."""
    postgres: str | None = None
    memory: str | None = None
    """Of Postgres: options of its command line, and its container's limit; None: compose's."""


class Progress:
    """Says which turn is on; the base class says nothing."""

    def turn(self, text: str) -> None:
        """Say that this turn begins."""


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
