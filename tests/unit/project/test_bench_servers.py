"""The benchmarks' Postgres is set as compose sets it, without a second list of settings."""

import re

from bench.ground import compose_defaults


def test_the_bench_has_composes_settings_and_memory_for_postgres() -> None:
    options, memory = compose_defaults()

    found = dict(re.findall(r"-c (\w+)=(\S+)", options))
    assert {"shared_buffers", "max_wal_size", "wal_compression"} <= set(found)
    assert "$" not in options + memory
    assert re.fullmatch(r"\d+[gm]", memory)
