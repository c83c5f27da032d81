"""A progress bar on standard error where that is a terminal; nothing otherwise."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ops.answer import console


@contextmanager
def bar(label: str, total: int | None) -> Iterator[Callable[[int], object]]:
    """Show progress while inside; yields a function to call with how many were done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    watched = sys.stderr.isatty()
    with Progress(*columns, console=console(stderr=True), disable=not watched) as progress:
        task = progress.add_task(label, total=total)
        yield lambda done: progress.advance(task, done)
