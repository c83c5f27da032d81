"""What the person sees: moving on a terminal, plain lines where there is none."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from demo.example import Balances, Row, Shown
from demo.failure import DemoFailed
from demo.stack import Container
from ops import tables

DETAIL_LINES_MAX = 80
STYLES = {"healthy": "green", "running": "green", "done": "green", "starting": "yellow"}

Report = Callable[[list[Container], str], None]


class Screen:
    """Standard output. Nothing here decides anything."""

    def __init__(self, name: str = "demo") -> None:
        """Colours and movement only where rich finds a terminal. `name` is the program's."""
        self._name = name
        self._console = Console(highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Say one line."""
        self._console.print(f"[bold cyan]==>[/] {escape(text)}")

    def failed(self, failure: DemoFailed) -> None:
        """Say why the program ends, below the words of the program that failed."""
        left_out = len(failure.details) - DETAIL_LINES_MAX
        if left_out > 0:
            self._console.print(f"    ({left_out} lines left out)", markup=False)
        for line in failure.details[-DETAIL_LINES_MAX:]:
            self._console.print(f"    {line}", markup=False)
        self._console.print(f"[bold red]{self._name}:[/] {escape(failure.reason)}")

    @contextmanager
    def starting(self) -> Iterator[Report]:
        """Show containers as they come up: call what is yielded with them and compose's line."""
        if not self._console.is_terminal:
            yield self._changes()
            return
        with Live(console=self._console, refresh_per_second=8) as live:
            spinner = Spinner("dots")

            def report(containers: list[Container], line: str) -> None:
                table = _containers(containers)
                spinner.update(text=Text(line, style="dim", overflow="ellipsis", no_wrap=True))
                live.update(Group(table, spinner) if line else table)

            yield report

    def _changes(self) -> Report:
        known: dict[str, str] = {}

        def report(containers: list[Container], _line: str) -> None:
            for container in containers:
                state = _state(container)
                if known.get(container.name) != state:
                    known[container.name] = state
                    self._console.print(f"    {container.service}: {state}", markup=False)

        return report

    @contextmanager
    def waiting(self, boundary: int) -> Iterator[Callable[[], None]]:
        """Show the way to `boundary` (Unix seconds): call what is yielded now and then."""
        at = datetime.fromtimestamp(boundary, UTC)
        total = max(0.0, boundary - time.time())
        self.say(f"waiting {total:.0f} s for the boundary {at:%H:%M:%S} UTC")
        columns = (TextColumn("    "), BarColumn(50), TextColumn("{task.fields[left]:.0f} s"))
        hidden = not self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=hidden) as progress:
            task = progress.add_task("", total=total, left=total)

            def report() -> None:
                left = max(0.0, boundary - time.time())
                progress.update(task, completed=total - left, left=left)

            yield report

    def rows(self, rows: Iterable[Row], new: int) -> None:
        """Show the newest transactions; the one with id `new` is ours."""
        table = _table("Postgres: historical_transactions", "id", "provider_id", "value", "")
        for number, provider, value in rows:
            mark = "<- the message" if number == new else ""
            table.add_row(str(number), str(provider), str(value), mark)
        self._print(table)

    def balances(self, before: Shown, after: Shown, wanted: Balances) -> None:
        """Show KeyDB's balances before and after, beside what they should be."""
        table = _table("KeyDB: balances", "key", "before", "after", "should be")
        for key, value in wanted.items():
            was, now = before.balances.get(key), after.balances.get(key)
            style = "green" if now == str(value) else "bold red"
            table.add_row(escape(key), was or "-", Text(now or "-", style=style), str(value))
        self._print(table)

    def tick(self, after: Shown) -> None:
        """Show the tick and how late it was."""
        if after.boundary is not None and after.lateness_ms is not None:
            at = after.boundary.isoformat().replace("+00:00", "Z")
            self.say(f"tick {at}: KeyDB was written {after.lateness_ms:.1f} ms after the boundary")

    def places(self, places: Iterable[tuple[str, str]]) -> None:
        """Show where to look next."""
        found = list(places)
        width = max(len(what) for what, _ in found)
        for what, where in found:
            self._console.print(f"    {what:{width}}  {where}", markup=False)

    def verdict(self, text: str) -> None:
        """Say that all is right."""
        self._console.print(f"[bold green]==>[/] {escape(text)}")

    def _print(self, table: Table) -> None:
        screen = Console(highlight=False, width=tables.width(self._console, table))
        screen.print(table)
        self._console.print()


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        number = column not in ("", "key")
        table.add_column(
            column, justify="right" if number else "left", no_wrap=number, overflow="fold"
        )
    return table


def _containers(containers: list[Container]) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2))
    for container in sorted(containers, key=lambda one: one.name):
        state = _state(container)
        table.add_row("", container.service, Text(state, style=STYLES.get(state, "")))
    return table


def _state(container: Container) -> str:
    if container.state == "exited":
        return "done" if container.exit_code == 0 else f"failed (exit {container.exit_code})"
    return container.state
