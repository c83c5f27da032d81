"""The tool's help: what a person reads first."""

from collections.abc import Iterator

import click

from ops.__main__ import main

LINE = 60
"""Columns beside the longest name in a terminal of 80."""


def commands(group: click.Group, name: str = "ops") -> Iterator[tuple[str, click.Command]]:
    """Yield every command by what is typed for it."""
    ctx = click.Context(group)
    for own in group.list_commands(ctx):
        command = group.get_command(ctx, own)
        assert command
        yield f"{name} {own}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {own}")


def test_every_command_is_said_in_a_line_that_is_whole() -> None:
    said = {name: command.get_short_help_str(LINE) for name, command in commands(main)}

    assert len(said) > 15
    assert {name: one for name, one in said.items() if one.endswith("...") or len(one) > LINE} == {}
