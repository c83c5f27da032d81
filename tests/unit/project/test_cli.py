"""docs/cli.md is what the programs say to `--help`, and a shell can complete the installed tool."""

import os
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from tests.support.containers import ROOT
from tools import cli

INSTALLED = "import sys; from ops.__main__ import run; sys.argv[0] = 'minutebook'; run()"
"""As the script that `pip install` makes."""


def every(command: click.Command) -> Iterator[click.Command]:
    """Yield a command and all below it."""
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from every(found)


def test_the_reference_says_what_the_programs_say() -> None:
    # A process of its own: a command of click's keeps the --help of whoever asked for it first.
    said = subprocess.run(
        [sys.executable, "-c", "from tools import cli; print(cli.reference(), end='')"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout

    shown = cli.REFERENCE.read_text(encoding="utf-8")
    assert shown == said, "not what the programs say: run `make settings`"


def test_every_program_that_starts_by_its_package_is_in_the_reference() -> None:
    packages = [path.parent.relative_to(ROOT) for path in ROOT.glob("[a-z]*/__main__.py")]
    packages += [path.parent.relative_to(ROOT) for path in ROOT.glob("[a-z]*/*/__main__.py")]
    names = {f"python -m {'.'.join(one.parts)}" for one in packages} - {"python -m ops"}

    assert len(names) > 7
    assert names <= {name for programs in cli.PROGRAMS.values() for name in programs}


def test_every_option_is_explained() -> None:
    commands = [
        one for programs in cli.PROGRAMS.values() for top in programs.values() for one in every(top)
    ]
    options = [
        (command.name, one.name, one.help)
        for command in commands
        for one in command.params
        if isinstance(one, click.Option)
    ]

    assert len(options) > 50
    assert [one for one in options if not one[2]] == []


@pytest.mark.parametrize(
    ("typed", "found"),
    [("minutebook dead-l", "dead-letters"), ("minutebook dead-letters rep", "replay")],
)
def test_a_shell_completes_the_installed_tool(typed: str, found: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INSTALLED],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "_MINUTEBOOK_COMPLETE": "bash_complete",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(typed.count(" ")),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr) == (f"plain,{found}\n", "")
