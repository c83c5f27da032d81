"""`ops prices`: imported wholly or not at all, listed, deleted, on record."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from ops.prices import store as price_lines
from tests.support import ops_tool
from tests.support.ops_tool import Done, Tool
from tests.support.tcp_proxy import proxying

HEAD = "symbol,currency,day,price"
STORED = """
SELECT symbol, currency, day::text, price::text, source, source_id, version
  FROM price
 ORDER BY symbol, currency, day, source_id
"""
ACTIONS = "SELECT action, subject, operator, detail FROM operator_action ORDER BY id"
EURO = ("EUR", "USD", "2026-11-28", "1.0842", "ops", "EUR/USD/2026-11-28", None)


@pytest.fixture
def ops(dsn: str) -> Tool:
    """The tool beside a Postgres; the other servers are down."""
    return ops_tool.deployment(dsn)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with two prices."""
    return written(tmp_path, "EUR,USD,2026-11-28,1.0842", "EUR,USD,2026-11-29,1.09")


def written(folder: Path, *lines: str, head: str = HEAD) -> Path:
    path = folder / "prices.csv"
    path.write_text("\n".join((head, *lines)) + "\n")
    return path


def stored(conn: psycopg.Connection) -> list[tuple[Any, ...]]:
    return conn.execute(STORED).fetchall()


def imported(ops: Tool, file: Path, *options: str) -> Done:
    return ops("prices", "import", str(file), *options)


def test_a_file_is_imported_on_record_and_the_same_again_changes_nothing(
    ops: Tool, conn: psycopg.Connection, file: Path
) -> None:
    assert ops.json("prices", "import", str(file)) == {
        "file": str(file), "lines": 2, "dry_run": False, "applied": 2, "ignored": 0,
        "errors_total": 0, "errors": [],
    }  # fmt: skip
    first = stored(conn)
    assert first[0] == EURO
    assert imported(ops, file).stdout == "2 prices imported\n"

    assert stored(conn) == first
    action, subject, operator, detail = conn.execute(ACTIONS).fetchall()[0]
    assert (action, subject, operator) == ("prices_imported", "prices.csv", "night shift")
    assert (detail["source"], detail["lines"], detail["applied"]) == ("ops", 2, 2)
    assert len(detail["sha256"]) == 64


def test_a_corrected_file_corrects_and_standard_input_is_a_file_too(
    ops: Tool, conn: psycopg.Connection, file: Path
) -> None:
    imported(ops, file)

    done = ops("prices", "import", "-", stdin=f"{HEAD}\nEUR,USD,2026-11-29,1.10\n")

    assert done.stdout == "1 price imported\n"
    assert [one[3] for one in stored(conn)] == ["1.0842", "1.10"]


def test_a_dry_run_whose_server_is_lost_as_it_is_taken_back_has_its_answer(
    dsn: str, conn: psycopg.Connection, file: Path
) -> None:
    with proxying(dsn) as (proxy, cut_dsn):
        proxy.lose(b"ROLLBACK")
        done = imported(ops_tool.deployment(cut_dsn), file, "--dry-run")
        assert proxy.cuts == 1
    assert (done.code, done.stdout) == (0, "2 prices would be imported\n")
    assert stored(conn) == []


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(
    ops: Tool, conn: psycopg.Connection, file: Path
) -> None:
    assert imported(ops, file, "--dry-run").stdout == "2 prices would be imported\n"
    assert stored(conn) == []
    assert conn.execute(ACTIONS).fetchall() == []


def test_of_a_file_with_a_wrong_line_nothing_is_imported_and_each_is_named(
    ops: Tool, conn: psycopg.Connection, tmp_path: Path
) -> None:
    file = written(tmp_path, "EUR,USD,2026-11-28,1", "EUR,USD,2026-11-31,1", "X,usd,2026-11-28,1")

    done = imported(ops, file)
    document = ops.json("prices", "import", str(file), code=1)

    assert done.code == 1
    assert done.stderr.splitlines()[0] == "nothing was imported: 2 lines are wrong"
    assert "line 3: day must be a day" in done.stderr
    assert [one["line"] for one in document["errors"]] == [3, 4]
    assert (document["applied"], document["errors_total"]) == (0, 2)
    assert stored(conn) == []


def test_a_conflict_in_a_late_line_takes_all_back(
    ops: Tool, conn: psycopg.Connection, tmp_path: Path
) -> None:
    """Lines are written some thousand at a time, within one transaction."""
    conn.execute("INSERT INTO price VALUES ('X9999', 'USD', '2026-11-28', 1, 'ecb', 'seven', NULL)")
    number = price_lines.LINES_AT_ONCE + 1
    lines = [f"X{one},USD,2026-11-28,1" for one in range(9999 - number, 10000)]

    done = imported(ops, written(tmp_path, *lines))

    assert (done.code, len(stored(conn))) == (1, 1)
    assert f"line {number + 2}: the price of X9999 in USD on 2026-11-28 came from ecb (seven)" in (
        done.stderr
    )


def test_versions_that_are_not_larger_are_ignored(
    ops: Tool, conn: psycopg.Connection, tmp_path: Path
) -> None:
    def versions(*lines: str) -> str:
        head = f"{HEAD},source_id,version"
        return imported(ops, written(tmp_path, *lines, head=head), "--source", "ecb").stdout

    versions("EUR,USD,2026-11-28,1,A,5", "EUR,USD,2026-11-29,1,B,5")
    said = versions("EUR,USD,2026-11-28,2,A,5", "EUR,USD,2026-11-29,2,B,6")

    assert said == "1 price imported, 1 ignored: not of a larger version\n"
    assert [one[3:] for one in stored(conn)] == [("1", "ecb", "A", 5), ("2", "ecb", "B", 6)]


def test_prices_are_listed_newest_first_by_what_is_asked_for(ops: Tool, file: Path) -> None:
    imported(ops, file)
    ops("prices", "import", "-", "--source", "x", stdin=f"{HEAD}\nBTC,EUR,2026-11-28,80000\n")

    def listed(*options: str) -> list[tuple[str, str]]:
        found = ops.json("prices", "list", *options)["prices"]
        return [(one["symbol"], one["day"]) for one in found]

    every = [("BTC", "2026-11-28"), ("EUR", "2026-11-29"), ("EUR", "2026-11-28")]
    assert listed() == every
    assert listed("--symbol", "EUR") == every[1:]
    assert listed("--currency", "eur") == every[:1]
    assert listed("--from", "2026-11-29") == every[1:2]
    assert listed("--to", "2026-11-28") == [every[0], every[2]]
    assert listed("--source", "x") == every[:1]
    assert "1 price; there are more: --limit" in ops("prices", "list", "--limit", "1").stdout


def test_the_price_that_counts_on_a_day_is_the_newest_not_after_it(ops: Tool, file: Path) -> None:
    imported(ops, file)

    def shown(*options: str) -> str:
        price: str = ops.json("prices", "show", "EUR", "usd", *options)["price"]["price"]
        return price

    assert shown("--day", "2026-11-28") == "1.0842"
    assert shown("--day", "2026-11-30") == "1.09"
    gone = ops("prices", "show", "EUR", "USD", "--day", "2026-11-27")
    assert (gone.code, gone.stderr) == (1, "refused: EUR has no price in USD until 2026-11-27\n")


def test_a_deleted_price_is_gone_and_its_version_still_holds(
    ops: Tool, conn: psycopg.Connection, file: Path
) -> None:
    imported(ops, file)
    conn.execute("UPDATE price SET version = 7 WHERE price = 1.0842")
    chosen = ("prices", "delete", "--symbol", "EUR", "--to", "2026-11-28")

    assert ops(*chosen, "--dry-run").stdout == "1 price would be deleted\n"
    assert len(ops.json("prices", "list")["prices"]) == 2
    assert ops.json(*chosen) == {"deleted": 1, "dry_run": False}
    assert ops(*chosen).stdout == "0 prices deleted\n"

    assert [one["day"] for one in ops.json("prices", "list")["prices"]] == ["2026-11-29"]
    assert (None, None, None, None, "ops", "EUR/USD/2026-11-28", 7) in stored(conn)
    done = conn.execute(ACTIONS).fetchall()[1]
    assert (done[0], done[1], done[3]["prices"]) == ("prices_deleted", "EUR", 1)
    assert imported(ops, file).stdout == "2 prices imported\n"
    assert ops("prices", "delete", "--currency", "USD").code == 2


def test_a_provider_gets_a_symbol_and_loses_it_on_record(
    ops: Tool, conn: psycopg.Connection
) -> None:
    conn.execute("INSERT INTO initial_data VALUES (1, 'Visa', 0)")

    assert "note" not in ops.json("prices", "assign", "1_Visa", "EUR", "--scale", "2")
    assert "note" in ops.json("prices", "assign", "9", "BTC", "--scale", "8")
    ops("prices", "assign", "1", "CHF", "--scale", "0")

    assert ops.json("prices", "symbols")["symbols"] == [
        {"provider_id": 1, "symbol": "CHF", "scale": 0},
        {"provider_id": 9, "symbol": "BTC", "scale": 8},
    ]
    assert ops("prices", "unassign", "9").code == 0
    assert ops("prices", "unassign", "9").stderr == "refused: provider 9 has no symbol\n"
    for scale in ("-1", "19", "x"):
        assert ops("prices", "assign", "1", "EUR", "--scale", scale).code == 2
    assert ops("prices", "assign", "1", "", "--scale", "2").code == 2
    actions = conn.execute(ACTIONS).fetchall()
    assert [one[:2] for one in actions] == [
        ("symbol_assigned", "1"), ("symbol_assigned", "9"), ("symbol_assigned", "1"),
        ("symbol_unassigned", "9"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [
        "('X', 'USD', '2026-11-28', NULL)",
        "('X', NULL, '2026-11-28', 1)",
        "('X', 'usd', '2026-11-28', 1)",
        "('X', 'USD', '2026-11-28', -1)",
        "('X', 'USD', '2026-11-28', 'NaN')",
        "('X', 'USD', '2026-11-28', 'Infinity')",
        "('X', 'USD', 'infinity', 1)",
        "('', 'USD', '2026-11-28', 1)",
    ],
)
def test_by_sql_nothing_else_is_a_price_either(conn: psycopg.Connection, row: str) -> None:
    insert = "INSERT INTO price (symbol, currency, day, price) VALUES"
    conn.execute(f"{insert} ('X', 'USD', '2026-11-27', 1)".encode())
    with pytest.raises(psycopg.errors.CheckViolation):
        conn.execute(f"{insert} {row}".encode())
