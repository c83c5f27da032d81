"""A file of prices is read strictly: each line that is wrong is named by its number."""

import pytest

from ops.prices import csv_file
from ops.prices.csv_file import File
from shared.errors import Refusal

HEAD = "symbol,currency,day,price"
EURO = "EUR,USD,2026-11-28,1.0842"


def parse(*lines: str) -> File:
    return csv_file.parse([f"{one}\n" for one in lines], "ops", lambda _: None)


def errors(*lines: str) -> list[tuple[int, str]]:
    return [(one.line, one.error) for one in parse(*lines).invalid]


def test_columns_come_in_any_order_and_blank_lines_are_skipped() -> None:
    found = parse("price,day,symbol,currency", "", "1.0842,2026-11-28,EUR,USD", "")

    assert found.prices == parse(HEAD, EURO).prices
    assert found.lines == [3]


def test_a_price_without_a_name_is_named_by_what_it_is_the_price_of() -> None:
    (named,) = parse(HEAD, EURO).prices
    assert (named.source, named.source_id, named.version) == ("ops", "EUR/USD/2026-11-28", None)

    (given,) = parse(f"{HEAD},source_id,version", f"{EURO},A,-3").prices
    assert (given.source_id, given.version) == ("A", -3)

    (empty,) = parse(f"{HEAD},source_id,version", f"{EURO},,").prices
    assert empty == named


def test_each_line_that_is_wrong_is_named_and_the_others_are_read() -> None:
    found = parse(HEAD, "EUR,USD,2026-02-30,1", EURO, "EUR,usd,2026-11-28,1", "EUR,USD,2026-11-29")

    assert [one.line for one in found.invalid] == [2, 4, 5]
    assert len(found.prices) == 1
    assert found.invalid[2].error.startswith("3 columns under a header of 4")


def test_a_decimal_comma_is_found() -> None:
    assert "a decimal comma" in errors(HEAD, "EUR,USD,2026-11-28,1,0842")[0][1]


def test_the_same_day_or_name_twice_is_wrong() -> None:
    assert errors(HEAD, EURO, "JPY,USD,2026-11-28,1", EURO) == [
        (4, "the same symbol, currency, day as in line 2")
    ]
    head = f"{HEAD},source_id"
    assert errors(head, f"{EURO},A", "EUR,USD,2026-11-29,1,A") == [
        (3, "the same source_id as in line 2")
    ]


def test_a_version_is_a_whole_number() -> None:
    head = f"{HEAD},version"
    for text in ("1.0", "x", " 1", "9" * 20):
        assert errors(head, f"{EURO},{text}") == [(2, "version must be an integer")]
    assert errors(head, f"{EURO},{2**63}")[0][1].startswith("version must be from")


def test_more_wrong_lines_than_are_kept_are_counted() -> None:
    found = parse(HEAD, *["x,USD,2026-11-28,-1"] * 150)

    assert (found.invalid_lines, len(found.invalid)) == (150, csv_file.INVALID_KEPT_MAX)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "does not name the column symbol and currency and day and price"),
        ([EURO], "line 1: the column 'EUR' is not known"),
        ([f"{HEAD},price", EURO], "the column 'price' is there 2 times"),
        (["symbol;currency;day;price"], "is not known"),
        ([HEAD, '"EUR,USD,2026-11-28,1'], "a quote that is not closed"),
    ],
)
def test_a_file_of_which_nothing_is_known_is_refused(lines: list[str], says: str) -> None:
    with pytest.raises(Refusal, match=says):
        parse(*lines)


def test_there_may_be_so_many_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "LINES_MAX", 2)
    days = [f"EUR,USD,2026-11-0{number},1" for number in (1, 2, 3)]

    assert len(parse(HEAD, *days[:2]).prices) == 2
    with pytest.raises(Refusal, match="more than 2 lines"):
        parse(HEAD, *days)
