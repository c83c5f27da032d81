"""The profile `observe`, as compose understands it, and a Prometheus by its settings in a stack."""

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from tests.support import containers, promtool
from tests.support.eventually import eventually
from tests.support.stack import OUR_IMAGE, PROGRAMS, Stack, publish

OBSERVERS = ("prometheus", "grafana")
OBSERVE = containers.ROOT / "deploy" / "observe"
ALERTS = set(re.findall(r"- alert: (\w+)", (OBSERVE / "alerts.yml").read_text()))
SEEN_S = 90.0
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
    assert {port["host_ip"] for port in one["ports"]} == {"127.0.0.1"}
    assert all(mount.get("read_only") for mount in one["volumes"] if mount["type"] == "bind")
    assert "container_name" not in one


@pytest.fixture(scope="module")
def prometheus(second: Stack) -> Iterator[Container]:
    """A Prometheus in the stack's network, by the settings that are shipped.

    Its program is the one beside promtool: the image of compose.yaml may be out of reach.
    """
    programs = Path(promtool.fetched().path).parent
    if not (programs / "prometheus").exists():
        pytest.skip("promtool came without its Prometheus: see compose's profile observe")
    (network,) = second.container("ingest").attrs["NetworkSettings"]["Networks"]
    options: dict[str, Any] = {
        "command": ["--config.file=/opt/minutebook/prometheus.yml", "--storage.tsdb.path=/tmp/x"],
        "entrypoint": "/opt/prometheus/prometheus",
        "working_dir": "/",  # the image's own would have to be made inside a mount
        "network": network,
        "ports": {"9090/tcp": ("127.0.0.1", None)},
        "volumes": [f"{programs}:/opt/prometheus:ro", f"{OBSERVE}:/opt/minutebook:ro"],
        "labels": {containers.LABEL: "true"},
    }
    found = second.client.containers.run(OUR_IMAGE, detach=True, **options)
    try:
        yield found
    finally:
        found.remove(v=True, force=True)


def ask(prometheus: Container, path: str, **query: str) -> Any:
    port = containers.published_port(prometheus, 9090)
    url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
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
    expected = sorted((name, "up") for name in PROGRAMS)
    eventually(lambda: targets(prometheus) == expected, SEEN_S)
    second.up("ingest", options=["--scale", "ingest=2", "--no-recreate"])
    try:
        eventually(lambda: targets(prometheus) == [expected[0], *expected], SEEN_S)
    finally:
        second.up("ingest", options=["--scale", "ingest=1", "--no-recreate"])


def test_its_rules_can_be_evaluated_and_one_fires_for_what_happens_in_the_stack(
    second: Stack, prometheus: Container
) -> None:
    def rules() -> list[dict[str, Any]]:
        groups = ask(prometheus, "rules").get("groups", ())
        return [rule for group in groups for rule in group["rules"]]

    eventually(lambda: {one["name"] for one in rules() if one["health"] == "ok"} == ALERTS, SEEN_S)
    # A counter that is first seen above 0 has not increased, as far as Prometheus knows.
    none_yet = "minutebook_dead_letters_total == 0"
    eventually(lambda: ask(prometheus, "query", query=none_yet).get("result"), SEEN_S)
    assert "MinutebookDeadLetters" not in firing(prometheus)
    publish(second, b"neither this nor that")
    eventually(lambda: "MinutebookDeadLetters" in firing(prometheus), SEEN_S)
    with second.postgres() as conn:
        conn.execute("DELETE FROM dead_letter")
