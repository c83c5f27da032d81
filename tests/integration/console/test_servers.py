"""The page shows how the servers are; one that is down is said in its place."""

import socket

import httpx
from pydantic import Secret

from ops.console.metrics import Scraper
from ops.deployment import DeploymentSettings
from services.syncer.service import Syncer
from shared import health
from tests.support import console_page
from tests.support.console_page import rows_of, text_of
from tests.support.ops_tool import NOWHERE


def first_part(client: httpx.Client, path: str) -> str:
    """Return what a page was sent of first."""
    with client.stream("GET", path) as answer:
        return next(answer.iter_text())


def test_the_page_says_what_status_says(environment: dict[str, str]) -> None:
    with console_page.running(environment) as console:
        says = console.text("verdict")
        assert "No tick yet" in console.text("ticks")
        assert "No tick yet" in console.text("main")
        assert "Nothing was done by hand yet." in console.text("actions")

    assert "wrong" in says
    assert "no syncer waits for ticks" in says


def test_a_server_that_hangs_is_said_and_the_others_are_shown(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = f"postgresql://u:p@127.0.0.1:{silent.getsockname()[1]}/d"
        with console_page.running(environment | {"POSTGRES_DSN": hanging}) as console:
            html = console.client.get("/").text
            beginnings = [first_part(console.client, path) for path in ("/", "/providers/1")]

    assert "postgres gives no answer" in text_of(html, "verdict")
    assert 'id="box-postgres" data-state="wrong"' in html
    assert "Postgres" not in text_of(html, "box-rabbitmq")
    for one in beginnings:  # it does not wait for the answer
        assert ("</header>" in one, "<section" in one) == (True, False)


def test_what_a_replica_counts_is_read_from_its_port() -> None:
    with health.serving(health.Health(), "127.0.0.1", 0) as port:
        chosen = DeploymentSettings(
            postgres_dsn=Secret(f"postgresql://u:p@{NOWHERE}/d"),
            rabbitmq_url=Secret(f"amqp://u:p@{NOWHERE}/%2F"),
            keydb_url=Secret(f"redis://{NOWHERE}/0"),
            ops_services=f"127.0.0.1:{port}",
        )
        found = Scraper(chosen, lambda: 0.0, ("127.0.0.1",)).read()

    assert [one.address for one in found] == [f"127.0.0.1:{port}"]
    assert found[0].now["minutebook_healthy"] == 1


def test_servers_that_are_away_are_said_and_the_page_is_there() -> None:
    nowhere = {
        "POSTGRES_DSN": f"postgresql://u:p@{NOWHERE}/d",
        "RABBITMQ_URL": f"amqp://u:p@{NOWHERE}/%2F",
        "KEYDB_URL": f"redis://{NOWHERE}/0",
    }
    with console_page.running(nowhere) as console:
        html = console.client.get("/").text

    for server in ("postgres", "rabbitmq", "keydb"):
        assert f"{server} gives no answer" in text_of(html, "verdict")
        assert f'id="box-{server}" data-state="wrong"' in html
    assert "None." not in text_of(html, "dead-letters")


def test_without_keydb_the_balances_are_those_of_postgres(
    settings: dict[str, str], syncer: Syncer
) -> None:
    away = settings | {"KEYDB_URL": f"redis://{NOWHERE}/0"}
    with console_page.running(away) as console:
        html = console.html()

    assert rows_of(html) == {"1_Visa": "1300", "2_Mastercard": "1800"}
    assert "Not compared with KeyDB" in text_of(html, "main")
    assert 'id="box-keydb" data-state="wrong"' in html
    assert 'id="box-postgres" data-state="healthy"' in html


def test_it_ends_when_it_is_told_to(environment: dict[str, str]) -> None:
    with (
        console_page.running(environment) as console,
        console.client.stream("GET", "/events") as events,
    ):
        assert next(events.iter_lines()).startswith("event: ")
        assert console.program.stop() == 0
