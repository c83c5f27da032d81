"""`python -m tools.cli` (`make settings`): writes docs/cli.md from the programs' own `--help`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from bench.__main__ import command as bench
from demo.__main__ import command as demo
from fuzz.__main__ import command as fuzz
from migrations.__main__ import command as migrations
from model.__main__ import command as model
from ops.__main__ import main as ops
from services.feed.__main__ import PROGRAM as FEED
from services.gateway.__main__ import PROGRAM as GATEWAY
from services.ingest.__main__ import PROGRAM as INGEST
from services.notifier.__main__ import PROGRAM as NOTIFIER
from services.observer.__main__ import PROGRAM as OBSERVER
from services.syncer.__main__ import PROGRAM as SYNCER
from services.ticker.__main__ import PROGRAM as TICKER
from services.tracker.__main__ import PROGRAM as TRACKER
from shared import program
from tests.faults.__main__ import command as faults
from tools.chart import command as chart
from tools.openapi import command as openapi
from tools.release import command as release
from tools.schemas import command as schemas
from tools.settings import command as settings
from tour.__main__ import command as tour

REFERENCE = Path(__file__).parents[1] / "docs" / "cli.md"
WIDTH = 96
ABOUT = "Writes docs/cli.md from what each program says to --help."
INTRODUCTION = """\
# Command lines

Written by `make settings` from what the programs say to `--help`: not by hand.

Every program has `-h` and `--help`, which need no settings, and `--version`. Wrong usage ends with
exit code 2 ([all of them](running.md#exit-codes)). Settings are in [settings.md](settings.md).

`ops` below is `python -m ops`, or `docker compose run --rm ops`. Every command of it has `--json`.
`pip install .` puts it on the PATH as `minutebook`, which a shell can complete:

```console
$ eval "$(_MINUTEBOOK_COMPLETE=bash_source minutebook)"     # bash: into ~/.bashrc
$ eval "$(_MINUTEBOOK_COMPLETE=zsh_source minutebook)"      # zsh: into ~/.zshrc
$ _MINUTEBOOK_COMPLETE=fish_source minutebook | source      # fish: into ~/.config/fish/config.fish
```
"""


@program.command(ABOUT)
def command() -> int:
    """Write the file; return the exit code."""
    REFERENCE.write_text(reference(), encoding="utf-8")
    return 0


SERVICES = (INGEST, TICKER, SYNCER, FEED, NOTIFIER, TRACKER, GATEWAY, OBSERVER)
PROGRAMS: dict[str, dict[str, click.Command]] = {
    "Services and migrations": {
        "python -m migrations": migrations,
        **{f"python -m services.{one.name}": one.command for one in SERVICES},
    },
    "The operators' tool": {"ops": ops},
    "For developers": {
        "python -m demo": demo,
        "python -m tour": tour,
        "python -m bench": bench,
        "python -m model": model,
        "python -m fuzz": fuzz,
        "python -m tests.faults": faults,
        "python -m tools.settings": settings,
        "python -m tools.chart": chart,
        "python -m tools.release": release,
        "python -m tools.schemas": schemas,
        "python -m tools.openapi": openapi,
        "python -m tools.cli": command,
    },
}


def reference() -> str:
    """Return docs/cli.md."""
    parts = [INTRODUCTION]
    for heading, programs in PROGRAMS.items():
        parts.append(f"## {heading}\n")
        for name, one in programs.items():
            parts += _described(one, name, None)
    return "\n".join(parts)


def _described(one: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    context = one.make_context(
        name, [], parent=parent, resilient_parsing=True, terminal_width=WIDTH
    )
    said, _, _ = context.get_help().partition("  Settings (environment")  # they have their own page
    text = "\n".join(line.rstrip() for line in said.rstrip().splitlines())
    yield f"### {context.command_path}\n\n```text\n{text}\n```\n"
    if isinstance(one, click.Group):
        for own in one.list_commands(context):
            found = one.get_command(context, own)
            if found is not None:
                yield from _described(found, own, context)


if __name__ == "__main__":
    sys.exit(program.execute(command, "tools.cli"))
