"""Whatever is killed or cut off, every message ends exactly once, and work resumes by itself."""

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

import psycopg
import pytest

from services.ingest import metrics
from services.ingest.pace import COMMIT_EVERY_S, QUIET_AFTER_S, Pace
from services.ingest.service import store_batch
from services.ingest.writer import Writer
from shared.errors import Unavailable
from shared.health import Health
from tests.support import messages
from tests.support.eventually import eventually
from tests.support.messages import (
    QUEUE,
    FakeInbox,
    body,
    counted,
    dead_letters,
    judged,
    rows,
    truth,
    waiting_in_queue,
)

SMALL_BATCHES = {"INGEST_BATCH_MAX": "20", "INGEST_PREFETCH": "100"}
TERMINATE = """
SELECT count(pg_terminate_backend(pid))
  FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'minutebook-ingest'
"""


@pytest.fixture(autouse=True)
def providers(conn: psycopg.Connection) -> None:
    messages.add_providers(conn)


@pytest.fixture
def ours(dsn: str) -> Iterator[psycopg.Connection]:
    with messages.ingest_connection(dsn) as conn:
        yield conn


def some_of(size: int) -> tuple[list[bytes], list[str]]:
    """Return bodies of values 1 to `size`, and an identity for each."""
    return [body(1, n) for n in range(1, size + 1)], [f"m{n}" for n in range(1, size + 1)]


def all_of(size: int) -> list[tuple[int, int]]:
    """Return the rows that come of `some_of(size)`, each once."""
    return [(1, n) for n in range(1, size + 1)]


class Waits(threading.Event):
    """Notes for how long it was waited for, and never waits."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.asked.append(timeout or 0.0)
        return self.is_set()


def writer(
    ours: psycopg.Connection,
    inbox: FakeInbox,
    clock: Callable[[], float] = time.time,
    stop: threading.Event | None = None,
) -> Writer:
    """Return a writer of which the test is the thread."""
    unused = partial(pytest.fail, "the test brings its own connection")
    found = Writer(
        unused, messages.intake(ours), Pace(60, clock), Health(), stop or threading.Event()
    )
    found.serve(inbox)
    return found


def test_what_was_committed_and_not_acknowledged_is_a_duplicate_when_it_comes_again(
    ours: psycopg.Connection,
) -> None:
    before = metrics.DUPLICATES._value.get()  # noqa: SLF001 - there is no public reading
    for _ in range(2):  # an inbox whose channel died with its acknowledgements
        inbox = FakeInbox()
        inbox.pending.add(judged(body(1, 600), "m1", tag=1))
        inbox.pending.add(judged(b"{", "m2", tag=2))
        writer(ours, inbox).run_once(ours)
        assert inbox.acknowledged == [2]
    assert metrics.DUPLICATES._value.get() == before + 1  # noqa: SLF001
    assert rows(ours) == [(1, 600)]
    assert len(dead_letters(ours)) == 1
    assert counted(ours) == truth(ours)


def test_a_batch_stays_in_hand_until_postgres_takes_it_and_is_acknowledged_only_then(
    ours: psycopg.Connection,
) -> None:
    inbox = FakeInbox()
    inbox.pending.add(judged(body(1, 1), tag=1))
    ours_writer = writer(ours, inbox)
    messages.refuse_rows(ours, "53100")
    for number in (1, 2):
        with pytest.raises(Unavailable):
            ours_writer.run_once(ours)
        assert (ours_writer.in_hand, inbox.pending.in_hand()) == (None, number)
        inbox.pending.add(judged(body(1, 2), tag=2))
    assert inbox.acknowledged == []
    messages.refuse_no_more(ours)
    ours_writer.run_once(ours)
    assert (inbox.acknowledged, rows(ours)) == ([2], [(1, 1), (1, 2)])
    assert ours_writer.in_hand is None


def test_no_batch_is_begun_around_a_boundary(ours: psycopg.Connection) -> None:
    stop, inbox, clock = Waits(), FakeInbox(), deque([60.0, 60.5])
    ours_writer = writer(ours, inbox, clock.popleft, stop)
    ours_writer.run_once(ours)
    assert stop.asked == [], "whatever comes then is to wait, too"
    for number in (1, 2):
        inbox.pending.add(judged(body(1, number), tag=number))
        ours_writer.run_once(ours)
    around, later = stop.asked
    assert around == pytest.approx(QUIET_AFTER_S)
    assert later <= COMMIT_EVERY_S
    assert rows(ours) == all_of(2)


def test_rows_and_dead_letters_of_a_batch_are_kept_together_or_not_at_all(
    ours: psycopg.Connection,
) -> None:
    batch = [judged(body(1, 1), "m1"), judged(b"{", "m2")]
    # `in_commit` has the last word, after all was written.
    with pytest.raises(pytest.fail.Exception):
        store_batch(ours, batch, messages.intake(ours), in_commit=partial(pytest.fail, "no"))
    assert (rows(ours), dead_letters(ours)) == ([], [])
    ours.execute("ALTER TABLE dead_letter RENAME TO out_of_reach")
    with pytest.raises(psycopg.errors.UndefinedTable):
        store_batch(ours, batch, messages.intake(ours))
    ours.execute("ALTER TABLE out_of_reach RENAME TO dead_letter")
    assert (rows(ours), dead_letters(ours)) == ([], [])


def test_a_batch_whose_channel_is_gone_before_it_was_sent_is_left_to_the_broker(
    ours: psycopg.Connection,
) -> None:
    inbox = FakeInbox()
    inbox.pending.add(judged(body(1, 1), tag=1))
    inbox.pending.open = False
    writer(ours, inbox).run_once(ours)
    assert (inbox.acknowledged, rows(ours)) == ([], [])


def test_killed_in_the_middle_of_its_work_it_stores_every_message_exactly_once(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    bodies, identities = some_of(900)
    messages.publish(amqp_url, *bodies, identities=identities)
    for share in (1, 300, 600):
        with messages.ingest(dsn, amqp_url, **SMALL_BATCHES) as program:
            eventually(lambda least=share: len(rows(conn)) >= least)  # type: ignore[misc]
            program.kill()
    with messages.ingest(dsn, amqp_url, **SMALL_BATCHES) as program:
        eventually(lambda: len(rows(conn)) == 900)
        assert program.metric("minutebook_ingest_redelivered_total") > 0
        messages.queue_drained(program, amqp_url)
    assert sorted(rows(conn)) == all_of(900)
    assert counted(conn) == truth(conn)


def test_sigterm_ends_it_with_0_and_what_has_no_identity_is_stored_or_left_never_both(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    bodies, _ = some_of(3000)
    messages.publish(amqp_url, *bodies)
    for share in (1, 500):
        with messages.ingest(dsn, amqp_url, INGEST_BATCH_MAX="5", INGEST_PREFETCH="50") as program:
            eventually(lambda least=share: len(rows(conn)) >= least)  # type: ignore[misc]
            assert program.stop() == 0
            stored = rows(conn)
            assert share <= len(stored) < 3000
            eventually(lambda seen=stored: len(seen) + waiting_in_queue(amqp_url) == 3000)  # type: ignore[misc]
    with messages.ingest(dsn, amqp_url) as program:
        eventually(lambda: len(rows(conn)) == 3000)
        messages.queue_drained(program, amqp_url)
    assert sorted(rows(conn)) == all_of(3000)
    assert counted(conn) == truth(conn)


def test_sigterm_waits_for_the_batch_in_hand_and_acknowledges_it(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    with messages.channel(amqp_url) as producer:  # only a classic queue forgets a consumer at once
        producer.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "classic"})
        producer.basic_publish("", QUEUE, body())
    with psycopg.connect(dsn) as user, messages.ingest(dsn, amqp_url) as program:
        user.execute("LOCK TABLE historical_transactions")
        messages.lock_awaited(conn)
        program.process.send_signal(signal.SIGTERM)
        with messages.channel(amqp_url) as observer:  # it no longer consumes, so it has heard
            state = partial(observer.queue_declare, QUEUE, passive=True)
            eventually(lambda: state().method.consumer_count == 0)
        user.rollback()
        assert program.process.wait(10) == 0
    assert rows(conn) == [(1, 600)]
    assert waiting_in_queue(amqp_url) == 0


def test_sigterm_while_postgres_is_stuck_ends_it_in_time_and_leaves_the_message(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    messages.publish(amqp_url, body())
    impatient = f"{dsn}?options=-c%20lock_timeout%3D500ms"
    with psycopg.connect(dsn) as user, messages.ingest(impatient, amqp_url) as program:
        user.execute("LOCK TABLE historical_transactions")
        messages.lock_awaited(conn)
        assert program.stop() == 0
        user.rollback()
    assert len(rows(conn)) + waiting_in_queue(amqp_url) == 1


def test_connections_to_postgres_cut_under_load_lose_and_double_nothing(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    bodies, _ = some_of(1200)
    messages.publish(amqp_url, *bodies)
    with messages.ingest(dsn, amqp_url, **SMALL_BATCHES) as program:
        for share in range(0, 1000, 200):
            eventually(lambda least=share: len(rows(conn)) > least)  # type: ignore[misc]
            eventually(lambda: conn.execute(TERMINATE).fetchone() != (0,))
        eventually(lambda: len(rows(conn)) == 1200, 20)
        assert program.metric('minutebook_reconnects_total{server="postgres"}') >= 5
        assert program.metric('minutebook_reconnects_total{server="rabbitmq"}') == 0
        messages.queue_drained(program, amqp_url)
    assert sorted(rows(conn)) == all_of(1200)
    assert counted(conn) == truth(conn)


def test_a_queue_deleted_under_it_is_consumed_again_once_it_is_back(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    with messages.ingest(dsn, amqp_url) as program:
        messages.publish(amqp_url, body(1, 1))
        eventually(lambda: rows(conn) == [(1, 1)])
        with messages.channel(amqp_url) as vandal:
            vandal.queue_delete(QUEUE)
        messages.consuming(program, 2)
        messages.publish(amqp_url, body(1, 2))
        eventually(lambda: rows(conn) == [(1, 1), (1, 2)])
        messages.queue_drained(program, amqp_url)


def test_two_replicas_share_the_queue_and_store_every_message_once(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    bodies, _ = some_of(1000)
    one = messages.ingest(dsn, amqp_url, **SMALL_BATCHES)
    two = messages.ingest(dsn, amqp_url, **SMALL_BATCHES)
    with one as first, two as second:
        messages.consuming(first)
        messages.consuming(second)
        messages.publish(amqp_url, *bodies)
        eventually(lambda: len(rows(conn)) == 1000)
        assert min(one.metric("minutebook_ingest_rows_total") for one in (first, second)) > 0
        assert (first.stop(), second.stop()) == (0, 0)
    assert waiting_in_queue(amqp_url) == 0
    assert sorted(rows(conn)) == all_of(1000)
    assert counted(conn) == truth(conn)
