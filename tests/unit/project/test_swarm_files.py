"""The stacks of deploy/swarm run what compose runs: programs, settings, secrets, confinement."""

from typing import Any

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor

from tests.support.containers import ROOT


class Compose(SafeConstructor):
    """Compose's own tag, by which a file takes away what the file below it has."""


Compose.add_constructor("!reset", lambda _loader, _node: None)


def read(name: str) -> Any:
    yaml = YAML(typ="safe")
    yaml.Constructor = Compose
    return yaml.load(ROOT / name)


FILES = {
    name: read(name)
    for name in (
        "compose.yaml",
        "deploy/secrets/compose.yaml",
        "deploy/swarm/stack.yaml",
        "deploy/swarm/around.yaml",
    )
}
COMPOSE, IN_FILES, CORE, PERIPHERAL = (one["services"] for one in FILES.values())
PROGRAMS = [name for name, one in COMPOSE.items() if "MINUTEBOOK_IMAGE" in one["image"]]
SERVERS = ("postgres", "rabbitmq", "keydb")
SERVICES = sorted(set(PROGRAMS) - {"migrate", "ops"})
REMOVED = {name: set(one["environment"]) - {"SECRETS_DIR"} for name, one in IN_FILES.items()}
"""What the files of secrets are instead of, by service."""
EXPORTER = "postgres_exporter_password"


def part(service: str, key: str) -> Any:
    return (PERIPHERAL if service not in CORE else CORE)[service][key]


def both(service: str, key: str) -> list[Any]:
    """Return a list of a service of the core with what is laid over it."""
    return [*CORE.get(service, {}).get(key, []), *PERIPHERAL.get(service, {}).get(key, [])]


def by_name(secrets: list[Any]) -> dict[str, str]:
    """Return each secret and the file that a container has it in."""
    return {
        one if isinstance(one, str) else one["source"]: one
        if isinstance(one, str)
        else one["target"]
        for one in secrets
    }


def test_every_program_and_server_of_compose_is_in_one_of_the_stacks() -> None:
    assert {*PROGRAMS, *SERVERS} == set(CORE) | set(PERIPHERAL)
    assert {name for name in PERIPHERAL if name not in CORE} == {
        name for name in PROGRAMS if "all" in COMPOSE[name].get("profiles", [])
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_has_composes_command_settings_and_bounds(program: str) -> None:
    compose = COMPOSE[program]
    given = part(program, "environment")
    # ops answers to docker exec here, and is no container that compose starts.
    not_there = REMOVED[program] | {"OPS_DEPLOYMENT", "OPS_OPERATOR", "POSTGRES_LOGINS"}
    expected = {k: v for k, v in compose["environment"].items() if k not in not_there}
    for name in ("TRACING", "OPS_SERVICES"):
        if program == "ops":
            expected.pop(name)

    assert {k: v for k, v in given.items() if k in expected} == expected
    assert set(given) - set(expected) <= {"SECRETS_DIR", "SHARD", "OPS_SERVICES", "KEYDB_URL"}
    assert program == "ops" or part(program, "command") == compose["command"]
    assert part(program, "deploy")["resources"]["limits"]["memory"] == compose["mem_limit"]
    for key in ("init", "read_only", "cap_drop", "image"):
        assert part(program, key) == compose[key]
    assert [one["target"] for one in part(program, "volumes")] == compose["tmpfs"]


@pytest.mark.parametrize("name", [*PROGRAMS, "rabbitmq"])
def test_secrets_are_the_files_that_compose_takes_them_from(name: str) -> None:
    expected = by_name(IN_FILES[name]["secrets"])
    expected.pop(EXPORTER, None)

    assert by_name(both(name, "secrets")) == expected


def test_every_secret_that_is_used_is_declared_and_no_other() -> None:
    for file in ("deploy/swarm/stack.yaml", "deploy/swarm/around.yaml"):
        services = FILES[file]["services"].values()
        used = {one for service in services for one in by_name(service.get("secrets", []))}

        declared = FILES[file]["secrets"]
        assert set(declared) == used
        for name, one in declared.items():
            assert one["file"].endswith(f"/{name}")
            assert one["name"] == f"${{STACK:-minutebook}}_{name}_${{VERSION:-1}}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_replaced_by_a_healthy_one_or_goes_back(service: str) -> None:
    deploy = part(service, "deploy")
    has_port = "ports" in (PERIPHERAL if service not in CORE else CORE)[service]

    assert deploy["endpoint_mode"] == "dnsrr"
    assert deploy["update_config"]["order"] == ("stop-first" if has_port else "start-first")
    assert deploy["update_config"]["failure_action"] == "rollback"
    # It is not compose's: Swarm replaces what is unhealthy.
    assert part(service, "healthcheck") == CORE["ingest"]["healthcheck"]


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_has_composes_image_command_volume_and_health(server: str) -> None:
    mounted, compose = CORE[server], COMPOSE[server]
    data = [one for one in mounted["volumes"] if isinstance(one, str)]

    assert mounted["image"] == compose["image"]
    assert data == [one for one in compose["volumes"] if one.startswith(f"{server}-data:")]
    assert mounted["healthcheck"]["test"] == compose["healthcheck"]["test"]
    if server != "rabbitmq":
        assert compose["command"].startswith(mounted["command"])


def test_ports_are_of_the_node_itself() -> None:
    published = [
        one
        for of in (CORE, PERIPHERAL)
        for service in of.values()
        for one in service.get("ports", [])
    ]

    assert {one["target"] for one in published} == {5672, 8080, 8081}
    assert {one["mode"] for one in published} == {"host"}
