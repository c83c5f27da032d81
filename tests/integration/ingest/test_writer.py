"""The writer with the test as its thread: what it commits it acknowledges, and nothing else."""

import threading
from collections import deque

import psycopg
import pytest

from services.ingest import metrics
from services.ingest.commit_pacing import COMMIT_EVERY_S, QUIET_AFTER_S
from services.ingest.service import Outcome, store_batch
from shared.errors import Unavailable
from tests.support import messages, refusing_trigger
from tests.support.messages import (
    FakeChannel,
    body,
    counted,
    dead_letters,
    idle_writer,
    rows,
    truth,
    validated,
)

pytestmark = pytest.mark.usefixtures("providers")


class Waits(threading.Event):
    """Notes for how long it was waited for, and never waits."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.asked.append(timeout or 0.0)
        return self.is_set()


def test_what_was_committed_and_not_acknowledged_is_a_duplicate_when_it_comes_again(
    ours: psycopg.Connection,
) -> None:
    before = metrics.DUPLICATES._value.get()  # noqa: SLF001 - there is no public reading
    for _ in range(2):  # a channel whose channel died with its acknowledgements
        channel = FakeChannel()
        channel.receive(validated(body(1, 600), "m1", tag=1))
        channel.receive(validated(b"{", "m2", tag=2))
        idle_writer(ours, channel).run_once(ours)
        assert channel.acknowledged == [2]
    assert metrics.DUPLICATES._value.get() == before + 1  # noqa: SLF001
    assert rows(ours) == [(1, 600)]
    assert len(dead_letters(ours)) == 1
    assert counted(ours) == truth(ours)


def test_a_batch_is_kept_until_postgres_takes_it_and_is_acknowledged_only_then(
    ours: psycopg.Connection,
) -> None:
    channel = FakeChannel()
    channel.receive(validated(body(1, 1), tag=1))
    ours_writer = idle_writer(ours, channel)
    refusing_trigger.create(ours, "25006")
    for number in (1, 2):
        with pytest.raises(Unavailable):
            ours_writer.run_once(ours)
        assert channel.backlog.unacknowledged() == number
        channel.receive(validated(body(1, 2), tag=2))
    assert channel.acknowledged == []
    refusing_trigger.drop(ours)
    ours_writer.run_once(ours)
    assert (channel.acknowledged, rows(ours)) == ([2], [(1, 1), (1, 2)])
    assert channel.backlog.unacknowledged() == 0


def test_no_batch_is_begun_around_a_boundary(ours: psycopg.Connection) -> None:
    stop, channel, clock = Waits(), FakeChannel(), deque([60.0, 60.5])
    ours_writer = idle_writer(ours, channel, clock.popleft, stop)
    ours_writer.run_once(ours)
    assert stop.asked == [], "whatever comes then is to wait, too"
    for number in (1, 2):
        channel.receive(validated(body(1, number), tag=number))
        ours_writer.run_once(ours)
    around, later = stop.asked
    assert around == pytest.approx(QUIET_AFTER_S)
    assert later <= COMMIT_EVERY_S
    assert rows(ours) == [(1, 1), (1, 2)]


def test_rows_and_dead_letters_of_a_batch_are_kept_together_or_not_at_all(
    ours: psycopg.Connection,
) -> None:
    batch = [validated(body(1, 1), "m1"), validated(b"{", "m2")]
    written = []

    def refuse(_: Outcome) -> None:  # called last, after all was written
        written.extend([rows(ours), dead_letters(ours)])
        pytest.fail("no")

    with pytest.raises(pytest.fail.Exception):
        store_batch(ours, batch, messages.rules(ours), before_commit=refuse)
    assert written == [[(1, 1)], [("not_json", "open", b"{")]]
    assert (rows(ours), dead_letters(ours)) == ([], [])
    ours.execute("ALTER TABLE dead_letter RENAME TO out_of_reach")
    outcome = store_batch(ours, batch, messages.rules(ours))
    assert (outcome.inserted, [one.identity for one in outcome.deferred]) == (1, ["m2"])
    ours.execute("ALTER TABLE out_of_reach RENAME TO dead_letter")
    assert (rows(ours), dead_letters(ours)) == ([(1, 1)], [])
