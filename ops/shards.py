"""Shards as one: a command for one of them, or for each in turn, by its pipeline's settings."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Annotated

import click
from pydantic import AfterValidator, Field, Secret

from shared import addresses, program, settings
from shared.output import STDIN
from shared.shard import Shard

ALL = "all"
OF_ONE = frozenset({"alert", "audit", "feed", "load", "provider", "statement", "transaction"})
"""Commands about something that one shard has."""
ONCE = frozenset({"console", "send"})
"""Commands that reach all shards by themselves."""
ONE_IS_ENOUGH = frozenset({"find"})
"""Commands that have succeeded if they have in one shard: nothing is in two."""
EACH = "OPS_EACH_SHARD"
"""Set where a command runs for one of all shards."""
SIGNALLED = 128
"""A process that a signal ended has the code 128 and the signal's number."""


def _valid_dsns(secret: Secret[str]) -> Secret[str]:
    for one in secret.get_secret_value().split():
        addresses.check_dsn(one)
    return secret


class AllShardsSettings(settings.Settings):
    """Where the Postgres of each shard is."""

    shard_dsns: Annotated[Secret[str], AfterValidator(_valid_dsns)] = Field(
        default=Secret(""),
        description="Postgres URLs of all shards, that of shard 0 first, separated by blanks or"
        " lines: ops then asks all, and --shard one of them; empty: POSTGRES_DSN is asked",
    )

    @property
    def shards(self) -> list[tuple[Shard, str]]:
        """Each shard, and its Postgres; none where nothing is set."""
        dsns = self.shard_dsns.get_secret_value().split()
        return [(Shard(number, len(dsns)), dsn) for number, dsn in enumerate(dsns)]


def choose(command: str, wanted: str | None) -> None:
    """Point this process to the shard that is wanted; for all, run the command for each and exit.

    Without `wanted`: the shard that `SHARD` names; else all, if SHARD_DSNS does. Raises
    `click.UsageError`.
    """
    shards = settings.load(AllShardsSettings).shards
    if not shards and wanted is not None:
        raise click.UsageError("--shard needs SHARD_DSNS, which names the Postgres of each shard")
    if not shards or (wanted is None and settings.given("SHARD")):
        return
    if wanted not in (None, ALL):
        os.environ.update(_environment(*_found(shards, str(wanted))))
    elif command in ONCE:
        os.environ.update(_environment(*shards[0]))
    elif command in OF_ONE:
        raise _not_of_all(command, f"{command} …")
    else:
        sys.exit(_run_each(command, shards))


def tool() -> str:
    """Return how `ops` is called for the shard that this process asks."""
    if not os.environ.get("SHARD") or not (os.environ.get(EACH) or settings.given("SHARD_DSNS")):
        return "ops"
    return f"ops --shard {Shard.parse(os.environ['SHARD']).number}"


def need_one(what: str) -> None:
    """End with a usage error if this runs for each shard: only one of them has what is meant."""
    if os.environ.get(EACH):
        raise _not_of_all(what, "…")


def _not_of_all(what: str, command: str) -> click.UsageError:
    return click.UsageError(f"{what} is about one shard: ops --shard NUMBER {command}")


def _found(shards: Sequence[tuple[Shard, str]], wanted: str) -> tuple[Shard, str]:
    for shard, dsn in shards:
        if wanted in (str(shard.number), str(shard)):
            return shard, dsn
    raise click.UsageError(f"no shard {wanted}: SHARD_DSNS has 0 to {len(shards) - 1}")


def _environment(shard: Shard, dsn: str) -> dict[str, str]:
    return {"SHARD": str(shard), "POSTGRES_DSN": dsn}


def _run_each(command: str, shards: Sequence[tuple[Shard, str]]) -> int:
    """Run our own command line for each shard, and return the exit code of all."""
    arguments = sys.argv[1:]
    own = [sys.executable, "-m", "ops", *arguments[arguments.index(command) :]]
    commands = {
        str(shard): Command(own, _environment(shard, dsn) | {"SHARD_DSNS": "", EACH: "yes"})
        for shard, dsn in shards
    }
    return run_each(commands, one_is_enough=command in ONE_IS_ENOUGH)


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, and what is another in its environment than in ours."""

    line: Sequence[str]
    environment: Mapping[str, str]


def run_each(commands: Mapping[str, Command], *, one_is_enough: bool = False) -> int:
    """Run the command of each shard, one after the other, and return the worst exit code.

    None is begun after SIGTERM or Ctrl-C, which the one that runs gets, too. What is said of shards
    goes to standard error: documents and tables are the commands' own.
    """
    turns = _Turns()
    codes: dict[str, int] = {}
    with turns.taking_signals():
        for shard, command in commands.items():
            if turns.stopped:
                break
            click.echo(f"shard {shard}:", err=True)
            codes[shard] = turns.run(command)
    wrong = [f"{shard}: {code}" for shard, code in codes.items() if code]
    says = [f"exit codes by shard: {', '.join(wrong)}"] if wrong else []
    if turns.stopped:
        not_begun = [shard for shard in commands if shard not in codes]
        says.append(f"interrupted{f' before {not_begun[0]}' if not_begun else ''}")
    click.echo(f"{len(commands)} shards, {'; '.join(says) or 'nothing wrong in any'}", err=True)
    if turns.stopped:
        return program.EXIT_INTERRUPTED
    return 0 if one_is_enough and 0 in codes.values() else max(codes.values())


class _Turns:
    """One process after the other, until a signal comes."""

    def __init__(self) -> None:
        self.stopped = False
        self._running: subprocess.Popen[bytes] | None = None

    @contextmanager
    def taking_signals(self) -> Iterator[None]:
        """Stop at SIGTERM and Ctrl-C, as long as it lasts."""
        before = {one: signal.signal(one, self._stop) for one in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def run(self, command: Command) -> int:
        """Run a command to its end, and return its exit code as a shell has it."""
        environment = os.environ | dict(command.environment)
        with subprocess.Popen(command.line, env=environment) as process:  # noqa: S603 - our own
            self._running = process
            if self.stopped:  # meanwhile
                process.terminate()
            code = process.wait()
        return code if code >= 0 else SIGNALLED - code

    def _stop(self, number: int, _: FrameType | None) -> None:
        self.stopped = True
        # At Ctrl-C a terminal tells the process, too; a second time would cut its answer off.
        told = number == signal.SIGINT and os.isatty(STDIN)
        if self._running is not None and not told:
            self._running.send_signal(number)
