"""Tables and lines on narrow terminals."""

import io

import pytest
from rich.console import Console, Group, RenderableType
from rich.text import Text

from ops import tables

LARGE = str(-(2**63))


def printed(view: RenderableType, columns: int) -> str:
    screen = io.StringIO()
    width = tables.width(Console(width=columns), view)
    Console(file=screen, width=width).print(view)
    return screen.getvalue()


@pytest.mark.parametrize("columns", [0, 1, 10, 40, 80])
def test_numbers_and_lines_to_be_copied_are_whole_however_narrow_the_terminal(columns: int) -> None:
    table = tables.table("key", "balance", numbers=["balance"])
    table.add_row("7_A provider with a name that is long", LARGE)
    line = "ops send --file " + "x" * 200

    assert f" {LARGE} " in printed(table, columns)
    assert line in printed(Text(line, no_wrap=True), columns)


def test_text_is_folded_and_no_character_of_it_is_lost() -> None:
    table = tables.table("body", "id", numbers=["id"])
    table.add_row("0123456789" * 10, "1")

    _, first, *rest = printed(table, 30).splitlines()

    assert first.split()[0] + "".join("".join(line.split()) for line in rest) == "0123456789" * 10
    assert max(map(len, [first, *rest])) <= 30


def test_a_head_over_no_rows_is_not_printed() -> None:
    view = Group(tables.table("id"), Text("0 alerts"))

    assert printed(tables.without_empty(view), 40).strip() == "0 alerts"
