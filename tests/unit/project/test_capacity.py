"""The model of capacity: what it says follows from what it is given, and its document says it."""

import math
from dataclasses import replace

import pytest

from bench import capacity
from bench.capacity import Parameters, catch_up_s, plan
from tests.support.containers import ROOT

GIVEN = Parameters()


def test_the_document_has_the_table_that_the_program_prints() -> None:
    document = (ROOT / "docs" / "capacity.md").read_text(encoding="utf-8")

    assert capacity.markdown([plan(rate) for rate in capacity.RATES]) in document


@pytest.mark.parametrize("rate", capacity.RATES)
def test_no_shard_gets_more_than_each_of_its_limits_and_one_less_would(rate: float) -> None:
    found, least = plan(rate), min(capacity.shard_limits(GIVEN).values())

    assert rate / found.shards <= least
    assert found.shards == 1 or rate / (found.shards - 1) > least


@pytest.mark.parametrize(
    ("parameter", "value", "limit"),
    [
        ("queue_per_s", 1_000.0, "one quorum queue"),
        ("primary_per_s", 1_000.0, "one primary's rows"),
        ("postgres_cores", 0.1, "one primary's cores"),
        ("wal_mb_per_s", 1.0, "one primary's WAL"),
    ],
)
def test_the_smallest_limit_decides_and_is_named(parameter: str, value: float, limit: str) -> None:
    found = plan(100_000, replace(GIVEN, **{parameter: value}))

    assert found.decided_by == limit
    assert found.shards > plan(100_000).shards


def test_twice_the_rate_takes_twice_the_cores_and_twice_the_disk() -> None:
    one, two = plan(50_000), plan(100_000)

    for name in ("ingest_cores", "postgres_cores", "broker_cores", "tb_per_day"):
        assert getattr(two, name) == pytest.approx(2 * getattr(one, name))


def test_a_queue_is_empty_again_once_what_is_left_of_the_limit_has_taken_what_waited() -> None:
    assert catch_up_s(10_000, 25_000, outage_s=60) == 40
    assert catch_up_s(10_000, 10_000, outage_s=60) == math.inf


def test_many_providers_make_keydb_the_next_limit() -> None:
    found = plan(100_000, replace(GIVEN, providers=800_000))

    assert "KeyDB" in found.ends
