"""How every command answers: a table for people or one JSON document, and an exit code."""

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import msgspec
import structlog
from rich.console import Console, RenderableType
from rich.text import Text

from shared import logs, settings
from shared.errors import Refusal, StatementFailed, Unavailable
from shared.program import EXIT_BUG, EXIT_FINDING, EXIT_UNREACHABLE

WIDTH_UNWATCHED = 120
"""Columns where nobody's terminal says how many there are."""

AS_JSON = "ops.json"

log = structlog.get_logger()


@dataclass(frozen=True)
class Answer:
    """What a command found: the same as a `document` with stable keys and as a `view`."""

    document: Any
    view: RenderableType | None
    code: int = 0
    failed: bool = False
    """Whether the command could not do its work: said on standard error."""


def console(*, stderr: bool = False) -> Console:
    """Return a console that shows text as it is: names and bodies are not markup."""
    file = sys.stderr if stderr else sys.stdout
    width = None if file.isatty() else WIDTH_UNWATCHED
    return Console(file=file, width=width, markup=False, emoji=False, highlight=False)


def answering(command: Callable[..., Answer]) -> Callable[..., None]:
    """Make a command of a function that returns an `Answer`: gives it `--json` and exit codes."""

    @click.option("--json", "wanted", is_flag=True, help="Print one JSON document.")
    @functools.wraps(command)
    def run(*, wanted: bool, **given: object) -> None:
        click.get_current_context().meta[AS_JSON] = wanted
        logs.configure(settings.load(settings.LogSettings), service="ops")
        answer = _attempt(functools.partial(command, **given))
        if wanted:
            click.echo(msgspec.json.encode(answer.document))
        elif answer.view is not None:
            console(stderr=answer.failed).print(answer.view)
        sys.exit(answer.code)

    return run


def as_json() -> bool:
    """Say whether the command at work was asked for a JSON document."""
    return bool(click.get_current_context().meta[AS_JSON])


def _attempt(command: Callable[[], Answer]) -> Answer:
    try:
        return command()
    except Refusal as error:
        return _failure("refused", str(error), EXIT_FINDING)
    except StatementFailed as error:
        return _failure("refused by postgres", error.detail, EXIT_FINDING)
    except Unavailable as error:
        return _failure(f"{error.server} cannot be reached", error.detail, EXIT_UNREACHABLE)
    except (click.ClickException, click.Abort):
        raise
    except Exception as error:
        log.exception("bug")
        return _failure("bug", type(error).__name__, EXIT_BUG)


def _failure(kind: str, detail: str, code: int) -> Answer:
    document = {"error": {"kind": kind, "detail": detail}}
    return Answer(document, Text(f"{kind}: {detail}", style="bold red"), code, failed=True)
