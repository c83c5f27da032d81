"""Log lines are JSON, one object a line, and never show what a function had in its hands."""

import json
import os
from typing import Any

import pytest
import structlog

from shared import logs
from shared.settings import LogSettings

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def as_before() -> Any:
    """Leave structlog as it was found: its configuration is the process's."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def configured(**given: Any) -> Any:
    logs.configure(LogSettings(**given), service="ingest")
    return structlog.get_logger()


def fail_with_secrets_about(dsn: str) -> None:
    """Fail in a frame that holds a secret in an argument and in a local variable."""
    password = dsn.rpartition(":")[2]
    message = f"failed after {len(password)}"
    raise RuntimeError(message)


def test_every_line_is_one_json_object_with_event_level_time_and_service(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = configured(log_format="json")
    log.info("stored", rows=3, text='with "quotes"\nand a second line')
    log.warning("late", lateness_s=0.5)
    first, second = (json.loads(line) for line in lines(capsys))
    assert (first["event"], first["level"], first["service"]) == ("stored", "info", "ingest")
    assert first["timestamp"].endswith("Z")
    assert (first["rows"], first["text"]) == (3, 'with "quotes"\nand a second line')
    assert (second["event"], second["lateness_s"]) == ("late", 0.5)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_where_but_no_local_variables(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = configured(log_format=log_format)
    try:
        fail_with_secrets_about(f"host:{SECRET}")
    except RuntimeError:
        log.exception("bug")
    shown = lines(capsys)
    assert "fail_with_secrets_about" in "\n".join(shown)
    assert f"failed after {len(SECRET)}" in "\n".join(shown)
    assert SECRET not in "\n".join(shown)
    assert (len(shown) == 1) == (log_format == "json")


def test_what_is_less_severe_than_the_level_is_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = configured(log_format="json", log_level="WARNING")
    log.info("quiet")
    log.warning("loud")
    assert [json.loads(line)["event"] for line in lines(capsys)] == ["loud"]


def test_where_nobody_is_watching_auto_means_json(capsys: pytest.CaptureFixture[str]) -> None:
    configured(log_format="auto").info("stored")
    assert [json.loads(line)["event"] for line in lines(capsys)] == ["stored"]


def test_where_a_person_is_watching_auto_means_text(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal, os.fdopen(ours, "rb", buffering=0) as screen:
        monkeypatch.setattr("sys.stderr", terminal)
        configured(log_format="auto").info("stored", rows=3)
        shown = screen.read(4096).decode()
    assert "stored" in shown
    assert not shown.lstrip().startswith("{")
