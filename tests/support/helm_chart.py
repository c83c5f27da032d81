"""The Helm chart, linted and rendered by Helm's own library, without a cluster."""

import functools
import importlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.containers import ROOT

INSTALLED = Path(sys.prefix) / "chart"
"""Where make has what requirements-chart.lock names; the tests' own packages come first."""


def library(name: str) -> Any:
    """Import what requirements-chart.lock has; where it is not, skip, or fail where CI is set."""
    if str(INSTALLED) not in sys.path:
        sys.path.append(str(INSTALLED))
    try:
        return importlib.import_module(name)
    except ImportError:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{name} is missing: make check installs it", allow_module_level=True)


yaml = library("yaml")  # in C: the tests' other parser takes longer than Helm
CHART = ROOT / "deploy" / "helm" / "minutebook"
COMPOSE: dict[str, Any] = yaml.load((ROOT / "compose.yaml").read_bytes(), yaml.CSafeLoader)[
    "services"
]
SERVICES = (
    "ingest", "ticker", "syncer", "feed", "notifier", "tracker", "gateway", "observer",
    "console", "ops",
)  # fmt: skip
PROGRAMS = ("migrate", *SERVICES)
ALL: dict[str, Any] = {
    "services": {name: {"enabled": True} for name in SERVICES},
    "monitoring": {"enabled": True, "dashboard": True},
    "keda": {"enabled": True},
}
"""Values by which everything is there that the chart can make."""


class Objects:
    """What one rendering made, by kind and name."""

    def __init__(self, found: Mapping[tuple[str, str], Any]) -> None:
        self._found = found

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._found.values())

    def names(self, kind: str) -> set[str]:
        """Return the names of all objects of a kind."""
        return {name for one, name in self._found if one == kind}

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """Return one object."""
        return dict(self._found[kind, name])

    def pod(self, program: str) -> dict[str, Any]:
        """Return the pod of a program of ours."""
        kind = "Job" if program == "migrate" else "Deployment"
        return dict(self.get(kind, program)["spec"]["template"]["spec"])

    def container(self, program: str) -> dict[str, Any]:
        """Return the only container of a program's pod."""
        (found,) = self.pod(program)["containers"]
        return dict(found)

    def environment(self, program: str) -> dict[str, str]:
        """Return what its container has in the environment."""
        return {one["name"]: one["value"] for one in self.container(program)["env"]}


def render(values: dict[str, Any] | None = None) -> Objects:
    """Render release `money` with `values`; two objects of one kind and name are a failure."""
    return _rendered(json.dumps(values or {}))


@functools.cache
def _rendered(values: str) -> Objects:
    texts = _chart().render(json.loads(values), name="money", namespace="payments")
    manifests = "\n---\n".join(text for path, text in texts.items() if path.endswith(".yaml"))
    found: dict[tuple[str, str], Any] = {}
    for one in filter(None, yaml.load_all(manifests, yaml.CSafeLoader)):
        key = (one["kind"], one["metadata"]["name"])
        assert key not in found, key
        found[key] = one
    return Objects(found)


@functools.cache
def _chart() -> Any:
    return library("helm_python").Chart.load(CHART)
