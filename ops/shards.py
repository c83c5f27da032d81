"""Shards as one: a command for one of them, or for each in turn, by its pipeline's settings."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated

import click
from pydantic import AfterValidator, Field, Secret

from shared import addresses, settings
from shared.shard import Shard

ALL = "all"
OF_ONE = frozenset({"alert", "audit", "feed", "load", "provider", "statement", "transaction"})
"""Commands about something that one shard has."""
ONCE = frozenset({"console", "send"})
"""Commands that reach all shards by themselves."""
ONE_IS_ENOUGH = frozenset({"find"})
"""Commands that have succeeded if they have in one shard: nothing is in two."""


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
        raise click.UsageError(f"{command} is about one shard: ops --shard NUMBER {command} …")
    else:
        sys.exit(_run_each(command, shards))


def _found(shards: Sequence[tuple[Shard, str]], wanted: str) -> tuple[Shard, str]:
    for shard, dsn in shards:
        if wanted in (str(shard.number), str(shard)):
            return shard, dsn
    raise click.UsageError(f"no shard {wanted}: SHARD_DSNS has 0 to {len(shards) - 1}")


def _environment(shard: Shard, dsn: str) -> dict[str, str]:
    return {"SHARD": str(shard), "POSTGRES_DSN": dsn}


def _run_each(command: str, shards: Sequence[tuple[Shard, str]]) -> int:
    """Run our own command line for each shard, and return the worst exit code.

    What is said of shards goes to standard error: documents and tables are the commands' own.
    """
    arguments = sys.argv[1:]
    at = arguments.index(command)
    codes = []
    for shard, dsn in shards:
        click.echo(f"shard {shard}:", err=True)
        environment = os.environ | _environment(shard, dsn) | {"SHARD_DSNS": ""}
        codes.append(_run([sys.executable, "-m", "ops", *arguments[at:]], environment))
    code = min(codes) if command in ONE_IS_ENOUGH else max(codes)
    ended = [f"{shard}: {one}" for (shard, _), one in zip(shards, codes, strict=True) if one]
    says = f"exit codes by shard: {', '.join(ended)}" if ended else "nothing wrong in any"
    click.echo(f"{len(shards)} shards, {says}", err=True)
    return code


def _run(command: Sequence[str], environment: dict[str, str]) -> int:
    with subprocess.Popen(command, env=environment) as process:  # noqa: S603 - our own
        before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            return process.wait()
        finally:
            signal.signal(signal.SIGTERM, before)
