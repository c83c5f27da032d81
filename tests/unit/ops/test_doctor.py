"""What `ops doctor` makes of settings, without a server."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ops.doctor import clock_checks, keydb_checks, postgres_checks, rabbitmq_checks
from ops.doctor.core import Check
from ops.doctor.postgres_store import Load

DURABLE = {
    "server_version_num": "170002",
    "server_encoding": "UTF8",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "synchronous_standby_names": "",
    "session_replication_role": "origin",
    "zero_damaged_pages": "off",
    "ignore_checksum_failure": "off",
    "transaction_read_only": "off",
    "idle_in_transaction_session_timeout": "600000",
    "max_connections": "100",
}
CALM = Load(10, 0.0, 0.0, 0, 1000, 1000, 0, partition_ahead=True, partitions=30)
STORE = {
    "redis_version": "6.3.4", "maxmemory_policy": "noeviction", "aof_enabled": 1, "role": "master",
}  # fmt: skip
CONFIG = {
    "maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec",
    "active-replica": "no",
}  # fmt: skip


def unhealthy(checks: object) -> list[tuple[str, str]]:
    assert hasattr(checks, "__iter__")
    found: list[Check] = list(checks)
    return [(one.name, one.verdict) for one in found if one.verdict != "ok"]


def test_a_version_is_said_as_people_write_it() -> None:
    found = {one.name: one.found for one in postgres_checks.durable(DURABLE)}

    assert found["version"] == "17.2"


def test_a_server_as_it_should_be_passes_everywhere() -> None:
    assert unhealthy(postgres_checks.durable(DURABLE)) == []
    assert unhealthy(postgres_checks.room(CALM, DURABLE)) == []
    assert unhealthy(keydb_checks.assess(CONFIG, STORE)) == []


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        ("fsync", "off", "fail"),
        ("full_page_writes", "off", "fail"),
        ("synchronous_commit", "off", "fail"),
        ("server_encoding", "SQL_ASCII", "fail"),
        ("session_replication_role", "replica", "fail"),
        ("zero_damaged_pages", "on", "fail"),
        ("transaction_read_only", "on", "fail"),
        ("idle_in_transaction_session_timeout", "0", "warn"),
    ],
)
def test_a_postgres_that_can_lose_what_it_committed_or_takes_nothing_fails(
    name: str, value: str, verdict: str
) -> None:
    assert unhealthy(postgres_checks.durable(DURABLE | {name: value})) == [(name, verdict)]


@pytest.mark.parametrize(
    ("load", "name", "verdict"),
    [
        (replace(CALM, connections=99), "max_connections", "fail"),
        (replace(CALM, connections=85), "max_connections", "warn"),
        (replace(CALM, oldest_transaction_s=301), "open transactions", "warn"),
        (replace(CALM, oldest_prepared_s=301), "open transactions", "warn"),
        (replace(CALM, standbys=1), "synchronous_standby_names", "warn"),
        (replace(CALM, xid_age=2_000_000_000), "transaction ids", "fail"),
        (replace(CALM, multixact_age=1_000_000_001), "multixact ids", "warn"),
        (replace(CALM, multixact_age=1_900_000_001), "multixact ids", "fail"),
        (replace(CALM, default_rows=1), "outbox default partition", "warn"),
        (replace(CALM, partitions=2000), "outbox partitions in all", "warn"),
        (replace(CALM, partition_ahead=False), "outbox partitions", "warn"),
    ],
)
def test_what_runs_out_is_told_before_it_does(load: Load, name: str, verdict: str) -> None:
    assert unhealthy(postgres_checks.room(load, DURABLE)) == [(name, verdict)]


@pytest.mark.parametrize(
    ("changed", "name", "verdict"),
    [
        ({"maxmemory-policy": "allkeys-lru"}, "maxmemory-policy", "fail"),
        ({"appendonly": "no"}, "appendonly", "warn"),
        ({"appendfsync": "no"}, "appendfsync", "warn"),
        ({"active-replica": "yes"}, "active-replica", "fail"),
    ],
)
def test_a_keydb_that_forgets_or_merges_is_found(
    changed: dict[str, str], name: str, verdict: str
) -> None:
    assert unhealthy(keydb_checks.assess(CONFIG | changed, STORE)) == [(name, verdict)]


def test_a_keydb_that_hides_its_configuration_is_judged_by_what_it_says_of_itself() -> None:
    evicting = keydb_checks.assess(None, STORE | {"maxmemory_policy": "allkeys-lru"})

    assert unhealthy(evicting) == [("CONFIG GET", "warn"), ("maxmemory-policy", "fail")]


def test_a_full_or_dependent_keydb_is_found() -> None:
    full = STORE | {"maxmemory": 100, "used_memory": 99}

    assert unhealthy(keydb_checks.assess(CONFIG, full)) == [("maxmemory", "fail")]
    assert unhealthy(keydb_checks.assess(CONFIG, STORE | {"role": "slave"})) == [("role", "fail")]


def test_a_primary_that_takes_writes_when_it_is_cut_off_from_its_replicas_is_found() -> None:
    needs = CONFIG | {"min-replicas-to-write": "0"}
    assert unhealthy(keydb_checks.assess(needs, STORE)) == []
    with_one = STORE | {"connected_slaves": 1}
    assert unhealthy(keydb_checks.assess(needs, with_one)) == [("min-replicas-to-write", "warn")]
    needs["min-replicas-to-write"] = "1"
    assert unhealthy(keydb_checks.assess(needs, with_one)) == []


@pytest.mark.parametrize(
    ("version", "verdicts"),
    [("6.0.16", [("version", "fail")]), ("6.2.0", []), ("6.3.4", []), ("10.0.1", [])],
)
def test_a_keydb_is_judged_by_the_release_that_it_is_like(
    version: str, verdicts: list[tuple[str, str]]
) -> None:
    assert unhealthy(keydb_checks.assess(CONFIG, STORE | {"redis_version": version})) == verdicts


@pytest.mark.parametrize(
    ("arguments", "policy", "version", "verdict"),
    [
        ({}, {"delivery-limit": -1}, (4, 1), "ok"),
        ({}, {}, (4, 1), "fail"),
        ({}, {}, (3, 13), "ok"),
        ({}, {"delivery-limit": 20}, (3, 13), "fail"),
        ({"x-delivery-limit": 5}, {"delivery-limit": -1}, (4, 1), "fail"),
    ],
)
def test_a_delivery_limit_drops_messages_whoever_set_it(
    arguments: dict[str, int], policy: dict[str, int], version: tuple[int, int], verdict: str
) -> None:
    found = {
        "name": "q", "type": "quorum", "durable": True, "arguments": arguments,
        "effective_policy_definition": policy,
    }  # fmt: skip

    checks = {one.name: one for one in rabbitmq_checks.queue(found, version)}

    assert checks["delivery limit"].verdict == verdict


def test_alarms_fail_with_the_node_that_rings() -> None:
    nodes: list[Mapping[str, Any]] = [
        {"name": "rabbit@one", "mem_alarm": False, "disk_free_alarm": True}
    ]

    (found,) = rabbitmq_checks.alarms(nodes)

    assert (found.verdict, found.found) == ("fail", "disk_free_alarm on rabbit@one")


@pytest.mark.parametrize(
    ("others", "verdict", "says"),
    [
        ([], "ok", "none"),
        (["rabbit@two", "rabbit@three"], "fail", "rabbit@one without rabbit@two, rabbit@three"),
    ],
)
def test_a_broker_that_goes_on_without_the_others_fails_by_name(
    others: list[str], verdict: str, says: str
) -> None:
    (found,) = rabbitmq_checks.partitions([{"name": "rabbit@one", "partitions": others}, {}])

    assert (found.verdict, found.found) == (verdict, says)


@pytest.mark.parametrize(
    ("offset_s", "doubt_s", "verdict"),
    [(0.1, 0.0, "ok"), (-0.5, 0.0, "warn"), (1.5, 0.0, "fail"), (-1.5, 1.4, "ok")],
)
def test_a_clock_is_judged_by_what_the_network_cannot_account_for(
    offset_s: float, doubt_s: float, verdict: str
) -> None:
    assert clock_checks.assess("postgres", offset_s, doubt_s).verdict == verdict
