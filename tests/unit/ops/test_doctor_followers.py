"""`ops doctor`: followers that stand still, and queues behind them that have no bound."""

from dataclasses import replace
from typing import Any

import pytest

from ops.doctor.follower_checks import assess, bounds, named
from ops.followers.store import Follower
from tests.support.status_probes import BOUNDARY

FEED = Follower("feed", 7, BOUNDARY, BOUNDARY, 0, 0.0, True, False, None, None)  # noqa: FBT003


def queue(name: str, policy: dict[str, Any] | None = None, **arguments: int) -> dict[str, Any]:
    return {"name": name, "effective_policy_definition": policy, "arguments": arguments}


@pytest.mark.parametrize(
    ("feed", "verdict", "found"),
    [
        (FEED, "ok", "up to date"),
        (replace(FEED, lag_ticks=1, lag_s=2.0), "ok", "1 tick behind, for 2.0 s"),
        (replace(FEED, lag_ticks=9, lag_s=540.0), "warn", "9 ticks behind, for 9 min"),
        (replace(FEED, error="rabbitmq: no confirm"), "warn", "rabbitmq: no confirm"),
    ],
)
def test_a_follower_that_stands_still_is_found(feed: Follower, verdict: str, found: str) -> None:
    check = assess(feed)

    assert (check.verdict, check.found) == (verdict, found)
    assert named([check]) == ["feed"]


def test_a_queue_without_any_bound_is_named_whoever_could_have_set_one() -> None:
    by_policy = queue("changes.a", {"max-length-bytes": 1, "overflow": "drop-head"})
    by_argument = queue("mine", None, **{"x-max-length": 5})
    unbounded = [queue("changes.b", {"delivery-limit": -1}), queue("other")]

    (fine,) = bounds([by_policy, by_argument])
    (wrong,) = bounds([by_policy, *unbounded, by_argument])

    assert fine.verdict == "ok"
    assert (wrong.verdict, wrong.found) == ("warn", "without a bound: changes.b, other")
    assert "'^(changes\\.b|other)$'" in wrong.advice


def test_a_queue_whose_policy_is_not_known_yet_is_not_said_to_have_none() -> None:
    (skipped,) = bounds([{"name": "changes.a", "arguments": {}}])

    assert (skipped.verdict, skipped.found) == ("warn", "not checked")
