"""Every setting of the settings classes can be given, as a value or in a Secret, and no other."""

import json
import re
from typing import Any

import pytest

from tests.support.helm_chart import ALL, CHART, COMPOSE, PROGRAMS, library, render
from tools import chart

helm = library("helm_python")
SECRET = re.compile(r"^\| `minutebook-(\w+)` \| (.*?) \|(.*?)\|$", re.MULTILINE)
README = (CHART / "README.md").read_text(encoding="utf-8")
WRITE = "not what the settings classes say: run `make settings`"


def place(program: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return values that give settings to one program alone."""
    if program == "migrate":
        return {"migrate": {"settings": settings}}
    return {"services": {program: {"enabled": True, "settings": settings}}}


def defaults(program: str) -> dict[str, Any]:
    return {name: chart.fields(program)[name].default for name in chart.given(program)}


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def test_the_schema_and_the_versions_are_those_of_the_code() -> None:
    about = chart.ABOUT_CHART.read_text(encoding="utf-8")

    assert chart.SCHEMA.read_text(encoding="utf-8") == chart.written(), WRITE
    assert about == chart.versions(about), WRITE


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_takes_each_of_its_settings(program: str) -> None:
    settings = defaults(program)

    found = render(place(program, settings)).environment(program)

    assert len(settings) > 1
    assert {name: found[name] for name in settings} == {
        name: as_text(value) for name, value in settings.items()
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_no_value_is_a_key_of_its_secret_or_decided_by_the_chart(program: str) -> None:
    required, optional = next(row[1:] for row in SECRET.findall(README) if row[0] == program)
    secret = {
        name: field for name, field in chart.fields(program).items() if chart.is_secret(field)
    }

    assert set(chart.fields(program)) - set(chart.given(program)) - set(secret) <= chart.FIXED
    assert names(required) | names(optional) == {name.lower() for name in secret}
    assert names(required) >= {name.lower() for name, one in secret.items() if one.is_required()}
    assert render(ALL).environment(program)["SECRETS_DIR"] == "/run/secrets/minutebook"


def names(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


def test_a_setting_of_all_reaches_all_and_one_of_a_program_counts_more() -> None:
    values = ALL | {"settings": {"TICK_INTERVAL_SECONDS": 10}}
    values |= {
        "services": values["services"] | place("feed", {"TICK_INTERVAL_SECONDS": 20})["services"]
    }

    found = render(values)

    assert {
        program: found.environment(program)["TICK_INTERVAL_SECONDS"] for program in PROGRAMS
    } == {program: "20" if program == "feed" else "10" for program in PROGRAMS}


def test_a_large_number_stays_one_that_our_programs_read() -> None:
    found = render(place("gateway", {"GATEWAY_BYTES_IN_HAND_MAX": 33_554_432}))

    assert found.environment("gateway")["GATEWAY_BYTES_IN_HAND_MAX"] == "33554432"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"settings": {"INGEST_BATCHMAX": 1}}, "'INGEST_BATCHMAX' not allowed"),
        ({"settings": {"POSTGRES_DSN": "postgresql://x"}}, "'POSTGRES_DSN' not allowed"),
        ({"settings": {"METRICS_PORT": 1}}, "'METRICS_PORT' not allowed"),
        (place("ticker", {"INGEST_BATCH_MAX": 1}), "'INGEST_BATCH_MAX' not allowed"),
        (place("ingest", {"INGEST_BATCH_MAX": 0}), "minimum: got 0, want 1"),
        # YAML reads an on without quotes as true.
        ({"settings": {"TRACING": True}}, "got boolean, want string"),
        ({"settings": {"LOG_LEVEL": "LOUD"}}, "must be one of 'DEBUG', 'INFO'"),
        ({"services": {"ingester": {}}}, "'ingester' not allowed"),
        ({"replicas": 3}, "'replicas' not allowed"),
        ({"pod": {"hostNetwork": True}}, "'hostNetwork' not allowed"),
        ({"keda": {"minReplicas": 0}}, "minimum: got 0, want 1"),
    ],
)
def test_what_nobody_would_read_is_refused_with_its_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(helm.HelmError, match=said):
        render(values)


def test_compose_gives_a_program_nothing_that_the_chart_could_not() -> None:
    for program in PROGRAMS:
        known = set(chart.fields(program)) | {"METRICS_PORT"}

        assert set(COMPOSE[program]["environment"]) <= known
