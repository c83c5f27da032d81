"""Helm finds nothing in the chart; Kubernetes and its operators take each object."""

from typing import Any

import pytest

from tests.support.helm_chart import ALL, CHART, render, yaml
from tests.support.helm_chart import library as chart_library

helm = chart_library("helm_python")
kubernetes = chart_library("kubernetes_validate")
OPERATORS = ("monitoring.coreos.com/", "keda.sh/")
OLDEST, NEWEST = "1.27", kubernetes.latest_version()
VARIANTS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "all of it": ALL,
    "narrow": ALL
    | {
        "image": {"digest": f"sha256:{'a' * 64}"},
        "imagePullSecrets": [{"name": "registry"}],
        "extraEnv": [{"name": "OTEL_TRACES_EXPORTER", "value": "otlp"}],
        "podAnnotations": {"owner": "payments"},
        "pod": {"nodeSelector": {"disk": "fast"}, "tolerations": [{"operator": "Exists"}]},
        "networkPolicy": {
            "servers": {"keydb": {"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}},
            "from": {
                one: [{"namespaceSelector": {"matchLabels": {"name": one}}}]
                for one in ("metrics", "gateway", "console")
            },
            "extraEgress": [{"ports": [{"port": 4317}]}],
        },
        "monitoring": {"enabled": True, "labels": {"release": "prometheus"}},
    },
}


def test_helm_has_nothing_to_say_but_that_there_is_no_icon() -> None:
    for values in VARIANTS.values():
        found = helm.lint(CHART, values, strict=True)

        assert found["errors"] == []
        assert [one["error"] for one in found["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_object_is_one_that_kubernetes_takes(variant: str, version: str) -> None:
    lists: dict[tuple[str, str], list[Any]] = {}
    for one in render(VARIANTS[variant]):
        if not is_an_operators(one):
            lists.setdefault((one["apiVersion"], one["kind"]), []).append(one)

    assert len(lists) >= 5
    for (group, kind), items in lists.items():
        # As a list: the schemas are read once for all of a kind.
        whole = {"apiVersion": group, "kind": f"{kind}List", "items": items}
        kubernetes.validate(whole, version, strict=True)


def is_an_operators(one: dict[str, Any]) -> bool:
    return str(one["apiVersion"]).startswith(OPERATORS)


@pytest.mark.parametrize(
    ("kind", "module"),
    [
        ("PodMonitor", "cloudcoil.models.prometheus_operator.v1"),
        ("PrometheusRule", "cloudcoil.models.prometheus_operator.v1"),
        ("ScaledObject", "cloudcoil.models.keda.v1alpha1"),
        ("TriggerAuthentication", "cloudcoil.models.keda.v1alpha1"),
    ],
)
def test_every_object_of_an_operator_is_one_that_it_takes(kind: str, module: str) -> None:
    objects = render(ALL)
    (name,) = objects.names(kind)
    given = objects.get(kind, name)

    taken = getattr(chart_library(module), kind).model_validate(given)

    # It passes over what it does not know: that would be missing now.
    shown = taken.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert lost(given, shown) == []


def test_no_operator_is_needed_unless_it_is_asked_for() -> None:
    assert [one["kind"] for one in render() if is_an_operators(one)] == []
    assert len([one for one in render(ALL) if is_an_operators(one)]) == 4


def lost(given: Any, shown: Any, at: str = "") -> list[str]:
    """Return the places of `given` that are not in `shown`."""
    if isinstance(given, dict):
        missing = [f"{at}.{key}" for key in given if key not in shown]
        return missing + [
            one
            for key in given
            if key in shown
            for one in lost(given[key], shown[key], f"{at}.{key}")
        ]
    if isinstance(given, list):
        pairs = enumerate(zip(given, shown, strict=True))
        return [one for n, (a, b) in pairs for one in lost(a, b, f"{at}[{n}]")]
    return [] if str(given) == str(shown) else [f"{at}: {given!r} became {shown!r}"]


def test_the_rules_are_those_that_compose_has() -> None:
    text = (CHART.parents[1] / "observe" / "alerts.yml").read_bytes()
    rules = yaml.load(text, yaml.CSafeLoader)

    assert render(ALL).get("PrometheusRule", "minutebook")["spec"] == rules
