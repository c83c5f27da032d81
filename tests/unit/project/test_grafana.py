"""What Grafana is given holds together: every path, address and id leads to something shipped.

Where a Grafana is at hand it says so itself; here everything that it would look up is looked up.
"""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.containers import ROOT

SHIPPED = ROOT / "deploy" / "observe" / "grafana"
COMPOSE = (ROOT / "compose.yaml").read_text()
SOURCE = (SHIPPED / "datasources" / "minutebook.yml").read_text()
PROVIDER = (SHIPPED / "dashboards" / "minutebook.yml").read_text()
DASHBOARD: dict[str, Any] = json.loads((SHIPPED / "dashboards" / "minutebook.json").read_text())
PANELS: list[dict[str, Any]] = [one for one in DASHBOARD["panels"] if one["type"] != "row"]
KINDS = {"row", "stat", "timeseries"}
"""Panels that Grafana has without a plugin, held once against the types of `@grafana/schema`."""
COLUMNS = 24
MOUNT = "/opt/minutebook/grafana"


def only(pattern: str, text: str) -> str:
    """Return what is found exactly once."""
    (found,) = re.findall(pattern, text)
    return str(found)


def beside_us(inside: str) -> Path:
    """Return what a path inside Grafana's container is in this folder."""
    assert inside.startswith(MOUNT)
    return SHIPPED / inside.removeprefix(MOUNT).lstrip("/")


def sources(inside: Any) -> Iterator[dict[str, Any]]:
    """Yield every data source that anything on the dashboard asks."""
    if isinstance(inside, list):
        for one in inside:
            yield from sources(one)
    elif isinstance(inside, dict):
        if "datasource" in inside:
            yield inside["datasource"]
        yield from sources(list(inside.values()))


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    place = panel["gridPos"]
    return set(
        itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        )
    )


def test_compose_mounts_the_folder_that_its_settings_name() -> None:
    assert f"- ./deploy/observe/grafana:{MOUNT}:ro" in COMPOSE
    provisioned = beside_us(only(r"GF_PATHS_PROVISIONING: (\S+)", COMPOSE))
    home = beside_us(only(r"GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH: (\S+)", COMPOSE))

    assert {"datasources", "dashboards"} <= {one.name for one in provisioned.iterdir()}
    assert json.loads(home.read_text()) == DASHBOARD


def test_the_folder_of_dashboards_is_there_and_holds_ours() -> None:
    folder = beside_us(only(r"path: ([^\s}]+)", PROVIDER))

    assert [one.name for one in folder.glob("*.json")] == ["minutebook.json"]


def test_the_data_source_is_the_prometheus_of_compose() -> None:
    services = re.findall(r"^  (\w+):$", COMPOSE, re.MULTILINE)

    assert only(r"url: http://(\w+):9090", SOURCE) in services
    assert only(r"\n    type: (\w+)", SOURCE) == "prometheus"


def test_whatever_the_dashboard_asks_is_that_data_source() -> None:
    expected = {"type": "prometheus", "uid": only(r"\buid: (\w+)", SOURCE)}

    assert len(list(sources(DASHBOARD))) > len(PANELS)
    assert [one for one in sources(DASHBOARD) if one != expected] == []


def test_each_panel_has_a_kind_that_grafana_has_and_a_query_for_each_line() -> None:
    assert {one["type"] for one in DASHBOARD["panels"]} == KINDS
    for panel in PANELS:
        names = [target["refId"] for target in panel["targets"]]
        assert all(target["expr"].strip() for target in panel["targets"]), panel["title"]
        assert names, panel["title"]
        assert len(set(names)) == len(names), panel["title"]


def test_panels_fit_side_by_side_and_none_lies_upon_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        assert not taken & cells(panel), panel["title"]
        taken |= cells(panel)

    assert max(column for column, _ in taken) == COLUMNS - 1
