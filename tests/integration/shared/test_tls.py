"""TLS to real servers: one that proves who it is is spoken to, no other, and it is said why."""

import gc
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from shared import keydb, postgres, settings
from shared.amqp import ticks
from shared.amqp.consumer import Consumer
from shared.errors import Unavailable
from tests.support import programs, tls_servers
from tests.support.eventually import eventually
from tests.support.ops_tool import Tool
from tests.support.tls_servers import Encrypted

REFUSED = "certificate"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the certificates are: ca.pem is the servers' authority, wrong.pem another one."""
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def servers(engine: docker.DockerClient, folder: Path) -> Iterator[Encrypted]:
    tls_servers.authority(folder, "wrong")
    with tls_servers.servers_with(folder, tls_servers.authority(folder, "ca"), engine) as started:
        yield started


@pytest.fixture(autouse=True)
def no_record_holds_a_socket(caplog: pytest.LogCaptureFixture) -> None:
    """A log record with its traceback would keep a socket alive until some later test."""
    caplog.set_level(logging.CRITICAL, logger="pika")


def to_postgres(given: dict[str, str]) -> None:
    found = settings.PostgresSettings.model_validate(lower(given))
    with postgres.connection(found, application="test") as conn:
        row = conn.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        assert row == (True,)


def to_rabbitmq(given: dict[str, str]) -> None:
    found = settings.RabbitmqSettings.model_validate(lower(given))
    with Consumer.connected(found, name="test") as broker:
        assert broker.inspect("none") is None


def to_rabbitmq_for_ticks(given: dict[str, str]) -> None:
    with ticks.Broker.connected(
        settings.RabbitmqSettings.model_validate(lower(given)), name="test"
    ):
        pass


def to_keydb(given: dict[str, str]) -> None:
    found = settings.KeydbSettings.model_validate(lower(given))
    with keydb.client(found, name="test") as client, keydb.translating():
        assert client.ping()


Connect = Callable[[dict[str, str]], None]
EACH: dict[str, Connect] = {
    "postgres": to_postgres,
    "rabbitmq": to_rabbitmq,
    "rabbitmq for ticks": to_rabbitmq_for_ticks,
    "keydb": to_keydb,
}
each = pytest.mark.parametrize("connect", EACH.values(), ids=EACH)
# Postgres takes both on one port.
PORTS = {name: connect for name, connect in EACH.items() if name != "postgres"}
each_with_a_port_for_tls = pytest.mark.parametrize("connect", PORTS.values(), ids=PORTS)


def refused(connect: Connect, given: dict[str, str]) -> str:
    """Return why there is no connection."""
    said = ""
    # pika leaves the socket of a failed handshake to the collector, which may come at any time.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            connect(given)
        except Unavailable as error:
            said = str(error)
        gc.collect()
    return said


def lower(given: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in given.items()}


@each
def test_a_server_that_proves_who_it_is_gets_its_connection(
    servers: Encrypted, folder: Path, connect: Connect
) -> None:
    connect(servers.settings(folder / "ca.pem"))


@each
def test_a_certificate_of_another_authority_is_refused_with_the_reason(
    servers: Encrypted, folder: Path, connect: Connect
) -> None:
    assert REFUSED in refused(connect, servers.settings(folder / "wrong.pem"))


@each
def test_the_systems_authorities_are_trusted_if_none_is_named_and_no_other(
    servers: Encrypted, folder: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "wrong.pem"))  # what the system has
    monkeypatch.setenv("SSL_CERT_DIR", str(folder / "none"))
    given = servers.settings(folder / "ca.pem") | {"RABBITMQ_CA_FILE": "", "KEYDB_CA_FILE": ""}
    given["POSTGRES_DSN"] = given["POSTGRES_DSN"].replace(f"{folder}/ca.pem", "system")

    assert REFUSED in refused(connect, given)


@each
def test_a_certificate_for_another_host_name_is_refused_with_the_reason(
    servers: Encrypted, folder: Path, connect: Connect
) -> None:
    said = refused(connect, servers.settings(folder / "ca.pem", host="localhost"))

    assert "host name" in said.lower().replace("hostname", "host name")


@each_with_a_port_for_tls
def test_plain_text_to_a_port_that_wants_tls_says_so(
    servers: Encrypted, folder: Path, connect: Connect
) -> None:
    given = servers.settings(folder / "ca.pem") | {"RABBITMQ_CA_FILE": "", "KEYDB_CA_FILE": ""}

    plain = {name: url.replace("s://", "://") for name, url in given.items()}

    assert re.search(r"TLS.*(amqps|rediss)://", refused(connect, plain))


@each_with_a_port_for_tls
def test_tls_to_a_port_that_speaks_plain_text_is_refused_and_never_becomes_plain_text(
    servers: Encrypted, folder: Path, connect: Connect
) -> None:
    given = servers.settings(folder / "ca.pem")
    given["RABBITMQ_URL"] = given["RABBITMQ_URL"].replace(
        f":{servers.rabbitmq}/", f":{servers.rabbitmq_plain}/"
    )
    given["KEYDB_URL"] = given["KEYDB_URL"].replace(
        f":{servers.keydb}/", f":{servers.keydb_plain}/"
    )

    # KeyDB says nothing and waits for more.
    assert re.search("TLS failed|TimeoutError", refused(connect, given))


def test_the_tool_says_of_each_server_that_its_certificate_is_refused_and_exits_with_3(
    servers: Encrypted, folder: Path
) -> None:
    tool = Tool(servers.settings(folder / "wrong.pem"))

    seen = tool.json("status", code=1)
    assert all(REFUSED in seen[one]["error"] for one in ("postgres", "rabbitmq", "keydb")), seen
    done = tool("balances")

    assert (done.code, REFUSED in done.stderr + done.stdout) == (3, True), done


def test_a_transaction_goes_all_the_way_to_keydb_encrypted(
    servers: Encrypted, folder: Path
) -> None:
    given = servers.settings(folder / "ca.pem") | {"TICK_INTERVAL_SECONDS": "1"}
    tool = Tool(given)
    with programs.running("migrations", **given) as job:
        assert job.process.wait(60) == 0, job.logs()
    with (
        programs.running("services.ingest", **given) as ingest,
        programs.running("services.ticker", **given),
        programs.running("services.syncer", **given),
    ):
        tool.json("provider", "add", "Visa", "1000", "--id", "1")
        eventually(lambda: "consuming" in ingest.logs())
        tool.json("send", "1=600")

        def shown() -> object:
            return [one["keydb"] for one in tool.json("balances")["balances"]] == ["1600"]

        eventually(shown)


def test_a_service_that_meets_a_stranger_says_why_it_waits(
    servers: Encrypted, folder: Path
) -> None:
    with programs.running("services.ticker", **servers.settings(folder / "wrong.pem")) as ticker:
        eventually(lambda: ticker.health()[0] == 503 and REFUSED in ticker.health()[1])
        assert REFUSED in json.dumps(ticker.lines())
