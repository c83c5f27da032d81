"""`python -m tools.chart` (`make settings`): writes the Helm chart's versions and values' schema.

Which settings there are, their types and bounds come from the settings classes; secret ones are not
values but keys of a Secret. What else may be given in values.yaml is said here.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from shared import program
from shared.version import VERSION
from tools.settings import PROGRAMS, classes_of

CHART = Path(__file__).parents[1] / "deploy" / "helm" / "minutebook"
ABOUT_CHART, SCHEMA = CHART / "Chart.yaml", CHART / "values.schema.json"
FIXED = frozenset({"METRICS_PORT", "GATEWAY_PORT", "CONSOLE_PORT", "OPS_DEPLOYMENT"})
"""Settings that the chart decides about: its Services and probes know the ports."""
PACKAGES: Mapping[str, str] = {**PROGRAMS, "console": PROGRAMS["ops"]}
POD_FIELDS = (
    "affinity", "dnsConfig", "dnsPolicy", "hostAliases", "nodeSelector", "priorityClassName",
    "runtimeClassName", "schedulerName", "serviceAccountName", "tolerations",
    "topologySpreadConstraints",
)  # fmt: skip
"""Fields of a pod that values may add; those that confine it are not among them."""
ABOUT = "Writes Chart.yaml's versions and values.schema.json, from the version and the settings."

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
NAME: Schema = {"type": "string", "minLength": 1}
SWITCH: Schema = {"type": "boolean"}
ANY: Schema = {"type": "object"}
OBJECTS: Schema = {"type": "array", "items": ANY}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
PORTS: Schema = {
    "type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 1, "maximum": 65535},
}  # fmt: skip


class Quiet(GenerateJsonSchema):
    """Says nothing of secrets' defaults, which are not shown."""

    ignored_warning_kinds: set[JsonSchemaWarningKind] = {  # noqa: RUF012 - as the base class has it
        "non-serializable-default"
    }


def is_secret(field: FieldInfo) -> bool:
    """Say whether a setting is a password, or an address that holds one."""
    return "Secret[" in str(field.annotation)


def fields(name: str) -> dict[str, FieldInfo]:
    """Return all settings that a program reads, by their names in the environment."""
    found = [one.model_fields for one in classes_of(PACKAGES[name])]
    return {key.upper(): field for one in found for key, field in one.items()}


def given(name: str) -> list[str]:
    """Return the settings that values may give a program, in order of their names."""
    return sorted(
        key for key, field in fields(name).items() if key not in FIXED and not is_secret(field)
    )


def schema() -> Schema:
    """Return the schema of values.yaml."""
    services = {name: _service(name) for name in PACKAGES if name != "migrate"}
    every = sorted({one for name in PACKAGES for one in given(name)})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "Written by `make settings`: not by hand.",
        **_object(
            image=_object(
                repository=NAME,
                tag=TEXT,
                digest={"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
                pullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
            ),
            imagePullSecrets=OBJECTS,
            shard={"type": "string", "pattern": "^((0|[1-9][0-9]*)/([2-9]|[1-9][0-9]+))?$"},
            settings=_settings(every),
            extraEnv=OBJECTS,
            pod={"$ref": "#/$defs/pod"},
            podAnnotations=TEXTS,
            services=_object(**services),
            migrate=_object(**_program("migrate"), deadlineSeconds=_whole(1, 86_400)),
            networkPolicy=_network_policy(),
            monitoring=_object(
                enabled=SWITCH, labels=TEXTS, interval=NAME, rules=SWITCH, dashboard=SWITCH
            ),
            keda=_object(
                enabled=SWITCH,
                minReplicas=_whole(1, 100),
                maxReplicas=_whole(1, 100),
                messagesPerReplica=_whole(1, 100_000_000),
                cooldownSeconds=_whole(0, 86_400),
                secret=TEXT,
                key=NAME,
            ),
            # Helm's own: what a chart above this one may pass to all.
            **{"global": ANY},
        ),
        "$defs": {
            "pod": _object(**{key: {} for key in POD_FIELDS}),
            **{name: _setting(name) for name in every},
        },
    }


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _whole(lowest: int, highest: int) -> Schema:
    return {"type": "integer", "minimum": lowest, "maximum": highest}


def _settings(names: list[str]) -> Schema:
    return _object(**{one: {"$ref": f"#/$defs/{one}"} for one in names})


def _program(name: str) -> dict[str, Schema]:
    return {
        "enabled": SWITCH,
        "secret": NAME,
        "settings": _settings(given(name)),
        "resources": ANY,
        "pod": {"$ref": "#/$defs/pod"},
    }


def _service(name: str) -> Schema:
    return _object(**_program(name), replicas=_whole(0, 100))


def _network_policy() -> Schema:
    server = _object(ports=PORTS, to=OBJECTS)
    return _object(
        enabled=SWITCH,
        servers=_object(
            postgres=server, rabbitmq=server, management=server, keydb=server, api=server
        ),
        **{"from": _object(metrics=OBJECTS, gateway=OBJECTS, console=OBJECTS)},
        extraEgress=OBJECTS,
    )


def _setting(name: str) -> Schema:
    """Return what pydantic says of a setting, without its title and default."""
    for package in PACKAGES.values():
        for cls in classes_of(package):
            if name.lower() in cls.model_fields:
                found = cls.model_json_schema(schema_generator=Quiet)["properties"][name.lower()]
                return {key: one for key, one in found.items() if key not in ("title", "default")}
    raise LookupError(name)


def versions(text: str) -> str:
    """Return Chart.yaml with the version of this release; the chart's own is the same."""
    text = re.sub(r"(?m)^version: .*$", f"version: {VERSION}", text)
    return re.sub(r"(?m)^appVersion: .*$", f'appVersion: "{VERSION}"', text)


def written() -> str:
    """Return values.schema.json."""
    return json.dumps(schema(), indent=2) + "\n"


@program.command(ABOUT)
def command() -> int:
    """Write both files; return the exit code."""
    ABOUT_CHART.write_text(versions(ABOUT_CHART.read_text(encoding="utf-8")), encoding="utf-8")
    SCHEMA.write_text(written(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(program.execute(command, "tools.chart"))
