"""What is wrong with the other shards: the verdict is about all, whichever the page shows."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from pydantic import Secret

from ops import shards
from ops.console.look import Look, Part
from ops.console.settings import ConsoleSettings
from ops.deployment import DeploymentSettings
from ops.status import probe
from ops.status.core import Finding, assess, wrong
from shared import settings
from shared.shard import Shard


class OtherShards:
    """Each shard of SHARD_DSNS but our own; their services are asked by their own consoles."""

    def __init__(self, chosen: ConsoleSettings) -> None:
        """Without SHARD_DSNS there are none."""
        known = settings.load(shards.AllShardsSettings).shards
        self._asked: Mapping[str, DeploymentSettings] = {
            _name(shard): _of(chosen, shard, dsn)
            for shard, dsn in known
            if shard != chosen.own_shard
        }

    def parts(self) -> dict[str, Part]:
        """Return a question for each."""
        return {name: Part(partial(_findings, asked)) for name, asked in self._asked.items()}

    def findings(self, look: Look) -> Iterator[Finding]:
        """Yield what is wrong with each, under its name; also that it could not be asked."""
        for name in self._asked:
            found = look[name]
            if found.error:
                yield wrong(name, found.error, f"ops --{name} status")
            for one in found.value or ():
                yield replace(one, about=f"{name}, {one.about}")


def _name(shard: Shard) -> str:
    return f"shard {shard.number}"


def _of(chosen: ConsoleSettings, shard: Shard, dsn: str) -> DeploymentSettings:
    about = {
        "shard": str(shard),
        "postgres_dsn": Secret(dsn),
        "ops_services": "",
        "rabbitmq_management_url": Secret(""),  # it is asked for seconds, longer than a look takes
    }
    return chosen.model_copy(update=about)


def _findings(asked: DeploymentSettings) -> list[Finding]:
    return assess(probe.take(asked))
