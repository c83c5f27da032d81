"""Tables for people: text is folded where the terminal is narrow; a number is never cut short."""

from collections.abc import Collection, Iterator

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

TEXT_WIDTH_MIN = 8
"""Columns of the terminal that text is given at least, where it needs as many."""
EDGES = 3
"""What stands between two columns, at most."""


def table(*columns: str, numbers: Collection[str] = ()) -> Table:
    """Return a table with these columns; those of `numbers` are right-justified and never cut."""
    made = Table(box=None)
    for name in columns:
        if name in numbers:
            made.add_column(name, justify="right", no_wrap=True)
        else:
            made.add_column(name, overflow="fold")
    return made


def without_empty(view: RenderableType) -> RenderableType:
    """Return what is to be printed of `view`: a head over no rows says nothing."""
    if isinstance(view, Group):
        return Group(*(without_empty(one) for one in view.renderables if not _is_empty(one)))
    return view


def width(console: Console, view: RenderableType) -> int:
    """Return how wide `view` has to be printed: as the terminal is, or wider for what is not cut.

    The terminal then goes on in its next line, and nothing is lost.
    """
    return max(console.width, *(_needed(one) for one in _tables(view)), _whole(view), 1)


def _is_empty(view: RenderableType) -> bool:
    return isinstance(view, Table) and not view.rows


def _whole(view: RenderableType) -> int:
    if not isinstance(view, Text) or not view.no_wrap:
        return 0
    return max(map(cell_len, view.plain.splitlines()), default=0)


def _tables(view: RenderableType) -> Iterator[Table]:
    if isinstance(view, Table):
        yield view
    elif isinstance(view, Group):
        for one in view.renderables:
            yield from _tables(one)


def _needed(table: Table) -> int:
    return sum(EDGES + _column(one) for one in table.columns)


def _column(column: Column) -> int:
    longest = max((_length(one) for one in (column.header, *column.cells)), default=0)
    return longest if column.no_wrap else min(longest, TEXT_WIDTH_MIN)


def _length(cell: RenderableType) -> int:
    return cell_len(cell.plain if isinstance(cell, Text) else str(cell))
