"""What the page writes: amounts, and foreign text that stays text."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from ops.console import drawing, rendering
from ops.console.balance_store import Last
from ops.console.listing import Asked, Listing, OfShard, Row
from ops.console.poll import Found
from tests.support.console_page import text_of

AT = datetime(2026, 11, 20, 23, 42, tzinfo=UTC)
TICK = Last(7, AT, "1:1:", None, None, None)


def balances(*rows: Row, asked: Asked | None = None) -> str:
    template = rendering.environment().get_template("balances.html")
    asked = asked or Asked()
    return template.render(asked=asked, found=Found(Listing(asked, TICK, rows)))


def row(key: str, balance: int = 1900) -> Row:
    return Row(1, key, balance, 600, -5, 2.0, AT, [], str(balance), same=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234567, "1,234,567"), (-1900, "\u22121,900"), (None, rendering.NOTHING)],
)
def test_amounts_have_groups_and_a_minus_sign(value: int | None, text: str) -> None:
    assert rendering.amount(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (600, "+600"), (-1900, "\u22121,900")])
def test_differences_have_a_sign(value: int, text: str) -> None:
    assert rendering.change(value) == text


def test_markup_in_a_name_is_text() -> None:
    html = balances(row('1_<script>alert("1")</script>\'" onload=x'))

    assert "<script" not in html
    assert 'alert("' not in html
    assert '1_<script>alert("1")</script>' in text_of(html, "balances")


@pytest.mark.parametrize("sign", ["\u202e", "\x07", "\n", "\u2066", "\x1b[31m"])
def test_signs_that_move_or_hide_text_are_written_out(sign: str) -> None:
    shown = text_of(balances(row(f"1_a{sign}b")), "balances")

    assert sign not in shown
    assert "1_a\\" in shown


def test_a_row_names_key_and_balance_for_programs() -> None:
    html = balances(row("1_Diners & Club", -1900))

    assert 'data-key="1_Diners &amp; Club"' in html
    assert 'data-balance="-1900"' in html


def test_no_providers_at_all_is_said() -> None:
    assert "No providers yet" in text_of(balances(), "balances")
    assert "No key here has this text" in text_of(balances(asked=Asked(search="x")), "balances")


def test_a_page_is_addressed_with_all_that_was_asked() -> None:
    asked = Asked(AT, "change", "a&b", 7)

    assert rendering.address(asked, after=50) == (
        "at=2026-11-20T23%3A42%3A00%2B00%3A00&order=change&search=a%26b&after=50"
    )
    assert rendering.address(Asked()) == ""
    assert rendering.address(Asked(search="id")) == "search=id"


def test_a_line_is_interrupted_where_nothing_is_known() -> None:
    assert drawing.points([None, None]) == []
    assert len(drawing.points([1, 2, None, 2, 1])) == 2
    assert drawing.points([5, 5]) == ["0.0,12.0 100.0,12.0"]


def test_lateness_is_bounded_by_the_drawing() -> None:
    shares = [drawing.log_share(late) for late in (-1.0, 0.0, 0.001, 1.0, 1e9)]

    assert shares == [0.0, 0.0, 0.0, 0.6, 1.0]


def test_the_time_of_day_is_utc_and_has_a_date_if_it_is_another_days() -> None:
    at = AT.astimezone(timezone(timedelta(hours=-3)))

    assert rendering.clock(at, AT) == "23:42:00"
    assert rendering.clock(at, AT + timedelta(minutes=18)) == "2026-11-20 23:42"


def test_commands_on_a_page_of_a_shard_name_it() -> None:
    template = rendering.environment().get_template("balances.html")
    empty = Found(Listing(Asked(), TICK))

    def shown(place: rendering.Place) -> str:
        return template.render({**place, "asked": Asked(), "found": empty})

    assert "<code>ops --shard 1 provider add" in shown(rendering.place(2, 1))
    assert "<code>ops provider add" in shown(rendering.ONLY)
    of_one = [
        one for one in rendering.HERE.glob("templates/*.html") if not one.stem.endswith("_of_all")
    ]
    assert [one.name for one in of_one if "<code>ops " in one.read_text(encoding="utf-8")] == []


def test_a_shard_whose_worth_is_not_known_is_named_below_the_table_with_its_tick() -> None:
    shards = (OfShard(0, TICK), OfShard(1, TICK, worth_error="no answer within 2.0 s"))
    page = Listing(Asked(), TICK, shards=shards)

    html = (
        rendering.environment()
        .get_template("balances.html")
        .render(asked=Asked(), found=Found(page))
    )

    assert "Worth not known of shard 1: no answer within 2.0 s" in html
    assert "shard 1 at the tick of" in html
