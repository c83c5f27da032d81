"""What the demo decides without a stack: which port is taken, what KeyDB should say."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from demo import example, ports, servers
from demo.example import Shown, Truth
from demo.failure import DemoFailed
from demo.stack import Configuration, Container
from tests.support.containers import ROOT

BOUNDARY = datetime(2026, 11, 20, 23, 42, tzinfo=UTC)
BEFORE = Truth({"1_Visa": 1300, "2_Mastercard": 1800}, "1_Visa", 3)
NOW = Truth({"1_Visa": 1900, "2_Mastercard": 1800}, "1_Visa", 4)
PUBLISHED = [("postgres", 5432, "5432"), ("keydb", 6379, "6379"), ("ingest", 9101, "9110-9129")]
URLS = {
    "POSTGRES_DSN": "postgresql://user:p%40ss@postgres:5432/minutebook",
    "RABBITMQ_URL": "amqp://user:p%40ss@rabbitmq:5672/%2F",
    "KEYDB_URL": "redis://keydb:6379/3",
}
PRODUCER = {"RABBITMQ_USER": "user", "RABBITMQ_PASSWORD": "w@rd"}
CONTAINERS = [
    Container("x-postgres-1", "postgres", "healthy", 0, {5432: 40001}),
    Container("x-rabbitmq-1", "rabbitmq", "healthy", 0, {5672: 40002, 15672: 40003}),
    Container("x-keydb-1", "keydb", "healthy", 0, {6379: 40004}),
]


def keydb_shows(**balances: str) -> Shown:
    late = BOUNDARY + timedelta(milliseconds=12.5)
    return Shown({key[1:]: value for key, value in balances.items()}, BOUNDARY, late)


def configuration(**changed: str) -> Configuration:
    environment = URLS | PRODUCER | changed
    services = ("migrate", "ingest", "syncer", "rabbitmq")
    return Configuration("x", {one: {"environment": environment} for one in services})


def test_no_fault_is_found_when_keydb_says_600_more() -> None:
    after = keydb_shows(_1_Visa="1900", _2_Mastercard="1800")

    assert example.faults(BEFORE, NOW, after, fresh=True) == []
    assert after.lateness_ms == 12.5


@pytest.mark.parametrize(
    "after",
    [
        keydb_shows(_1_Visa="1300", _2_Mastercard="1800"),
        keydb_shows(_1_Visa="2500", _2_Mastercard="1800"),
        keydb_shows(_1_Visa="1900", _2_Mastercard="2000"),
        keydb_shows(_1_Visa="1900"),
    ],
)
def test_a_balance_that_is_not_what_postgres_says_is_a_fault(after: Shown) -> None:
    (fault,) = example.faults(BEFORE, NOW, after, fresh=False)

    assert "it should be" in fault


def test_a_message_counted_twice_is_a_fault_even_where_keydb_follows_postgres() -> None:
    twice = Truth({"1_Visa": 2500, "2_Mastercard": 1800}, "1_Visa", 5)

    assert example.faults(
        BEFORE, twice, keydb_shows(_1_Visa="2500", _2_Mastercard="1800"), fresh=False
    )


def test_on_a_fresh_start_the_examples_own_numbers_are_asked_for() -> None:
    before = Truth({"1_Visa": 1200, "2_Mastercard": 1800}, "1_Visa", 3)
    now = Truth({"1_Visa": 1800, "2_Mastercard": 1800}, "1_Visa", 4)
    after = keydb_shows(_1_Visa="1800", _2_Mastercard="1800")

    assert example.faults(before, now, after, fresh=False) == []
    assert example.faults(before, now, after, fresh=True)


ENDPOINT = "driver failed programming external connectivity on endpoint main-keydb-1 (0a1b)"
TAKEN = {
    "engine 20.10": "Bind for 127.0.0.1:6379 failed: port is already allocated",
    "its proxy": "Error starting userland proxy: listen tcp4 127.0.0.1:6379: bind: address already"
    " in use",
    "engine 28": "failed to bind host port for 127.0.0.1:6379:172.18.0.2:6379/tcp: address already"
    " in use",
    "Docker Desktop": "Ports are not available: exposing port TCP 127.0.0.1:6379 -> 0.0.0.0:0:"
    " listen tcp 127.0.0.1:6379: bind: address already in use",
}


@pytest.mark.parametrize("said", TAKEN.values(), ids=TAKEN.keys())
def test_composes_own_failure_over_a_port_is_told_in_our_words(said: str) -> None:
    output = f"Container main-keydb-1  Starting\nError response from daemon: {ENDPOINT}: {said}\n"

    failure = ports.conflict(output, PUBLISHED)

    assert failure is not None
    assert "port 6379 " in failure.reason
    assert "set KEYDB_PORT " in failure.reason


def test_a_port_of_the_range_for_ingest_leads_to_its_setting() -> None:
    failure = ports.conflict("Bind for 127.0.0.1:9129 failed: port is already allocated", PUBLISHED)

    assert failure is not None
    assert "set INGEST_METRICS_PORTS " in failure.reason


def test_another_failure_of_compose_is_not_blamed_on_a_port() -> None:
    assert ports.conflict("dependency failed: 127.0.0.1:6379 is unhealthy", PUBLISHED) is None


def test_every_port_that_compose_publishes_has_its_setting_here() -> None:
    compose = (ROOT / "compose.yaml").read_text()
    published = re.findall(r"127\.0\.0\.1:\$\{(\w+):-[\d-]+\}:(\d+)", compose)

    assert {str(own): name for (_, own), name in ports.SERVICE_PORTS.items()} == {
        own: name for name, own in published
    }


def test_the_owners_and_the_producers_logins_go_to_the_ports_on_this_machine() -> None:
    found = servers.find(configuration(), CONTAINERS)

    assert "host=127.0.0.1" in found.postgres
    assert "port=40001" in found.postgres
    assert "password=p@ss" in found.postgres
    assert found.rabbitmq == "amqp://user:w%40rd@127.0.0.1:40002/%2F"
    assert found.keydb == "redis://127.0.0.1:40004/3"
    assert "p@ss" not in repr(found)


@pytest.mark.parametrize("setting", URLS)
def test_a_server_of_the_users_own_is_left_alone(setting: str) -> None:
    elsewhere = re.sub(
        r"postgres:5432|rabbitmq:5672|keydb:6379", "db.example.org:1234", URLS[setting]
    )

    with pytest.raises(DemoFailed, match=setting) as failure:
        servers.find(configuration(**{setting: elsewhere}), CONTAINERS)

    assert failure.value.exit_code == 2
    assert "p%40ss" not in failure.value.reason


def test_a_dollar_that_compose_doubles_is_one_again() -> None:
    doubled = configuration(POSTGRES_DSN="postgresql://user:a$$b@postgres:5432/minutebook")

    assert "password=a$b" in servers.find(doubled, CONTAINERS).postgres
