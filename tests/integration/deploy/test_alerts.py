"""The alert rules by Prometheus's own checker: each fires when it should, and not before."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support import promtool
from tests.support.containers import ROOT
from tests.support.promtool import Promtool

OBSERVE = ROOT / "deploy" / "observe"
RULES = (OBSERVE / "alerts.yml").read_text()
SCENARIOS = (OBSERVE / "alerts_test.yml").read_text()
DASHBOARD = OBSERVE / "grafana" / "dashboards" / "minutebook.json"
NAMES = re.findall(r"- alert: (\w+)", RULES)
EXPRESSION = r"(- alert: {name}\n +expr: )(?:\|-\n(?: {{10}}.*\n)+|.*\n)(?: +for: .*\n)?"


@pytest.fixture(scope="session")
def checker() -> Promtool:
    return promtool.fetched()


def expressions(inside: Any) -> list[str]:
    """Return every PromQL expression of a dashboard."""
    if isinstance(inside, list):
        return [found for one in inside for found in expressions(one)]
    if isinstance(inside, dict):
        own = [inside["expr"]] if "expr" in inside else []
        return own + expressions(list(inside.values()))
    return []


def test_rules_and_settings_are_valid(checker: Promtool) -> None:
    checker.run(OBSERVE, "check", "rules", "alerts.yml")
    checker.run(OBSERVE, "check", "config", "prometheus.yml")


def test_each_alert_fires_when_it_should_and_none_while_all_is_healthy(checker: Promtool) -> None:
    checker.run(OBSERVE, "test", "rules", "alerts_test.yml")


def test_there_is_a_scenario_for_each_alert_in_which_it_is_quiet_first_and_fires_later() -> None:
    said = [
        set(re.findall(rf'alertname="{name}".*eval_time: \w+(, exp_samples)?', SCENARIOS))
        for name in NAMES
    ]

    assert NAMES
    assert said == [{"", ", exp_samples"}] * len(NAMES)


@pytest.mark.parametrize("instead", ["vector(0) > 1", "vector(1)"], ids=["never", "always"])
def test_the_scenarios_notice_rules_that_fire_never_or_always(
    checker: Promtool, tmp_path: Path, instead: str
) -> None:
    shutil.copy(OBSERVE / "alerts_test.yml", tmp_path)
    wrong = RULES
    for name in NAMES:
        wrong = re.sub(EXPRESSION.format(name=name), rf"\g<1>{instead}\n", wrong)
    (tmp_path / "alerts.yml").write_text(wrong)

    with pytest.raises(AssertionError) as failed:
        checker.run(tmp_path, "test", "rules", "alerts_test.yml")

    assert [name for name in NAMES if f'"{name}\\"' not in str(failed.value)] == []


def test_each_alert_says_how_bad_it_is_and_where_to_read_on() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert len(re.findall(r"severity: (page|ticket)\}", RULES)) == len(NAMES)
    assert re.findall(r"runbook_url: docs/runbook\.md#(\w+)", RULES) == [
        name.lower() for name in NAMES
    ]


def test_every_query_of_the_dashboard_is_valid(checker: Promtool, tmp_path: Path) -> None:
    queries = expressions(json.loads(DASHBOARD.read_text()))
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(queries)
    ]
    rules_file = {"groups": [{"name": "dashboard", "rules": rules}]}
    (tmp_path / "queries.yml").write_text(json.dumps(rules_file))

    assert len(rules) > len(NAMES)
    assert f"{len(rules)} rules" in checker.run(tmp_path, "check", "rules", "queries.yml")
