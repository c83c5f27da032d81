"""However much has expired, it goes: in slices, in bounded rounds, and what is left is reported."""

import psycopg
from prometheus_client import REGISTRY

from services.syncer import retention
from services.syncer.partitions import Kept
from services.syncer.retention import Done
from tests.support.eventually import eventually

MESSAGES, TICKS = 20_000, 250
NOTE_SLICES = """
CREATE TABLE slice (id serial, ticks bigint);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO slice (ticks) SELECT count(*) FROM gone HAVING count(*) > 0;
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER DELETE ON tick
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION note()
"""


def run(conn: psycopg.Connection, interval_s: float = 60.0) -> Done:
    return retention.run_once(conn, Kept(24, 30), interval_s=interval_s)


def expire(conn: psycopg.Connection) -> None:
    """Have messages that should have gone an hour ago, and ticks that should a day ago."""
    conn.execute(
        "INSERT INTO received_message (message_id, provider_id, value, noted_at)"
        " SELECT 'm-' || n, 1, n, now() - interval '25 hours' FROM generate_series(1, %s) n",
        [MESSAGES],
    )
    conn.execute("UPDATE tick SET folded_at = now() - interval '31 days'")
    conn.execute(
        "INSERT INTO tick"
        " SELECT n, 'token-' || n, to_timestamp(60 * n), snapshot, system_identifier, 0, 0,"
        " CASE WHEN n > %(ticks)s THEN now() ELSE now() - interval '31 days' END"
        " FROM tick, generate_series(1, %(ticks)s + 1) n",
        {"ticks": TICKS},
    )
    conn.execute(
        "INSERT INTO balance SELECT p, n, p || '_p', n = 0, 0"
        " FROM generate_series(1, 20) p, generate_series(0, %s + 1) n",
        [TICKS],
    )


def left(conn: psycopg.Connection) -> tuple[int, ...]:
    row = conn.execute(
        "SELECT (SELECT count(*) FROM received_message), (SELECT count(*) FROM tick),"
        " (SELECT count(*) FROM balance)"
    ).fetchone()
    assert row
    return row


def short_rounds(conn: psycopg.Connection, task: str) -> list[Done]:
    """Run rounds that have a moment only, until `task` is behind.

    What a busy machine does not do in that moment is tried again.
    """
    rounds: list[Done] = []

    def probe() -> bool:
        rounds.append(run(conn, interval_s=0.1))
        return (overdue_s(task) or 0) > 0

    eventually(probe)
    return rounds


def overdue_s(task: str) -> float | None:
    return REGISTRY.get_sample_value("minutebook_retention_overdue_seconds", {"task": task})


def test_more_than_one_slice_of_each_goes_in_one_round(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    expire(conn)
    done = run(ours, interval_s=3600)
    assert (done.pruned, done.finished) == (MESSAGES + TICKS + 1, True)
    assert left(conn) == (0, 1, 20)
    assert [overdue_s(task) for task in ("prune_history", "prune_messages")] == [0, 0]


def test_a_round_is_short_where_ticks_are_and_says_what_it_has_left_for_the_next(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    expire(conn)
    rounds = short_rounds(ours, "prune_messages")
    last = rounds[-1]
    assert not last.finished
    assert (overdue_s("prune_messages") or 0) // 60 == 60
    while not rounds[-1].finished:
        rounds.append(run(ours, interval_s=1))
    assert sum(done.pruned for done in rounds) == MESSAGES + TICKS + 1
    assert left(conn) == (0, 1, 20)
    assert overdue_s("prune_messages") == 0


def test_slices_grow_so_that_many_small_ticks_go_in_few_transactions(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    expire(conn)
    conn.execute(NOTE_SLICES)
    run(ours, interval_s=3600)
    slices = [ticks for (ticks,) in conn.execute("SELECT ticks FROM slice ORDER BY id")]
    assert sum(slices) == TICKS + 1
    assert slices[0] == 1, "a tick may have changed very many balances"
    assert len(slices) < TICKS / 4


def test_a_tick_that_a_clock_ahead_made_young_keeps_all_after_it(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    expire(conn)
    conn.execute("UPDATE tick SET folded_at = now() WHERE epoch = 100")
    run(ours, interval_s=3600)
    kept = conn.execute("SELECT min(epoch), count(*) FROM tick").fetchone()
    assert kept == (100, TICKS + 1 - 99)


def test_many_expired_partitions_go_in_bounded_rounds(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    conn.execute(
        "SELECT minutebook_make_partition('2020-01-01 00:00Z'::timestamptz + n * interval '4 h')"
        " FROM generate_series(1, 30) n"
    )
    rounds = short_rounds(ours, "drop_partitions")
    assert (overdue_s("drop_partitions") or 0) > 86_400
    while not rounds[-1].finished:
        rounds.append(run(ours, interval_s=1))
    assert len(rounds) > 1
    assert sum(done.dropped for done in rounds) == 30
    assert overdue_s("drop_partitions") == 0
