"""The last boundaries as cells: shown, late, missed; how late in the middle and at worst."""

from datetime import UTC, datetime, timedelta

from ops.console import ticks
from ops.console.tick_store import TICKS, Tick

START = datetime(2026, 11, 20, 23, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def tick(number: int, late_s: float | None = 0.03, **marks: bool) -> Tick:
    boundary = START + number * MINUTE
    shown = None if late_s is None else boundary + timedelta(seconds=late_s)
    flags = dict.fromkeys(("is_baseline", "is_failover", "is_rebuilt"), False) | marks
    return Tick(number + 1, boundary, shown, 10, **flags)


def seen(*found: Tick, after_s: float = 3.0, whole: frozenset[datetime] = frozenset()) -> dict:  # type: ignore[type-arg]
    now = found[-1].boundary + timedelta(seconds=after_s) if found else START
    return ticks.view(found, 60, now, whole)


def states(found: dict) -> list[str]:  # type: ignore[type-arg]
    return [one.state for one in found["cells"]]


def test_before_the_first_tick_there_is_no_cell() -> None:
    found = seen()

    assert found["cells"] == []
    assert found["median_s"] is None
    assert found["p99_s"] is None


def test_a_boundary_without_a_tick_is_missed() -> None:
    found = seen(tick(0), tick(1), tick(4))

    assert states(found) == ["shown", "shown", "missed", "missed", "shown"]
    assert found["missed"] == 2
    assert found["cells"][2].epoch is None


def test_a_boundary_that_has_passed_without_a_tick_is_missed_once_it_had_its_time() -> None:
    assert states(seen(tick(0), after_s=61.0)) == ["shown"]
    assert states(seen(tick(0), after_s=63.0)) == ["shown", "missed"]


def test_what_was_before_the_first_tick_was_not_missed() -> None:
    found = seen(tick(7))

    assert len(found["cells"]) == 1
    assert found["begins"] == START + (7 - TICKS + 1) * MINUTE  # of where the drawing begins


def test_there_are_120_cells_at_most() -> None:
    found = seen(tick(0), tick(500))

    assert len(found["cells"]) == TICKS
    assert found["cells"][-1].boundary == START + 500 * MINUTE


def test_late_is_what_took_more_than_a_second_and_what_keydb_never_showed_is_unpublished() -> None:
    found = seen(tick(0, 0.02), tick(1, 1.2), tick(2, None))

    assert states(found) == ["shown", "late", "unpublished"]
    assert found["over"] == 1


def test_the_height_is_logarithmic_and_a_second_is_where_the_line_is() -> None:
    cells = seen(tick(0, 0.01), tick(1, 0.1), tick(2, 1.0))["cells"]

    steps = cells[1].height - cells[0].height, cells[2].height - cells[1].height
    assert round(steps[0], 6) == round(steps[1], 6)
    assert round(cells[2].y, 6) == round(seen(tick(0))["second_y"], 6)


def test_median_and_p99_are_of_the_ticks_that_were_shown() -> None:
    found = seen(*(tick(number, (number + 1) / 1000) for number in range(100)), tick(100, None))

    assert found["median_s"] == 0.0505
    assert found["p99_s"] == 0.099


def test_whole_sends_baselines_and_failovers_are_marked() -> None:
    found = seen(
        tick(0),
        tick(1),
        tick(2, is_baseline=True),
        tick(3, is_failover=True),
        tick(4, is_rebuilt=True),
        whole=frozenset({START + MINUTE}),
    )["cells"]

    assert [one.full for one in found] == [False, True, True, False, True]
    assert [one.mark for one in found] == ["", "", "baseline", "failover", ""]
    assert "all balances sent" in found[1].title
    assert "ticks before it were lost" in found[3].title
