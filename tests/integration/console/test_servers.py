"""The page shows how the servers are; one that is down is said in its place."""

from services.syncer.service import Syncer
from tests.support import console_page
from tests.support.console_page import rows_of, text_of
from tests.support.ops_tool import NOWHERE


def test_the_page_says_what_status_says(environment: dict[str, str]) -> None:
    with console_page.running(environment) as console:
        says = console.text("verdict")

    assert "wrong" in says
    assert "no syncer waits for ticks" in says


def test_servers_that_are_away_are_said_and_the_page_is_there() -> None:
    nowhere = {
        "POSTGRES_DSN": f"postgresql://u:p@{NOWHERE}/d",
        "RABBITMQ_URL": f"amqp://u:p@{NOWHERE}/%2F",
        "KEYDB_URL": f"redis://{NOWHERE}/0",
    }
    with console_page.running(nowhere) as console:
        says = console.text("verdict")
        assert "Connection refused" in console.text("dead-letters")

    for server in ("postgres", "rabbitmq", "keydb"):
        assert f"{server} gives no answer" in says


def test_without_keydb_the_balances_are_those_of_postgres(
    settings: dict[str, str], syncer: Syncer
) -> None:
    away = settings | {"KEYDB_URL": f"redis://{NOWHERE}/0"}
    with console_page.running(away) as console:
        html = console.client.get("/").text

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
