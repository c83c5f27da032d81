"""The profile `observe`, as compose understands it: its images may be out of reach of a test."""

import json
from typing import Any

import docker
import pytest

from tests.support import containers
from tests.support.stack import Stack

OBSERVERS = ("prometheus", "grafana")


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
