"""`ops statement` and `ops balances PROVIDER --series`, as people and programs read them."""

import csv
import io
import json

import psycopg
import pytest
import redis

from services.syncer import tick_store
from tests.support import keydb_rights, ledger, messages, ops_tool, servers
from tests.support.ledger import minute
from tests.support.ops_tool import Tool
from tests.support.tcp_proxy import proxying

FROM = ("--from", "2020-01-01T00:01")
TO = ("--to", "2020-01-01T00:03")
MANY = 20_000


@pytest.fixture
def ops(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> Tool:
    """The tool beside a ledger with ticks of minutes 1, 2 and 4, and one movement in each."""
    assert store.dbsize() == 0
    messages.add_providers(conn)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
        for number, identity in ((2, "payment-1"), (4, "=2+2")):
            conn.execute(
                "INSERT INTO historical_transactions (provider_id, transaction_value, message_id)"
                " VALUES (1, 600, %s)",
                [identity],
            )
            syncer.tick(minute(number))
    return ops_tool.deployment(dsn, keydb_url=keydb_server.url(keydb_rights.OPERATOR))


def test_a_statement_for_people_begins_and_ends_with_the_ticks_balances(ops: Tool) -> None:
    said = ops("statement", "1_Visa", *FROM, *TO).stdout.splitlines()

    assert [line.split()[-5:] for line in (said[0], said[2])] == [
        ["1000", "opening", "balance,", "tick", "1"],
        ["1600", "closing", "balance,", "tick", "2"],
    ]
    assert "payment-1" in said[1]
    assert "+600" in said[1]
    assert said[3] == "1 movement, +600 in all"


def test_without_a_time_a_statement_begins_with_the_oldest_tick(ops: Tool) -> None:
    found = ops.json("statement", "1_Visa")

    assert found["opening"]["boundary"] == "2020-01-01T00:01:00Z"
    assert [one["message_id"] for one in found["movements"]] == ["payment-1", "=2+2"]


def test_a_statement_as_csv_has_plain_digits_and_no_formulas(ops: Tool) -> None:
    done = ops("statement", "1", *FROM, "--to", "2020-01-01T00:05", "--csv")

    lines = list(csv.DictReader(io.StringIO(done.stdout)))
    shown = [(one["operation"], one["amount"], one["balance"], one["message_id"]) for one in lines]
    assert shown == [
        ("opening", "", "1000", ""),
        ("added", "600", "1600", "payment-1"),
        ("added", "600", "2200", "'=2+2"),
        ("closing", "", "2200", ""),
    ]
    assert lines[1]["boundary"] == "2020-01-01T00:02:00Z"


def test_a_statement_as_json_is_one_document_with_amounts_as_strings(ops: Tool) -> None:
    found = ops.json("statement", "1", *FROM, *TO)

    assert found["opening"] == {
        "epoch": 1, "boundary": "2020-01-01T00:01:00Z", "balance": "1000", "key": "1_Visa",
    }  # fmt: skip
    (movement,) = found["movements"]
    assert movement["message_id"] == "payment-1"
    assert (movement["amount"], movement["balance"], movement["epoch"]) == ("600", "1600", 2)
    assert (found["closing"]["balance"], found["not_itemised"]) == ("1600", "0")


def test_a_long_statement_comes_piece_by_piece(ops: Tool, conn: psycopg.Connection) -> None:
    conn.execute(
        "INSERT INTO historical_transactions (provider_id, transaction_value)"
        " SELECT 1, n FROM generate_series(1, %s) n",
        [MANY],
    )
    with conn.transaction():
        tick_store.lock_ticks(conn)
        ledger.tick_within(conn, minute(5))

    found = json.loads(ops("statement", "1", *FROM, "--json").stdout)

    assert len(found["movements"]) == MANY + 2
    assert found["not_itemised"] == "0"
    assert int(found["closing"]["balance"]) == 2200 + MANY * (MANY + 1) // 2


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_a_statement_that_fails_in_the_middle_leaves_no_half_of_a_document(
    ops: Tool, dsn: str, form: str
) -> None:
    with proxying(dsn) as (proxy, url):
        proxy.lose(b"FETCH FORWARD")
        done = ops("statement", "1", *FROM, form, POSTGRES_DSN=url)

    said = json.loads(done.stdout)["error"]["kind"] if form == "--json" else done.stderr
    assert (done.code, "postgres cannot be reached" in said) == (3, True), done
    assert form == "--json" or done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (
            ("statement", "1", "--from", "2020-01-01"),
            1,
            "nothing is kept of 2020-01-01T00:00:00Z; the oldest",
        ),
        (("statement", "9", *FROM, *TO), 1, "no provider 9"),
        (("statement", "Visa", *FROM, *TO), 2, "1_Visa"),
        (("statement", "1", "--from", "1h", "--to", "2h"), 2, "is after"),
        (("statement", "1", *FROM, "--csv", "--json"), 2, "not both"),
        (("balances", "--series"), 2, "one PROVIDER"),
        (("balances", "1", *FROM), 2, "belong to --series"),
        (("balances", "9"), 1, "no provider 9"),
        (("balances", "1", "--series", *FROM, "--step", "0s"), 2, "not a span"),
        (
            ("balances", "1", "--series", "--to", "0001-01-01T05:00"),
            1,
            "nothing is kept of",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_asked_is_said(
    ops: Tool, arguments: tuple[str, ...], code: int, text: str
) -> None:
    done = ops(*arguments)
    assert (done.code, text in done.stderr + done.stdout) == (code, True), done


def test_a_series_has_a_line_for_each_minute_and_names_gaps(ops: Tool) -> None:
    asked = ("balances", "1", "--series", *FROM, "--to", "2020-01-01T00:04", "--step", "1m")

    found = ops.json(*asked)
    said = ops(*asked).stdout

    assert [(one["epoch"], one["balance"]) for one in found["points"]] == [
        (1, "1000"), (2, "1600"), (None, None), (3, "2200"),
    ]  # fmt: skip
    assert "no tick" in said
    assert "4 times, 1 of them without a tick" in said


def test_balances_of_one_provider_now_and_then(ops: Tool) -> None:
    (now,) = ops.json("balances", "1_Visa")["balances"]
    (then,) = ops.json("balances", "1", "--as-of", "2020-01-01T00:02")["balances"]

    assert (now["key"], now["balance"], now["same"]) == ("1_Visa", 2200, True)
    assert then == {"key": "1_Visa", "balance": 1600}
