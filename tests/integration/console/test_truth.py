"""Awkward ledgers: what the page says is what `ops` says, and nothing that is wrong looks right."""

import socket
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
import redis
from pydantic import Secret

from ops.console import balance_store, comparison
from ops.console.balances import Balances
from ops.console.comparison import REMEMBERED_MAX, Comparison
from ops.console.rendering import NOTHING
from services.syncer.projection import WATERMARK_KEY
from services.syncer.service import Syncer
from shared import postgres_pool
from shared.settings import PostgresSettings
from tests.support import console_page, keydb_rights, servers
from tests.support.console_page import Console, rows_of, text_of
from tests.support.ledger import add, add_provider, keydb_client, minute, truth
from tests.support.ops_tool import Tool

LARGE = 2**63 - 1


def add_with_id(conn: psycopg.Connection, number: int, name: str, initial: int) -> None:
    conn.execute(
        "INSERT INTO initial_data (id, provider_name, initial_value) OVERRIDING SYSTEM VALUE"
        " VALUES (%s, %s, %s)",
        [number, name, initial],
    )


def row(console: Console, key: str) -> list[str]:
    """Return balance, changes of the minute and hour, transactions, last seen, and so on."""
    return console.text("balances").partition(key)[2].split()


@pytest.fixture
def comparing(settings: dict[str, str], keydb_server: servers.Keydb) -> Iterator[Comparison]:
    """What a console compares by, in this process."""
    chosen = PostgresSettings(postgres_dsn=Secret(settings["POSTGRES_DSN"]))
    with (
        postgres_pool.opened(
            chosen, application="test", size_max=1, options=balance_store.OPTIONS
        ) as pool,
        keydb_client(keydb_server.url(keydb_rights.OPERATOR)) as client,
    ):
        yield Comparison(pool, Balances(pool, client, 60))


def test_every_balance_is_that_of_the_command_line(
    console: Console, conn: psycopg.Connection, syncer: Syncer, settings: dict[str, str]
) -> None:
    add_with_id(conn, -7, "Negative", -5)
    add_with_id(conn, LARGE, "Last", LARGE)
    add_with_id(conn, LARGE - 1, "Least", -LARGE - 1)
    gone = add_provider(conn, "Gone", 5)
    renamed = add_provider(conn, "Before", 6)
    syncer.tick(minute(2))
    conn.execute("DELETE FROM initial_data WHERE id = %s", [gone])
    conn.execute("UPDATE initial_data SET provider_name = 'After' WHERE id = %s", [renamed])
    add(conn, 1, -(2**62))
    syncer.tick(minute(3))

    found = Tool(settings).json("balances")["balances"]
    shown = rows_of(console.html())

    assert shown == truth(conn)
    assert shown == {one["key"]: str(one["balance"]) for one in found}
    assert next(iter(shown)) == "-7_Negative"
    assert "differ" not in console.text("verdict")
    for key in (f"{LARGE}_Last", "-7_Negative"):
        assert rows_of(console.html(f"/?search={key}")) == {key: shown[key]}
        page = console.html(f"/providers/{key.partition('_')[0]}")
        assert f'data-balance="{shown[key]}"' in page
    assert rows_of(console.html(f"/?after={LARGE - 1}")) == {f"{LARGE}_Last": str(LARGE)}


def test_transactions_a_minute_are_of_the_time_between_the_two_ticks(
    console: Console, conn: psycopg.Connection, syncer: Syncer
) -> None:
    for _ in range(30):
        add(conn, 1, 1)
    syncer.tick(minute(11))  # ten boundaries after the one before

    assert row(console, "1_Visa")[3] == "3"


def test_when_a_balance_moved_is_not_guessed_once_its_tick_is_gone(
    console: Console, conn: psycopg.Connection, syncer: Syncer
) -> None:
    add(conn, 2, 1)
    syncer.tick(minute(2))
    syncer.tick(minute(3))
    conn.execute("DELETE FROM tick WHERE epoch < 2")

    assert row(console, "1_Visa")[4] == NOTHING
    assert row(console, "2_Mastercard")[4] == "00:02:00"


def test_what_differs_beyond_what_is_remembered_is_not_forgotten(
    comparing: Comparison,
    conn: psycopg.Connection,
    syncer: Syncer,
    store: "redis.Redis",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparison, "AT_ONCE", 2 * REMEMBERED_MAX)
    names = [f"Bank {number}" for number in range(3 * REMEMBERED_MAX)]
    ids = [add_provider(conn, one, 7) for one in names]
    syncer.tick(minute(2))
    keys = [f"{number}_{name}" for number, name in zip(ids, names, strict=True)]
    store.mset(dict.fromkeys(keys[: REMEMBERED_MAX + 1], "8"))
    assert len(comparing.step()) == REMEMBERED_MAX

    store.mset(dict.fromkeys(keys[:REMEMBERED_MAX], "7"))

    assert [one.key for one in comparing.step()] == [keys[REMEMBERED_MAX]]


def test_a_watermark_that_is_no_number_of_a_tick_hides_no_balance(
    console: Console, store: "redis.Redis"
) -> None:
    store.hset(WATERMARK_KEY, "epoch", "9" * 5000)
    assert rows_of(console.html()) == {"1_Visa": "1300", "2_Mastercard": "1800"}
    assert "bug" not in console.program.logs()


@pytest.mark.usefixtures("syncer")
def test_keydb_that_hangs_is_not_reported_as_postgres(settings: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = settings | {"KEYDB_URL": f"redis://127.0.0.1:{silent.getsockname()[1]}/0"}
        with console_page.running(hanging) as console:
            html = console.html()

    assert "postgres gives no answer" not in text_of(html, "verdict")
    assert 'id="box-keydb" data-state="wrong"' in html
    assert 'id="box-postgres" data-state="wrong"' not in html
    assert rows_of(html)


def test_before_the_first_tick_nothing_is_shown_and_that_is_said(console: Console) -> None:
    before = (minute(1) - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%S")

    for path in ("/?at=", "/ticks?at="):
        html = console.html(path + before)

        assert rows_of(html) == {}
        assert "nothing is kept" in html or "No tick yet" in html


def test_odd_numbers_are_a_page_or_are_said_to_be_none(console: Console) -> None:
    for odd in ("00", "-1", str(LARGE), str(LARGE + 1), "text", "1.5", "1_", "%00"):
        for path in (f"/providers/{odd}", f"/providers/{odd}/series"):
            assert console.client.get(path).status_code in (200, 404, 503), path
    for odd in ("0", "1", "9" * 18):
        console.html(f"/ticks/{odd}")

    assert "bug" not in console.program.logs()
