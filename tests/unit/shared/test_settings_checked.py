"""What is wrong in a setting is said before anything is connected: exit 2, its name, the reason."""

import pytest

from ops.deployment import DeploymentSettings
from services.ingest.__main__ import IngestSettings
from services.syncer.__main__ import SyncerSettings
from shared import addresses, settings

SECRET = "hunter2"
GOOD = {
    "POSTGRES_DSN": "postgresql://user:password@host/db",
    "RABBITMQ_URL": "amqp://user:password@host:5672/%2F",
    "KEYDB_URL": "redis://host:6379/0",
}
READERS: tuple[type[settings.Settings], ...] = (IngestSettings, SyncerSettings, DeploymentSettings)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin every test with nothing but the servers."""
    for cls in READERS:
        for name in cls.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("SECRETS_DIR", raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def refused(cls: type[settings.Settings], capsys: pytest.CaptureFixture[str]) -> str:
    """Load and be refused; return the one line that was shown."""
    with pytest.raises(SystemExit) as caught:
        settings.load(cls)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert SECRET not in line
    return line


def readers(name: str) -> list[type[settings.Settings]]:
    """Return all that read a setting."""
    found = [cls for cls in READERS if name.lower() in cls.model_fields]
    assert found
    return found


WRONG_WHEN_USED = [
    ("RABBITMQ_URL", "amqp://u:p@host/%2F?connection_timeout=30", "connection_timeout"),
    ("RABBITMQ_URL", "amqp://u:p@host/%2F?heartbeat=60", "heartbeat"),
    ("RABBITMQ_URL", "amqp://u:p@host/%2F?heartbeat=often", "heartbeat"),
    ("RABBITMQ_URL", "amqp://u:p@host/one/two", "%2F"),
    ("RABBITMQ_URL", "amqp://u:p@host:99999/%2F", "not a URL"),
    ("RABBITMQ_URL", "amqp://u:p@ho st/%2F", "not a URL"),
    ("RABBITMQ_URL", "amqp://u:p@one:5672,two:99999/%2F", "not a URL"),
    ("RABBITMQ_URL", "amqp://u:p@one:5672,/%2F", "not a URL"),
    ("KEYDB_URL", "redis+sentinel://one:26379,two:26379", "/SERVICE/0"),
    ("KEYDB_URL", "redis+sentinel://one:26379/service/zero", "/SERVICE/0"),
    ("KEYDB_URL", "redis+sentinel://one:26379,t wo/service/0", "not a URL"),
    ("KEYDB_URL", "redis://one:6379,two:6379/0", "not a URL"),
    ("KEYDB_URL", "redis://host/0#1", "not a URL"),
    ("KEYDB_URL", "redis://host/0?socket_timeout=abc", "socket_timeout"),
    ("KEYDB_URL", "redis://host/0?client_name=x&unknown=1", "client_name, unknown"),
    ("KEYDB_URL", "redis://host/zero", "database"),
    ("KEYDB_URL", "redis://host/-1", "database"),
    ("KEYDB_URL", "redis://host?db=one", "database"),
    ("POSTGRES_DSN", "postgresql://u:p@host/db?connect_timeout=soon", "connect_timeout"),
    ("POSTGRES_DSN", "postgresql://u:p@host/db?sslmode=always", "sslmode"),
    ("POSTGRES_DSN", "postgresql://u:p@host/db?target_session_attrs=any-one", "target_session"),
    ("POSTGRES_DSN", "host=host port=99999", "port"),
    ("POSTGRES_DSN", "postgresql://u:p@host/db?sslrootcert=/none/ca.pem", "sslrootcert"),
    ("METRICS_HOST", "[::]", "without brackets"),
    ("METRICS_HOST", "", "not an address"),
    ("METRICS_HOST", "http://0.0.0.0", "not an address"),
    ("OPS_SERVICES", "ingest", "NAME:PORT"),
    ("OPS_SERVICES", "ingest:0", "NAME:PORT"),
    ("OPS_SERVICES", "ingest:99999999", "NAME:PORT"),
    ("OPS_SERVICES", "http://ingest:9101", "NAME:PORT"),
    ("OPS_SERVICES", "ingest:9101,ticker:9102", "NAME:PORT"),
    ("OPS_SERVICES", "::1:9101", "NAME:PORT"),
    ("OPS_SERVICES", "ingest:٩١٠١", "NAME:PORT"),
    ("RABBITMQ_MANAGEMENT_URL", "http://", "http://user:password@host:15672"),
    ("RABBITMQ_MANAGEMENT_URL", "http://host:port", "http://user:password@host:15672"),
    ("RABBITMQ_MANAGEMENT_URL", "rabbitmq:15672", "http://user:password@host:15672"),
    ("INGEST_QUEUE", "é" * 200, "255 bytes"),
]


@pytest.mark.parametrize(("name", "value", "why"), WRONG_WHEN_USED)
def test_what_would_be_found_wrong_only_when_used_is_refused_at_loading(
    name: str,
    value: str,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(name, value)
    for cls in readers(name):
        line = refused(cls, capsys)
        assert line.startswith(f"setting {name}: ")
        assert why in line


@pytest.mark.parametrize("url", [f"amqp://u:1?{SECRET}&more@host", f"redis://u:1?{SECRET}@host"])
def test_a_password_that_looks_like_an_option_is_not_shown(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "RABBITMQ_URL" if url.startswith("amqp") else "KEYDB_URL"
    monkeypatch.setenv(name, url)
    for cls in readers(name):
        assert refused(cls, capsys)


def test_addresses_of_ipv6_are_taken_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_DSN", "postgresql://u:p@[::1]:5432/db")
    monkeypatch.setenv("RABBITMQ_URL", "amqp://u:p@[::1]:5672/%2F")
    monkeypatch.setenv("KEYDB_URL", "redis://[2001:db8::1]:6379/0")
    monkeypatch.setenv("METRICS_HOST", "::")
    for cls in READERS:
        settings.load(cls)
    monkeypatch.setenv("OPS_SERVICES", "[::1]:9101 syncer:9103")
    monkeypatch.setenv("RABBITMQ_MANAGEMENT_URL", "http://u:p@[::1]:15672")
    found = settings.load(DeploymentSettings)
    assert found.addresses == [("::1", 9101), ("syncer", 9103)]


def test_a_database_is_named_by_its_place_or_by_its_option(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("redis://host", "redis://host/", "redis://host/15", "redis://host?db=3"):
        monkeypatch.setenv("KEYDB_URL", url)
        settings.load(SyncerSettings)


def test_each_of_several_brokers_has_the_login_and_the_virtual_host_of_all() -> None:
    url = "amqps://u:a%2Cb@one:5671,[::1]:5671,three/%2F"
    assert addresses.each_host(url) == [
        "amqps://u:a%2Cb@one:5671/%2F",
        "amqps://u:a%2Cb@[::1]:5671/%2F",
        "amqps://u:a%2Cb@three/%2F",
    ]
    addresses.check_amqp_url(url)
    assert addresses.each_host("amqp://one") == ["amqp://one"]


def test_sentinels_are_told_from_the_login_and_the_database_of_the_server() -> None:
    found = addresses.sentinels("rediss+sentinel://u:p%40ss@one:1,two/balances/3")
    assert found.hosts == (("one", 1), ("two", 26379))
    assert (found.service, found.database, found.encrypted) == ("balances", 3, True)
    assert (found.username, found.password) == ("u", "p@ss")
    assert "p@ss" not in repr(found)
    plain = addresses.sentinels("redis+sentinel://one/balances")
    assert (plain.database, plain.username, plain.encrypted) == (0, None, False)
