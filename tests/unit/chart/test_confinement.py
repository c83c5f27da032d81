"""What pods may: as little as compose's containers, and the network that each needs."""

from typing import Any

import pytest

from tests.support.helm_chart import ALL, COMPOSE, PROGRAMS, SERVICES, render
from tools import chart

OBJECTS = render(ALL)
ANYBODY_ELSE = [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]
PORTS = {"POSTGRES_DSN": 5432, "RABBITMQ_URL": 5672, "KEYDB_URL": 6379,
         "RABBITMQ_MANAGEMENT_URL": 15672}  # fmt: skip


def policy(program: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
    found = render(ALL | (values or {})) if values else OBJECTS
    return dict(found.get("NetworkPolicy", program)["spec"])


def ports(rules: list[dict[str, Any]]) -> set[int]:
    return {one["port"] for rule in rules for one in rule.get("ports", [])}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_pod_has_no_right_that_it_does_not_need(program: str) -> None:
    pod, container = OBJECTS.pod(program), OBJECTS.container(program)
    user = pod["securityContext"]

    assert user["runAsNonRoot"] is True
    assert user["runAsUser"] == user["runAsGroup"] == user["fsGroup"] == 10001
    assert user["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert COMPOSE[program]["cap_drop"] == ["ALL"]
    assert COMPOSE[program]["read_only"] is True


@pytest.mark.parametrize("program", PROGRAMS)
def test_kubernetes_own_variables_are_not_read_as_settings(program: str) -> None:
    # A Service called gateway would set GATEWAY_PORT=tcp://10.0.0.1:8080.
    assert OBJECTS.pod(program)["enableServiceLinks"] is False


@pytest.mark.parametrize("program", PROGRAMS)
def test_only_its_secret_and_an_empty_folder_are_mounted(program: str) -> None:
    tmp, secret = OBJECTS.pod(program)["volumes"]
    mounts = {one["name"]: one for one in OBJECTS.container(program)["volumeMounts"]}

    assert tmp["emptyDir"]["medium"] == "Memory"
    assert secret["secret"] == {"secretName": f"minutebook-{program}", "defaultMode": 0o440}
    assert mounts["tmp"]["mountPath"] == "/tmp"  # noqa: S108 - the pod's own
    assert mounts["secrets"]["readOnly"] is True
    assert mounts["secrets"]["mountPath"] == OBJECTS.environment(program)["SECRETS_DIR"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_reaches_the_servers_that_it_has_settings_for(program: str) -> None:
    needed = {PORTS[name] for name in PORTS if name in chart.fields(program)}

    assert ports(policy(program)["egress"]) & set(PORTS.values()) == needed
    assert 53 in ports(policy(program)["egress"])


@pytest.mark.parametrize("service", SERVICES)
def test_others_reach_a_services_own_ports_alone(service: str) -> None:
    own = {one["containerPort"] for one in OBJECTS.container(service).get("ports", [])}

    assert ports(policy(service)["ingress"]) == own
    assert policy(service)["policyTypes"] == ["Ingress", "Egress"]


def test_nobody_comes_in_to_migrate() -> None:
    assert policy("migrate")["ingress"] == []


def test_who_may_come_in_can_be_narrowed_and_operators_stay_among_them() -> None:
    narrowed = {"networkPolicy": {"from": {"metrics": ANYBODY_ELSE, "gateway": ANYBODY_ELSE}}}

    metrics, http = policy("gateway", narrowed)["ingress"]

    ours, others = metrics["from"]
    assert ours["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/name": "minutebook",
        "app.kubernetes.io/instance": "money",
    }
    assert [others] == ANYBODY_ELSE
    assert http["from"] == ANYBODY_ELSE
    assert "from" not in policy("console", narrowed)["ingress"][0]


def test_there_are_no_policies_where_they_are_not_wanted() -> None:
    assert render(ALL | {"networkPolicy": {"enabled": False}}).names("NetworkPolicy") == set()
    assert "feed" not in render().names("NetworkPolicy")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_evicted_one_at_a_time_and_always_when_unhealthy(service: str) -> None:
    spec = OBJECTS.get("PodDisruptionBudget", service)["spec"]

    assert spec["maxUnavailable"] == 1
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    labels = OBJECTS.get("Deployment", service)["spec"]["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
