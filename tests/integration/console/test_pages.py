"""Pages of a provider and of a tick, and the events that keep the page live."""

from datetime import UTC, datetime, timedelta

import httpx
import psycopg

from services.syncer.service import Syncer
from tests.support.console_page import TOO_LATE, Console, text_of
from tests.support.eventually import eventually
from tests.support.ledger import add, minute


def event(client: httpx.Client, name: str, query: str = "") -> str:
    """Return the first event of this name with nothing in it that came too late."""
    with client.stream("GET", f"/events{query}") as answer:
        named, found = "", ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                named, found = line.removeprefix("event: "), ""
            elif line.startswith("data: "):
                found += line.removeprefix("data: ") + "\n"
            elif named == name and not TOO_LATE.search(found):
                return found
    raise AssertionError(f"no event {name}")


def test_events_bring_the_sections_as_they_are_on_the_page(console: Console) -> None:
    assert "1_Visa" in text_of(event(console.client, "balances"), "balances")
    assert "2_Mastercard" in event(console.client, "balances", "?search=card")
    assert "1_Visa" not in event(console.client, "balances", "?search=card")
    assert "Doctor" in event(console.client, "operations")
    assert "data-next" in event(console.client, "verdict")


def test_a_tick_is_audited(console: Console, conn: psycopg.Connection, syncer: Syncer) -> None:
    add(conn, 1, 250)
    syncer.tick(minute(2))

    said = console.text("audit", "/ticks/2")

    assert "It wrote exactly what its rows add up to." in said
    assert "written by the tick 1 +250 recomputed from the outbox 1 +250" in said
    assert "there is no tick 77" in console.text("audit", "/ticks/77")


def test_a_provider_has_its_balance_statement_and_alerts(
    console: Console, conn: psycopg.Connection
) -> None:
    conn.execute(
        "INSERT INTO alert (provider_id, condition, threshold, source, source_id, since_epoch)"
        " VALUES (1, 'below', 1000, 'ops', 'a', 0)"
    )

    html = console.html("/providers/1")

    assert 'data-balance="1300"' in html
    assert "1,300" in text_of(html, "provider")
    assert "below 1,000 this provider" in text_of(html, "main")
    assert "There is no provider 9" in console.text("provider", "/providers/9")
    assert console.client.get("/providers/nonsense").status_code == 404


def test_a_statement_is_told_newest_first(
    console: Console, conn: psycopg.Connection, syncer: Syncer
) -> None:
    add(conn, 1, 250)
    add(conn, 1, -50)
    syncer.tick(datetime.now(UTC).replace(second=0, microsecond=0))

    said = console.text("statement", "/providers/1")

    assert "balance of the last tick 1,500" in said
    newest, oldest = said.index("\u221250 1,500"), said.index("+250 1,550")
    assert newest < oldest < said.index("balance then 1,300")


def test_of_more_movements_than_are_read_the_newest_are_shown(
    console: Console, conn: psycopg.Connection, syncer: Syncer
) -> None:
    conn.execute(
        "INSERT INTO historical_transactions (provider_id, transaction_value)"
        " SELECT 1, 1 FROM generate_series(1, 5200)"
    )
    add(conn, 1, 777)
    syncer.tick(datetime.now(UTC).replace(second=0, microsecond=0))

    said = console.text("statement", "/providers/1")

    assert "balance of the last tick 7,277" in said
    assert "+777 7,277" in said
    assert "balance then" not in said


def test_of_a_time_with_too_many_movements_what_came_after_it_is_shown(
    console: Console, conn: psycopg.Connection, syncer: Syncer
) -> None:
    at = datetime.now(UTC).replace(second=0, microsecond=0)
    conn.execute(
        "INSERT INTO historical_transactions (provider_id, transaction_value)"
        " SELECT 1, 1 FROM generate_series(1, 5200)"
    )
    syncer.tick(at - timedelta(minutes=20))
    add(conn, 1, 250)
    syncer.tick(at - timedelta(minutes=10))

    said = console.text("statement", "/providers/1")

    assert "balance of the last tick 6,750" in said
    assert "+250 6,750" in said
    assert "balance then 6,500" in said


def test_every_page_says_that_nothing_can_be_changed(console: Console) -> None:
    for path in ("/", "/providers/1", "/ticks", "/ticks/1", "/dead-letters", "/?at=nonsense"):
        answer = console.client.get(path)
        assert '<span class="badge">read-only</span>' in answer.text, path


def test_the_chart_has_numbers_and_gaps(
    console: Console, conn: psycopg.Connection, syncer: Syncer
) -> None:
    at = datetime.now(UTC).replace(second=0, microsecond=0)
    syncer.tick(at - timedelta(minutes=2))
    add(conn, 1, 250)
    syncer.tick(at)

    def ask() -> dict[str, list[float]]:
        answer = console.client.get("/providers/1/series")
        return dict(answer.json()) if answer.is_success else {}

    found = eventually(ask)

    series = dict(zip(found["at"], found["balance"], strict=True))
    assert series[at.timestamp()] == 1550
    assert series[at.timestamp() - 60] is None
    assert series[at.timestamp() - 120] == 1300


def test_what_operators_did_last_is_shown(console: Console, conn: psycopg.Connection) -> None:
    conn.execute(
        "INSERT INTO operator_action (action, subject, outcome, operator)"
        " VALUES ('dead_letter_purged', '17', 'purged', 'mira')"
    )

    said = console.text("actions")

    assert "mira dead_letter_purged 17 purged" in said


def test_the_ticks_of_a_past_time_are_cells_with_links_to_their_audits(
    console: Console, conn: psycopg.Connection, syncer: Syncer
) -> None:
    add(conn, 1, 250)
    syncer.tick(minute(3))
    at = minute(3).strftime("%Y-%m-%dT%H:%M")

    html = console.html(f"/?at={at}")

    assert 'href="/ticks/1"' in html
    assert 'href="/ticks/2"' in html
    assert "2020-01-01T00:02:00Z, no tick" in text_of(html, "ticks")
    assert "2020-01-01T00:02:00Z" in console.text("ticks", f"/ticks?at={at}")


def test_of_a_past_time_all_boundaries_until_then_were_due(console: Console) -> None:
    missed = "2020-01-01T00:09:00Z, no tick"
    at = minute(10).strftime("%Y-%m-%dT%H:%M")

    assert missed in console.text("ticks", f"/?at={at}")
    assert missed.partition(",")[0] in console.text("ticks", f"/ticks?at={at}")
    assert "in the future" in console.html("/ticks?at=2099-01-01T00:00")
