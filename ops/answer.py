"""How every command answers: a table for people or one JSON document, and an exit code.

The exit code says what was done, whether or not the answer could be shown.
"""

import errno
import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import msgspec
import structlog
from rich.console import Console, RenderableType
from rich.text import Text

from ops import tables
from shared import logs, output, settings
from shared.errors import Refusal, StatementFailed, Unavailable
from shared.program import EXIT_BUG, EXIT_FINDING, EXIT_INTERRUPTED, EXIT_UNREACHABLE

WIDTH_UNWATCHED = 120
"""Columns where no terminal says how many there are."""

AS_JSON = "ops.json"

log = structlog.get_logger()


@dataclass(frozen=True)
class Answer:
    """What a command found: the same as a `document` with stable keys and as a `view`.

    Without one of them, nothing is left to be said in that way.
    """

    document: Any
    view: RenderableType | None
    code: int = 0
    failed: bool = False
    """Whether the command could not do its work: said on standard error."""


def console(*, stderr: bool = False) -> Console:
    """Return a console that shows text as it is: names and bodies are not markup."""
    file = sys.stderr if stderr else sys.stdout
    known = file.isatty() or os.environ.get("COLUMNS", "").isdecimal()
    width = None if known else WIDTH_UNWATCHED
    return Console(file=file, width=width, markup=False, emoji=False, highlight=False)


def answering(command: Callable[..., Answer]) -> Callable[..., None]:
    """Make a command of a function that returns an `Answer`: gives it `--json` and exit codes."""

    @click.option("--json", "wanted", is_flag=True, help="Print one JSON document.")
    @functools.wraps(command)
    def run(*, wanted: bool, **given: object) -> None:
        click.get_current_context().meta[AS_JSON] = wanted
        logs.configure(settings.load(settings.LogSettings), service="ops")
        answer = _attempt(functools.partial(command, **given))
        if not wanted:
            _show(answer)
        elif answer.document is not None:
            say(answer.document)
        if wanted or not answer.failed:
            _report_unwritten()
        sys.exit(answer.code)

    return run


def say(document: object) -> None:
    """Print one JSON document in a line of its own."""
    click.echo(msgspec.json.encode(document))


def _show(answer: Answer) -> None:
    if answer.view is None:
        return
    screen = console(stderr=answer.failed)
    view = tables.without_empty(answer.view)
    screen.width = tables.width(screen, view)
    screen.print(view)


def _report_unwritten() -> None:
    error = output.failure(sys.stdout)
    if error is not None and error.errno != errno.EPIPE:  # a pipe was closed: it has enough
        says = (
            f"the answer could not be written: {error.strerror}; the exit code says what was done"
        )
        click.echo(says, err=True)


def as_json() -> bool:
    """Say whether the running command was asked for a JSON document."""
    return bool(click.get_current_context().meta[AS_JSON])


def _attempt(command: Callable[[], Answer]) -> Answer:
    try:
        return command()
    except Refusal as error:
        return _failure("refused", str(error), EXIT_FINDING)
    except StatementFailed as error:
        return _failure("refused by postgres", error.detail, EXIT_FINDING)
    except Unavailable as error:
        return _failure(f"{error.server} {error.state}", error.detail, EXIT_UNREACHABLE)
    except (click.ClickException, click.Abort):
        raise
    except KeyboardInterrupt:
        return _failure("interrupted", "what was not committed is not done", EXIT_INTERRUPTED)
    except Exception as error:  # a bug: its exit code says so, and --json has a document still
        log.exception("bug")
        return _failure("bug", type(error).__name__, EXIT_BUG)


def _failure(kind: str, detail: str, code: int) -> Answer:
    document = {"error": {"kind": kind, "detail": detail}}
    return Answer(document, Text(f"{kind}: {detail}", style="bold red"), code, failed=True)
