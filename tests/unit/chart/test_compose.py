"""The chart runs the programs as compose runs them: names, commands, ports, memory."""

import re
from typing import Any

import pytest

from shared.version import VERSION
from tests.support.helm_chart import ALL, COMPOSE, PROGRAMS, SERVICES, render

OBJECTS = render(ALL)


def ours() -> set[str]:
    return {
        name for name, one in COMPOSE.items() if str(one.get("image")).startswith("${MINUTEBOOK")
    }


def default(text: Any) -> str:
    """Return what compose puts for `${NAME:-default}`."""
    return re.sub(r"\$\{\w+:-([^${}]*)\}", r"\1", str(text))


def test_every_program_of_compose_is_in_the_chart_under_its_name() -> None:
    assert ours() == set(PROGRAMS)
    assert OBJECTS.names("Deployment") == set(SERVICES)
    assert OBJECTS.names("Job") == {"migrate"}


@pytest.mark.parametrize("program", sorted(set(PROGRAMS) - {"ops"}))
def test_a_program_has_composes_command_memory_and_time_to_stop(program: str) -> None:
    container, compose = OBJECTS.container(program), COMPOSE[program]

    assert container["command"] == compose["command"]
    assert container["resources"]["limits"]["memory"] == compose["mem_limit"].upper() + "i"
    assert OBJECTS.pod(program)["terminationGracePeriodSeconds"] >= 20
    assert container["image"] == f"minutebook:{VERSION}"


@pytest.mark.parametrize("service", sorted(set(SERVICES) - {"ops"}))
def test_a_service_has_composes_ports_and_is_probed_where_it_answers(service: str) -> None:
    container = OBJECTS.container(service)
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    metrics = OBJECTS.get("Service", service)["spec"]

    assert ports["metrics"] == int(COMPOSE[service]["environment"]["METRICS_PORT"])
    assert set(ports.values()) == {int(one.rpartition(":")[2]) for one in COMPOSE[service]["ports"]}
    assert OBJECTS.environment(service)["METRICS_PORT"] == str(ports["metrics"])
    assert [one["port"] for one in metrics["ports"]] == [ports["metrics"]]
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "metrics"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}


def test_clients_reach_the_gateway_and_the_console_at_composes_ports() -> None:
    for service in ("gateway", "console"):
        spec = OBJECTS.get("Service", f"{service}-http")["spec"]

        assert spec["ports"][0]["port"] == int(COMPOSE[service]["ports"][0].rpartition(":")[2])
        assert "clusterIP" not in spec


def test_operators_ask_each_replica_of_the_services_that_run() -> None:
    everywhere = default(COMPOSE["ops"]["environment"]["OPS_SERVICES"]).split()

    assert sorted(OBJECTS.environment("ops")["OPS_SERVICES"].split()) == sorted(everywhere)
    assert render().environment("ops")["OPS_SERVICES"] == "ingest:9101 syncer:9103 ticker:9102"
    for one in everywhere:
        spec = OBJECTS.get("Service", one.partition(":")[0])["spec"]
        assert (spec["clusterIP"], spec["publishNotReadyAddresses"]) == ("None", True)
