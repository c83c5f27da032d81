"""What `ops status` says of followers, and of services that the core does without."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ops.followers.store import Follower
from ops.status.core import assess
from ops.status.snapshot import ABSENT, SILENT, Service, Snapshot
from tests.support.status_probes import (
    ALL_HEALTHY,
    BOUNDARY,
    NOW,
    only,
    shown_to_people,
    with_ledger,
)

FEED = Follower("feed", 7, BOUNDARY, BOUNDARY, 0, 0.0, True, False, None, None)  # noqa: FBT003
LONG_AGO = NOW - timedelta(hours=3)
BEHIND = replace(FEED, moved_at=LONG_AGO, lag_ticks=180, lag_s=10_800.0)


def with_feed(feed: Follower) -> Snapshot:
    return with_ledger(followers=[feed])


def test_a_follower_that_is_up_to_date_or_one_tick_behind_is_no_finding() -> None:
    late = replace(FEED, lag_ticks=1, lag_s=29.0, moved_at=LONG_AGO)

    assert assess(with_feed(FEED)) == assess(with_feed(late)) == []
    assert "feed up to date\n" in shown_to_people(with_feed(FEED))
    assert "feed 1 tick behind\n" in shown_to_people(with_feed(late))
    assert "followers" not in shown_to_people(ALL_HEALTHY)


@pytest.mark.parametrize(
    ("feed", "level", "says", "do"),
    [
        (BEHIND, "wrong", "stands still, 180 ticks behind, for 3 h", "compose logs --tail 50 feed"),
        (replace(BEHIND, running=False), "wrong", "does not run, and is 180", "followers forget"),
        (replace(BEHIND, moved_at=NOW), "note", "catches up: 180 ticks behind", "--watch"),
        (replace(FEED, error="rabbitmq: no confirm"), "wrong", "still: rabbitmq: no", "doctor"),
    ],
    ids=["stands still", "does not run", "catches up", "error"],
)
def test_one_that_stands_still_is_wrong_and_one_that_catches_up_is_not(
    feed: Follower, level: str, says: str, do: str
) -> None:
    found = only(with_feed(feed))

    assert (found.level, found.about) == (level, "feed")
    assert says in found.says
    assert do in found.do


def test_a_service_that_the_core_does_without_may_be_absent_but_not_silent() -> None:
    absent = Service("feed", "feed:9106", {}, ABSENT)

    found = only(replace(ALL_HEALTHY, services=[absent]))
    assert (found.level, found.do) == ("note", "docker compose up -d feed   (if it is wanted)")
    assert "feed not started\n" in shown_to_people(replace(ALL_HEALTHY, services=[absent]))

    silent = replace(absent, error=SILENT)
    assert only(replace(ALL_HEALTHY, services=[silent])).level == "wrong"
    ticker = replace(absent, name="ticker")
    assert only(replace(ALL_HEALTHY, services=[ticker])).level == "wrong"


def test_one_that_is_missed_is_not_said_to_be_dispensable() -> None:
    absent = Service("feed", "feed:9106", {}, ABSENT)
    missed = replace(with_feed(replace(BEHIND, running=False)), services=[absent])

    assert only(missed).level == "wrong"
