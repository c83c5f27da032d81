"""deploy/shards/compose.yaml held against compose.yaml: who is told which shard and Postgres."""

import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from shared.shard import Shard
from tests.support.containers import ROOT

COUNT = 2


def services(name: str) -> Any:
    text = (ROOT / name).read_text(encoding="utf-8")
    return YAML(typ="safe").load(re.sub("!(override|reset)", "", text))["services"]


PLAIN, SHARDS = services("compose.yaml"), services("deploy/shards/compose.yaml")
ADDED = [name for name in SHARDS if name.endswith("-1")]


def test_each_program_that_reads_a_shard_is_told_one() -> None:
    told = {name for name, one in SHARDS.items() if "SHARD" in one.get("environment", {})}
    read = {name for name, one in PLAIN.items() if "SHARD" in one.get("environment", {})}

    assert told - set(ADDED) == read
    assert {SHARDS[name]["environment"]["SHARD"] for name in read - {"ops"}} == {
        str(Shard(0, COUNT))
    }


@pytest.mark.parametrize("name", ADDED)
def test_what_is_added_is_compose_s_own_with_the_other_shard_and_its_postgres(name: str) -> None:
    one, of = SHARDS[name], name.removesuffix("-1")

    assert one["extends"] == {"file": "compose.yaml", "service": of}
    if "environment" in one:
        default = re.sub(
            r"^\$\{POSTGRES_DSN:-(.*)\}$", r"\1", PLAIN[of]["environment"]["POSTGRES_DSN"]
        )
        assert one["environment"] == {
            "SHARD": str(Shard(1, COUNT)),
            "POSTGRES_DSN": default.replace("@postgres:", "@postgres-1:"),
        }


@pytest.mark.parametrize("program", ["ops", "console"])
def test_who_looks_at_all_knows_the_postgres_of_each_in_order(program: str) -> None:
    hosts = re.findall(r"@([\w-]+):5432/", SHARDS[program]["environment"]["SHARD_DSNS"])

    assert hosts == ["postgres", "postgres-1"]
