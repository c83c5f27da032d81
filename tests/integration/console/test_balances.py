"""Balances on the page are those of the tick, beside what KeyDB shows."""

import psycopg
import redis

from services.syncer.service import Syncer
from tests.support.console_page import Console, rows_of, text_of
from tests.support.eventually import eventually
from tests.support.ledger import add, add_provider, minute


def rows(console: Console, query: str = "") -> dict[str, str]:
    return rows_of(console.html(f"/{query}"))


def test_the_page_has_the_balances_that_keydb_shows(console: Console) -> None:
    assert rows(console) == {"1_Visa": "1300", "2_Mastercard": "1800"}
    assert "differ" not in console.text("verdict")


def test_a_balance_overwritten_by_hand_in_keydb_turns_the_verdict_red(
    console: Console, store: "redis.Redis"
) -> None:
    store.set("1_Visa", "5")

    says = "KeyDB shows 5 for 1_Visa, whose balance is 1300"

    eventually(lambda: says in console.text("verdict"))

    assert rows(console)["1_Visa"] == "1300"
    store.set("1_Visa", "1300")
    eventually(lambda: "KeyDB shows 5" not in console.text("verdict"))


def test_movements_are_those_since_the_last_minute_and_hour(
    console: Console, conn: psycopg.Connection, syncer: Syncer
) -> None:
    add(conn, 1, 250)
    syncer.tick(minute(2))

    said = console.text("balances")

    assert "1_Visa 1,550 +250" in said
    assert "2_Mastercard 1,800 0" in said


def test_what_balances_are_worth_is_shown_once_somebody_said_what_they_are_in(
    console: Console, conn: psycopg.Connection, syncer: Syncer
) -> None:
    assert "Worth" not in console.text("balances")
    conn.execute("INSERT INTO provider_symbol VALUES (1, 'EUR', 2), (2, 'BTC', 8)")
    conn.execute(
        "INSERT INTO price (symbol, currency, day, price) VALUES"
        " ('EUR', 'USD', '2019-12-31', 1.1), ('EUR', 'JPY', '2019-12-31', 160.5),"
        " ('EUR', 'USD', '2020-01-02', 9)"
    )
    add(conn, 1, 250)
    syncer.tick(minute(2))

    said = "1_Visa 1,550 2487.75 JPY, 17.05 USD +250"
    eventually(lambda: said in console.text("balances"))
    assert "BTC" not in console.text("balances"), "it has no price"
    assert "2487.75 JPY of 1 provider; 17.05 USD of 1 provider" in console.text("worth")


def test_a_price_that_comes_after_its_day_is_that_of_the_day_at_the_next_look(
    console: Console, conn: psycopg.Connection
) -> None:
    past = f"/?at={minute(1):%Y-%m-%dT%H:%M}"
    conn.execute("INSERT INTO provider_symbol VALUES (1, 'EUR', 2)")
    for path in ("/", past):
        assert "nothing has a price" in console.text("worth", path)

    conn.execute(
        "INSERT INTO price (symbol, currency, day, price) VALUES ('EUR', 'USD', '2019-12-31', 2)"
    )
    said = "26 USD of 1 provider"
    eventually(lambda: said in console.text("worth"))
    eventually(lambda: said in console.text("worth", past))


def test_a_key_is_found_by_a_part_of_it(console: Console) -> None:
    assert rows(console, "?search=card") == {"2_Mastercard": "1800"}
    assert rows(console, "?search=1_Visa") == {"1_Visa": "1300"}
    assert rows(console, "?search=2") == {"2_Mastercard": "1800"}
    assert rows(console, "?search=%25") == {}


def test_pages_go_on_where_the_last_one_ended(
    console: Console, conn: psycopg.Connection, syncer: Syncer
) -> None:
    for number in range(60):
        add_provider(conn, f"Bank {number}", number)
    syncer.tick(minute(2))

    first, second = rows(console), rows(console, "?after=50")

    assert len(first) == 50
    assert "?after=50" in console.html()
    assert next(iter(second)) == "51_Bank 48"
    assert len(second) == 12


def test_the_order_by_change_is_that_of_the_last_tick(
    console: Console, conn: psycopg.Connection, syncer: Syncer
) -> None:
    third = add_provider(conn, "Diners", 7)
    syncer.tick(minute(2))
    add(conn, 2, -900)
    add(conn, third, 5)
    syncer.tick(minute(3))

    assert list(rows(console, "?order=change")) == ["2_Mastercard", "3_Diners"]


def test_a_past_minute_is_shown_as_it_was(
    console: Console, conn: psycopg.Connection, syncer: Syncer
) -> None:
    add(conn, 1, 250)
    syncer.tick(minute(2))
    at = minute(1).strftime("%Y-%m-%dT%H:%M")

    assert rows(console, f"?at={at}") == {"1_Visa": "1300", "2_Mastercard": "1800"}
    assert f"As of {at}:00Z" in console.text("verdict", f"/?at={at}")
    assert rows(console)["1_Visa"] == "1550"
    assert "nothing is kept" in console.text("verdict", "/?at=2019-01-01T00:00")
    assert "in the future" in console.text("verdict", "/?at=2099-01-01T00:00")
    assert console.client.get("/?at=nonsense").status_code == 400


def test_what_is_not_kept_of_a_past_minute_is_as_it_is_now_and_marked_so(
    console: Console, conn: psycopg.Connection
) -> None:
    conn.execute(
        "INSERT INTO operator_action (action, subject, outcome, operator, created_at)"
        " VALUES ('dead_letter_purged', '17', 'purged', 'mira', '2020-01-01T00:00:30Z'),"
        "        ('dead_letter_purged', '18', 'purged', 'later', now())"
    )
    html = console.html("/?at=2020-01-01T00:01")

    for element in ("flow", "dead-letters", "followers", "doctor"):
        assert "of now" in text_of(html, element), element
    for element in ("ticks", "balances", "actions"):
        assert "of now" not in text_of(html, element), element
    assert "mira" in text_of(html, "actions")
    assert "later" not in text_of(html, "actions")
    assert "of now" not in console.text("main")


def test_names_with_markup_are_text(
    console: Console, conn: psycopg.Connection, syncer: Syncer
) -> None:
    name = "<script>alert(1)</script>&\u202e'\""
    add_provider(conn, name)
    syncer.tick(minute(2))

    html = console.html()

    assert rows_of(html)[f"3_{name}"] == "0"
    assert "<script>alert" not in html
    assert "\\u202e" in console.text("balances")
