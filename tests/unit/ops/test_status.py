"""What `ops status` says of what it sees: words, and what to type next."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ops.status.core import assess
from ops.status.snapshot import (
    Blocked,
    Dead,
    Down,
    Queues,
    Snapshot,
    Unacknowledged,
)
from shared.amqp.connection import QueueState
from shared.amqp.ticks import QUEUE as TICK_QUEUE
from shared.ledger.disk_usage import DiskUsage
from tests.support.status_probes import (
    ALL_HEALTHY,
    BOUNDARY,
    LEDGER,
    NOW,
    QUEUES,
    SHOWN,
    TICK,
    only,
    shown_to_people,
    with_ledger,
    with_shown,
    with_tick,
)


def test_nothing_is_said_when_all_is_healthy() -> None:
    assert assess(ALL_HEALTHY) == []


@pytest.mark.parametrize(
    ("full_in_s", "level", "says"),
    [
        (0.0, "wrong", "the disk is full"),
        (5 * 3600, "wrong", "the disk is full in 5 h at the rate of the last hours"),
        (50 * 3600, "note", "the disk is full in 2 d 2 h at the rate of the last hours"),
    ],
)
def test_a_disk_that_will_be_full_is_said_in_time(full_in_s: float, level: str, says: str) -> None:
    found = only(with_ledger(disk=DiskUsage(10**9, 10**8, 2e9, 10**7, full_in_s)))

    assert (found.level, found.about, found.says) == (level, "disk", says)
    assert "docker compose exec postgres df -h" in found.do


@pytest.mark.parametrize("full_in_s", [None, 100 * 3600])
def test_a_disk_that_has_room_or_whose_size_nobody_said_is_no_finding(
    full_in_s: float | None,
) -> None:
    assert assess(with_ledger(disk=DiskUsage(10**9, 10**8, None, 10**7, full_in_s))) == []


def test_a_message_that_ingest_does_not_acknowledge_is_wrong_and_one_that_passes_is_not() -> None:
    def holding(*, stuck: bool) -> Snapshot:
        return replace(
            ALL_HEALTHY, rabbitmq=replace(QUEUES, unacknowledged=Unacknowledged(1, stuck))
        )

    found = only(holding(stuck=True))

    assert (found.level, found.about) == ("wrong", "ingest")
    assert "1 message unacknowledged" in found.says
    assert "logs" in found.do
    assert assess(holding(stuck=False)) == []
    assert "0 ready, 1 consumer, 1 unacknowledged\n" in shown_to_people(holding(stuck=False))


@pytest.mark.parametrize("server", ["postgres", "rabbitmq", "keydb"])
def test_a_server_that_is_down_is_wrong_and_comes_with_a_command(server: str) -> None:
    found = only(replace(ALL_HEALTHY, **{server: Down("refused")}))  # type: ignore[arg-type]

    assert (found.level, found.about) == ("wrong", server)
    assert f"docker compose ps {server}" in found.do


def test_no_tick_for_two_intervals_and_the_tolerance_is_wrong() -> None:
    just = with_tick(boundary=NOW - timedelta(seconds=121), published_at=None)
    over = with_tick(boundary=NOW - timedelta(seconds=122), published_at=None)

    assert assess(just) == []
    assert only(over).about == "tick"


@pytest.mark.parametrize(
    ("rabbitmq", "advice"),
    [
        (Down("refused"), "RabbitMQ"),
        (replace(QUEUES, ticks=None), "up -d syncer"),
        (replace(QUEUES, ticks=QueueState(TICK_QUEUE, 0, 0)), "up -d syncer"),
        (replace(QUEUES, ticks=QueueState(TICK_QUEUE, 1, 1)), "does not take it"),
        (QUEUES, "up -d ticker"),
    ],
)
def test_who_is_looked_at_first_when_ticks_stop_follows_from_the_queue(
    rabbitmq: Queues | Down, advice: str
) -> None:
    stopped = with_tick(boundary=NOW - timedelta(hours=1), published_at=None)

    found = [one for one in assess(replace(stopped, rabbitmq=rabbitmq)) if one.about == "tick"]

    assert advice in found[0].do


def test_a_tick_more_than_a_second_late_is_wrong() -> None:
    assert assess(with_tick(published_at=BOUNDARY + timedelta(seconds=1))) == []
    assert "late" in only(with_tick(published_at=BOUNDARY + timedelta(seconds=1.1))).says


def test_a_row_of_a_long_transaction_is_a_note() -> None:
    assert only(with_ledger(unfolded_age_s=500.0)).level == "note"


def test_open_dead_letters_are_wrong_and_waiting_ones_a_note() -> None:
    dead = [Dead("open", "not_json", 2, NOW), Dead("waiting", "unknown_provider", 3, NOW)]

    wrong, note = assess(with_ledger(dead=dead))

    assert (wrong.level, note.level) == ("wrong", "note")
    assert "2 dead letters" in wrong.says
    assert "not_json 2" in wrong.says
    assert "3 messages wait" in note.says


def test_what_is_wrong_comes_before_what_is_good_to_know() -> None:
    dead = [Dead("waiting", "unknown_provider", 3, NOW)]

    levels = [one.level for one in assess(replace(with_ledger(dead=dead), keydb=Down("no")))]

    assert levels == ["wrong", "note"]


def test_rows_in_the_default_partition_are_wrong() -> None:
    assert "ops outbox repair" in only(with_ledger(default_partition_rows=1)).do


@pytest.mark.parametrize(
    ("queues", "level"),
    [
        (replace(QUEUES, transactions=None), "wrong"),
        (replace(QUEUES, transactions=QueueState("incoming", 9, 0)), "wrong"),
        (replace(QUEUES, transactions=QueueState("incoming", 9, 1)), "note"),
    ],
)
def test_a_queue_without_consumers_is_wrong_and_a_backlog_a_note(
    queues: Queues, level: str
) -> None:
    found = only(replace(ALL_HEALTHY, rabbitmq=queues))

    assert (found.about, found.level) == ("queue", level)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"token": "", "epoch": ""}, "no watermark"),
        ({"token": "partial:1"}, "chunks"),
        ({"known": False}, "never wrote"),
        ({"boundary": NOW - timedelta(seconds=122)}, "2 min 2 s ago"),
    ],
)
def test_a_watermark_that_is_not_the_newest_tick_is_wrong(
    changes: dict[str, object], text: str
) -> None:
    found = only(with_shown(**changes))

    assert found.level == "wrong"
    assert text in found.says


def test_before_the_first_boundary_an_empty_store_is_as_it_should_be() -> None:
    baseline = replace(TICK, epoch=0, boundary=None, published_at=None)
    empty = replace(SHOWN, token="", epoch="", boundary=None)

    assert assess(replace(ALL_HEALTHY, postgres=replace(LEDGER, tick=baseline), keydb=empty)) == []


def test_an_old_schema_says_how_to_migrate() -> None:
    old = with_ledger(schema=0, tick=None)

    assert only(old).do == "docker compose run --rm migrate"
    assert only(replace(old, composed=frozenset())).do == "python -m migrations"


def test_a_service_that_waits_for_a_lock_is_said_with_who_holds_it() -> None:
    found = only(with_ledger(blocked=[Blocked("ingest", [2105], 9.8)]))

    assert (found.level, found.about) == ("wrong", "ingest")
    assert "9.8 s" in found.says
    assert "2105" in found.says
    assert "2105" in found.do
    assert assess(with_ledger(blocked=[Blocked("ingest", [2105], 0.3)])) == []


def test_no_tick_though_the_syncer_waits_leads_to_the_ticker_and_to_the_alarms_that_block_it() -> (
    None
):
    old = replace(TICK, boundary=BOUNDARY - timedelta(minutes=5))

    says = {one.about: one.do for one in assess(with_ledger(tick=old))}

    assert "up -d ticker" in says["tick"]
    assert "ops doctor" in says["tick"]


def test_a_stream_that_is_read_is_healthy_though_the_broker_names_no_consumer() -> None:
    kept = replace(QUEUES, transactions=QueueState("incoming", 5, 0), is_stream=True)
    read = replace(ALL_HEALTHY, rabbitmq=kept)

    assert assess(read) == []
    assert "\nstream incoming " in shown_to_people(read)
    assert "5 messages kept\n" in shown_to_people(read)
    assert "no stream" in only(replace(read, rabbitmq=replace(kept, transactions=None))).says
