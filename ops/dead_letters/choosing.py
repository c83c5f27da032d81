"""The options by which a person chooses dead letters: the same for every command."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click

from ops import shards
from ops.dead_letters.core import Choice
from ops.params import Moment, Words
from shared.unfit import RecordReason, TransactionReason

REASONS = sorted({*get_args(TransactionReason), *get_args(RecordReason)})
DEAD_LETTER_ID = click.IntRange(1, 2**63 - 1)
R = TypeVar("R")


def choosing(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options that choose dead letters, and hand them over as one `choice`."""

    @click.argument("ids", type=DEAD_LETTER_ID, nargs=-1)
    @click.option("--state", type=click.Choice(["open", "waiting"]), help="Only these.")
    @click.option("--reason", type=click.Choice(REASONS), help="Only with this reason.")
    @click.option("--provider", type=int, help="Only of this provider, where the body says one.")
    @click.option("--since", type=Moment(), help="Received then or later: a time (UTC), or 2h ago.")
    @click.option("--until", type=Moment(), help="Received before then.")
    @click.option("--queue", type=Words(), help="Only those that came from this queue or stream.")
    @functools.wraps(command)
    def run(**given: Any) -> R:  # noqa: ANN401 - what click collected
        choice = Choice(*(given.pop(name) for name in Choice.__slots__))
        if choice.ids:
            shards.need_one("an ID")
        return command(choice=choice, **given)

    return run


def need_choice(choice: Choice, *, everything: bool) -> None:
    """End with a usage error unless it was said which, or that all are meant."""
    if choice.everything != everything:
        raise click.UsageError("name IDs or say which (--reason ...), or --all, not both")
