"""docs/asyncapi.yaml as AsyncAPI's own parser reads it."""

import json
import subprocess

from tests.support import node_packages
from tests.support.containers import ROOT

NODE = ROOT / "tests" / "support" / "node"
HINT = 2
"""Severities of the parser: 0 is an error, 1 a warning, others are advice."""
CHANNELS = {
    "transactions", "ticks", "syncerTicks", "shown", "changes", "alerts", "prices", "notifications",
    "delivered", "requests", "replies", "sightings", "transactionsOfShards",
}  # fmt: skip
PARSE_TIMEOUT_S = 120.0


def test_the_official_parser_reads_it_without_an_error_or_a_warning() -> None:
    done = subprocess.run(
        ["node", "parse_asyncapi.js", ROOT / "docs" / "asyncapi.yaml"],
        cwd=node_packages.installed(NODE),
        capture_output=True,
        check=True,
        text=True,
        timeout=PARSE_TIMEOUT_S,
    )
    found = json.loads(done.stdout)

    assert [one for one in found["diagnostics"] if one["severity"] < HINT] == []
    assert found["read"]
    assert set(found["channels"]) == CHANNELS
