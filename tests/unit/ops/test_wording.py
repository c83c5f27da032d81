"""Ages, times and foreign text as people read them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from ops.wording import age, count, moment, visible


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0121, "12 ms"),
        (3.44, "3.4 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (3 * 3600 + 600, "3 h 10 min"),
        (4 * 86400 + 7300, "4 d 2 h"),
        (-2.0, "-2.0 s"),
        (-0.0001, "0 ms"),
    ],
)
def test_an_age_is_written_as_a_person_says_it(seconds: float | None, text: str) -> None:
    assert age(seconds) == text


def test_a_time_is_written_in_utc_whatever_its_zone() -> None:
    elsewhere = datetime(2026, 11, 21, 0, 42, tzinfo=timezone(timedelta(hours=1)))

    assert moment(elsewhere) == "2026-11-20T23:42:00Z"
    assert moment(datetime(2026, 1, 1, 0, 0, 0, 7000, UTC)) == "2026-01-01T00:00:00.007Z"
    assert moment(None) == "-"


def test_numbers_come_with_their_noun() -> None:
    assert count(1, "row") == "1 row"
    assert count(12000, "row") == "12,000 rows"
    assert count(2, "message waits", "messages wait") == "2 messages wait"


def test_foreign_text_cannot_move_a_terminal() -> None:
    assert visible("Vi\x1b[2Jsa\n") == "Vi\\x1b[2Jsa\\n"
    assert visible("Crédit [bold]") == "Crédit [bold]"
