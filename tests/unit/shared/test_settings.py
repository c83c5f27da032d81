"""Settings are read once, refused one line each, and never say a secret aloud."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from migrations import __main__ as migrations
from services.ingest import __main__ as ingest
from services.ingest.__main__ import IngestSettings
from services.syncer import __main__ as syncer
from services.syncer.__main__ import SyncerSettings
from services.ticker import __main__ as ticker
from shared import program, settings

SECRET = "hunter2"
GOOD = {
    "POSTGRES_DSN": f"postgresql://user:{SECRET}@host/db",
    "RABBITMQ_URL": f"amqp://user:{SECRET}@host:5672/%2F",
    "KEYDB_URL": f"redis://:{SECRET}@host:6379/0",
}
# The last two are what a password with characters that ought to be escaped makes of a URL.
BAD = [
    ("POSTGRES_DSN", f"postgresql://user:{SECRET}@host/db?{SECRET}={SECRET}"),
    ("POSTGRES_DSN", f"host {SECRET}"),
    ("RABBITMQ_URL", f"http://user:{SECRET}@host"),
    ("RABBITMQ_URL", f"amqp://user:{SECRET}@[host"),
    ("RABBITMQ_URL", f"amqp://{SECRET}@host"),
    ("KEYDB_URL", f"redis:{SECRET}"),
    ("RABBITMQ_URL", f"amqp://user:{SECRET}/more@host:5672/%2F"),
    ("RABBITMQ_URL", f"amqp://user:{SECRET}\u2100@host:5672/%2F"),
]


# TLS that would not check who answers, or that is meant and not there.
UNVERIFIED = [
    ("POSTGRES_DSN", f"postgresql://user:{SECRET}@host/db?sslmode=require", "verify-full"),
    ("POSTGRES_DSN", f"postgresql://user:{SECRET}@host/db?sslmode=verify-ca", "verify-full"),
    ("RABBITMQ_URL", f"amqps://user:{SECRET}@host?ssl_options={{}}", "_CA_FILE"),
    ("KEYDB_URL", f"rediss://:{SECRET}@host?ssl_cert_reqs=none", "_CA_FILE"),
    ("KEYDB_URL", f"rediss://:{SECRET}@host?ssl_check_hostname", "_CA_FILE"),
    ("RABBITMQ_CA_FILE", __file__, "RABBITMQ_URL is not of the form amqps://"),
    ("KEYDB_CERT_FILE", __file__, "KEYDB_URL is not of the form rediss://"),
    ("KEYDB_CA_FILE", f"/none/{SECRET}", "cannot be read: No such file"),
]


ALL: dict[str, type[settings.Settings]] = {
    "migrations": migrations.MigrationSettings,
    "ingest": IngestSettings,
    "syncer": SyncerSettings,
    "ticker": ticker.TickerSettings,
}
MAINS: dict[str, Callable[[Sequence[str]], int]] = {
    "migrations": migrations.main,
    "ingest": ingest.PROGRAM.main,
    "syncer": syncer.PROGRAM.main,
    "ticker": ticker.PROGRAM.main,
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin every test with nothing but the three good secrets."""
    for cls in ALL.values():
        for name in cls.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("SECRETS_DIR", raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def refused(cls: type[settings.Settings], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Load and be refused; return the lines that were shown."""
    with pytest.raises(SystemExit) as caught:
        settings.load(cls)
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert SECRET not in shown
    return shown.splitlines()


@pytest.mark.parametrize("cls", ALL.values(), ids=ALL)
def test_no_secret_shows_in_any_rendering(cls: type[settings.Settings]) -> None:
    found = settings.load(cls)
    shown = (repr(found), str(found), found.model_dump_json(), str(found.model_dump()))
    assert not [text for text in (*shown, program.describe(cls)) if SECRET in text]


@pytest.mark.parametrize(("name", "value", "why"), UNVERIFIED)
def test_tls_that_checks_nobody_is_refused_with_what_to_do(
    name: str,
    value: str,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(name, value)

    (line,) = refused(SyncerSettings, capsys)

    assert line.startswith(f"setting {name}: ")
    assert why in line


def test_secrets_are_there_for_whoever_asks() -> None:
    found = settings.load(IngestSettings)
    assert found.postgres_dsn.get_secret_value() == GOOD["POSTGRES_DSN"]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_no_secret_shows_in_a_validation_error(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    cls = SyncerSettings
    with pytest.raises(ValidationError) as caught:
        cls()
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)
    lines = refused(cls, capsys)
    assert [line.split(":")[0] for line in lines] == [f"setting {name}"]


def test_every_bad_setting_has_one_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("POSTGRES_DSN")
    monkeypatch.setenv("RABBITMQ_URL", "http://host")
    monkeypatch.setenv("METRICS_PORT", "65536")
    monkeypatch.setenv("INGEST_BATCH_MAX", "many")
    monkeypatch.setenv("INGEST_MESSAGE_ID", "somewhere")
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    lines = refused(IngestSettings, capsys)
    assert {line.split(":")[0] for line in lines} == {
        "setting POSTGRES_DSN", "setting RABBITMQ_URL", "setting METRICS_PORT",
        "setting INGEST_BATCH_MAX", "setting INGEST_MESSAGE_ID", "setting LOG_LEVEL",
    }  # fmt: skip
    assert len(lines) == 6


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [
        ("INGEST_BATCH_MAX", 1, 10_000),
        ("INGEST_PREFETCH", 1, 65_535),
        ("INGEST_BODY_MAX_BYTES", 32, 2**24),
        ("METRICS_PORT", 0, 65_535),
    ],
)
def test_a_number_is_bounded_on_both_sides(
    name: str, lowest: int, highest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (lowest, highest):
        monkeypatch.setenv(name, str(value))
        assert getattr(settings.load(IngestSettings), name.lower()) == value
    for value in (lowest - 1, highest + 1):
        monkeypatch.setenv(name, str(value))
        with pytest.raises(SystemExit):
            settings.load(IngestSettings)


@pytest.mark.parametrize("value", ["", "header:", "field:", "Property", "header", "property:x"])
def test_an_identity_is_only_looked_for_where_there_can_be_one(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INGEST_MESSAGE_ID", value)
    assert refused(IngestSettings, capsys)[0].startswith("setting INGEST_MESSAGE_ID: ")


def test_a_file_in_the_secrets_folder_is_as_good_as_a_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in GOOD.items():
        monkeypatch.delenv(name)
        (tmp_path / name.lower()).write_text(f"{value}\n")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    found = settings.load(SyncerSettings)
    assert found.postgres_dsn.get_secret_value() == GOOD["POSTGRES_DSN"]
    assert found.keydb_url.get_secret_value() == GOOD["KEYDB_URL"]


def test_a_secrets_folder_that_is_not_there_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path / "missing"))
    assert settings.load(IngestSettings).ingest_queue == "incoming_transactions"


def test_settings_cannot_be_changed_later() -> None:
    found: Any = settings.load(IngestSettings)
    with pytest.raises(ValidationError):
        found.ingest_queue = "another"


def exit_code(module: str, *arguments: str) -> int | str | None:
    """Run a program's `main` until it has read its settings."""
    try:
        return MAINS[module](arguments)
    except SystemExit as caught:
        return caught.code


@pytest.mark.parametrize("module", ALL)
def test_help_needs_no_settings_and_lists_them_all(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in GOOD:
        monkeypatch.delenv(name)
    assert exit_code(module, "--help") == 0
    shown = capsys.readouterr().out
    names = {line.split()[0] for line in shown.splitlines() if line.startswith("  ")}
    assert {name.upper() for name in ALL[module].model_fields} <= names


@pytest.mark.parametrize("module", ALL)
def test_a_program_without_its_settings_exits_2_with_one_line_each(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in GOOD:
        monkeypatch.delenv(name)
    fields = ALL[module].model_fields.items()
    required = {name.upper() for name, field in fields if field.is_required()}
    assert exit_code(module) == 2
    lines = capsys.readouterr().err.splitlines()
    assert sorted(line.split(":")[0] for line in lines) == sorted(
        f"setting {name}" for name in required
    )
