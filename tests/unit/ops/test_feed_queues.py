"""`ops feed replay`: to which queues events may go."""

import pytest

from ops.feed.command import is_for_events


@pytest.mark.parametrize("queue", ["changes.shop", "payments.2026.mine", "sightings.mine"])
def test_a_queue_of_a_consumer_gets_events(queue: str) -> None:
    assert is_for_events(queue, {"payments.2026", ""})


@pytest.mark.parametrize(
    "queue",
    [
        "payments.2026", "payments.2026.0", "payments.2026.1", "alerts", "alerts.3",
        "syncer.ticks.1", "sightings", "sightings.retry.1000", "",
    ],
)  # fmt: skip
def test_a_queue_of_ours_of_whatever_shard_gets_none(queue: str) -> None:
    assert not is_for_events(queue, {"payments.2026", ""})
