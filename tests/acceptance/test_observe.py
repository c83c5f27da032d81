"""The profile `observe`, as compose understands it, and a Prometheus by its settings in a stack."""

import json
import re
import urllib.parse
import urllib.request
from functools import partial
from typing import Any

import docker
import psycopg
import pytest
import redis
from docker.models.containers import Container

from tests.support import containers
from tests.support.eventually import eventually
from tests.support.stack import PROGRAMS, Stack, publish

ASKED = ("prometheus", "alertmanager", "postgres-exporter", "keydb-exporter")
OBSERVERS = (*ASKED, "grafana")
SERVER_JOBS = ("keydb", "postgres", "rabbitmq", "rabbitmq-queues")
OBSERVE = containers.ROOT / "deploy" / "observe"
ALERTS = set(re.findall(r"- alert: (\w+)", (OBSERVE / "alerts.yml").read_text()))
SERVER_METRICS = set(
    re.findall(
        r"\b(?:rabbitmq|pg|redis)_\w+",
        (OBSERVE / "alerts.yml").read_text()
        + (OBSERVE / "grafana" / "dashboards" / "minutebook.json").read_text(),
    )
) - {"rabbitmq_prometheus"}
SEEN_S = 120.0
"""Names are looked up, metrics read and rules evaluated every 15 s each; then some."""


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    client: docker.DockerClient = containers.engine()
    found = Stack(client).compose("--profile", "observe", "config", "--format", "json")
    return dict(json.loads(found)["services"])


def test_without_the_profile_nobody_observes() -> None:
    plain = Stack(containers.engine()).compose("config", "--services").split()

    assert not set(OBSERVERS) & set(plain)


@pytest.mark.parametrize("name", OBSERVERS)
def test_who_observes_has_no_right_that_it_does_not_need(
    services: dict[str, Any], name: str
) -> None:
    one = services[name]

    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["restart"] == "unless-stopped"
    assert 0 < int(one["mem_limit"]) <= 512 * 2**20
    assert {port["host_ip"] for port in one.get("ports", ())} <= {"127.0.0.1"}
    assert ("ports" in one) == (not name.endswith("exporter"))
    mounts = one.get("volumes", ())
    assert all(mount.get("read_only") for mount in mounts if mount["type"] == "bind")
    assert "container_name" not in one


@pytest.fixture(scope="module")
def prometheus(second: Stack) -> Container:
    """The profile's Prometheus, and all that it asks or tells; Grafana is not at hand everywhere.

    Without a registry `deploy/airgap/images.sh --tests` makes their images.
    """
    second.up(*ASKED)
    return second.container("prometheus")


def ask(prometheus: Container, path: str, **query: str) -> Any:
    port = containers.published_port(prometheus, 9090)
    url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]
    except OSError:
        return {}


def targets(prometheus: Container) -> list[tuple[str, str]]:
    """Return job and state of everything that it has found."""
    found = ask(prometheus, "targets").get("activeTargets", ())
    return sorted((one["labels"]["job"], one["health"]) for one in found)


def firing(prometheus: Container) -> set[str]:
    found = ask(prometheus, "alerts").get("alerts", ())
    return {one["labels"]["alertname"] for one in found if one["state"] == "firing"}


def test_prometheus_finds_every_replica_by_itself_and_reads_all_of_them(
    second: Stack, prometheus: Container
) -> None:
    expected = sorted((name, "up") for name in (*PROGRAMS, *SERVER_JOBS))
    eventually(lambda: targets(prometheus) == expected, SEEN_S)
    second.up("ingest", options=["--scale", "ingest=2", "--no-recreate"])
    try:
        eventually(lambda: targets(prometheus) == [expected[0], *expected], SEEN_S)
    finally:
        second.up("ingest", options=["--scale", "ingest=1", "--no-recreate"])


def test_every_metric_of_a_server_that_rules_or_dashboard_name_is_there(
    prometheus: Container,
) -> None:
    """Names differ from one version of an exporter to the next."""

    def missing() -> list[str]:
        asked = sorted(SERVER_METRICS)
        return [one for one in asked if not found(prometheus, one)]

    eventually(lambda: missing() == [], SEEN_S)
    queues = 'rabbitmq_detailed_queue_messages{queue=~"incoming_transactions.*"}'
    eventually(partial(found, prometheus, queues), SEEN_S)
    for up in ("pg_up == 1", "redis_up == 1"):
        eventually(partial(found, prometheus, up), SEEN_S)


def found(prometheus: Container, query: str) -> Any:
    """Return what a query finds, nothing if that is nothing."""
    return ask(prometheus, "query", query=query).get("result")


def test_exporters_reach_no_transaction_and_no_balance(
    second: Stack, prometheus: Container
) -> None:
    with psycopg.connect(
        host="127.0.0.1",
        port=second.port("postgres", 5432),
        user="exporter",
        password=second.secrets["POSTGRES_EXPORTER_PASSWORD"],
        dbname="minutebook",
    ) as conn:
        conn.execute("SELECT FROM pg_stat_database")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("SELECT FROM historical_transactions")
    port = second.port("keydb", 6379)
    with redis.Redis(host="127.0.0.1", port=port, username="exporter", password="any") as store:
        assert store.info("server")
        with pytest.raises(redis.exceptions.NoPermissionError):
            store.get("1_Visa")
    said = second.container("keydb-exporter").logs() + second.container("postgres-exporter").logs()
    assert b"NOPERM" not in said
    assert b"permission denied" not in said


def test_its_rules_can_be_evaluated_and_one_fires_for_what_happens_in_the_stack(
    second: Stack, prometheus: Container
) -> None:
    def rules() -> list[dict[str, Any]]:
        groups = ask(prometheus, "rules").get("groups", ())
        return [rule for group in groups for rule in group["rules"]]

    eventually(lambda: {one["name"] for one in rules() if one["health"] == "ok"} == ALERTS, SEEN_S)
    # A counter that is first seen above 0 has not increased, as far as Prometheus knows.
    none_yet = "minutebook_dead_letters_total == 0"
    eventually(partial(found, prometheus, none_yet), SEEN_S)
    assert "MinutebookDeadLetters" not in firing(prometheus)
    publish(second, b"neither this nor that")
    eventually(lambda: "MinutebookDeadLetters" in firing(prometheus), SEEN_S)
    # As shipped the log is all that an alert reaches.
    alertmanager = second.container("alertmanager")
    eventually(lambda: b"MinutebookDeadLetters" in alertmanager.logs(), SEEN_S)
    with second.postgres() as conn:
        conn.execute("DELETE FROM dead_letter")
