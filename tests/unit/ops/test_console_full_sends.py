"""When KeyDB was sent everything is known while somebody looks, and since when is said."""

from datetime import UTC, datetime, timedelta

from ops.console.full_sends import WHOLE, FullSends
from ops.console.metrics import Replica

START = datetime(2026, 11, 20, 23, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def syncer(now: float, last: float | None) -> Replica:
    before = {} if last is None else dict.fromkeys(WHOLE, last)
    return Replica("syncer", "a", dict.fromkeys(WHOLE, now), {}, 0, before)


def looked(*polls: tuple[float, float | None]) -> FullSends:
    """Return what is known after polls, a minute apart, of what one syncer counts."""
    made = FullSends()
    for number, (now, last) in enumerate(polls):
        made.note([syncer(now, last)], START + number * MINUTE, START + number * MINUTE)
    return made


def test_a_boundary_is_sent_whole_if_a_syncer_counted_that_since_the_last_look() -> None:
    found = looked((1, None), (1, 1), (2, 1), (2, 2))

    assert found.boundaries == {START + 2 * MINUTE}
    assert found.since == START


def test_what_was_counted_before_the_first_look_is_of_no_boundary() -> None:
    assert looked((7, None)).boundaries == frozenset()


def test_after_a_time_without_looks_it_is_known_anew() -> None:
    found = looked((1, None), (2, 1), (5, None))

    assert found.boundaries == {START + MINUTE}
    assert found.since == START + 2 * MINUTE


def test_a_process_that_began_between_two_looks_counts_from_nothing() -> None:
    assert looked((5, None), (1, 5)).boundaries == {START + MINUTE}
    assert looked((5, None), (0, 5)).boundaries == frozenset()


def test_without_a_syncer_it_is_not_known() -> None:
    found = looked((1, None))
    found.note([], START, START)

    assert found.since is None
