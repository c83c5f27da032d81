"""A follower that cannot go on from its position starts anew, and says why."""

import psycopg
import pytest
import structlog

from services.syncer.service import Syncer
from shared.errors import Unavailable
from shared.follower import Follower, RowsGone
from shared.follower_store import Reason
from tests.support.ledger import minute
from tests.support.recording_follower import Recording, following, newest, position, times_anew


def test_a_first_start_begins_at_the_newest_due_tick(
    syncer: Syncer, conn: psycopg.Connection, own_conn: psycopg.Connection, follower: Follower,
    work: Recording,
) -> None:  # fmt: skip
    syncer.tick(minute(2))
    before = times_anew("first_start")

    with structlog.testing.capture_logs() as logged:
        assert follower.run_once(own_conn, work) == "anew"

    assert position(conn) == newest(conn)
    assert [why for _, why in work.anew] == ["first_start"]
    assert times_anew("first_start") == before + 1
    assert [(one["event"], one["reason"]) for one in logged] == [("follower_anew", "first_start")]
    assert follower.run_once(own_conn, work) == "idle"


LOST: dict[Reason, str] = {
    "first_start": "DELETE FROM follower",
    "asked": "UPDATE follower SET token = ''",
    "unknown_position": "UPDATE follower SET token = 'of another life'",
    "rows_gone": "UPDATE follower SET epoch = -1",
}


@pytest.mark.parametrize("reason", LOST)
def test_one_whose_position_is_no_tick_goes_on_from_the_present_and_says_why(
    begun: Follower, conn: psycopg.Connection, own_conn: psycopg.Connection, work: Recording,
    reason: Reason,
) -> None:  # fmt: skip
    conn.execute(LOST[reason].encode())

    assert begun.run_once(own_conn, work) == "anew"

    assert [why for _, why in work.anew] == [reason]
    assert position(conn) == newest(conn)
    assert begun.run_once(own_conn, work) == "idle"


@pytest.mark.parametrize("confirmed", [True, False], ids=["moved", "not confirmed"])
def test_one_whose_last_published_tick_a_failover_lost_starts_anew_though_its_position_is_known(
    syncer: Syncer, conn: psycopg.Connection, own_conn: psycopg.Connection, work: Recording,
    confirmed: bool,  # noqa: FBT001 - a parameter of the test
) -> None:  # fmt: skip
    follower = following()
    follower.run_once(own_conn, work)
    old = position(conn)
    assert old
    syncer.tick(minute(2))

    def fail() -> None:
        raise Unavailable("rabbitmq", "no confirm")

    work.anew.clear()
    if confirmed:
        follower.run_once(own_conn, work)
    else:
        work.meddle = fail
        with pytest.raises(Unavailable):
            follower.run_once(own_conn, work)
        work.meddle = lambda: None
    # The replica knew neither that tick nor that the position had moved to it.
    conn.execute("UPDATE tick SET token = 'other' WHERE epoch > %s", [old[0]])
    conn.execute("UPDATE follower SET epoch = %s, token = %s", old)

    # Nor is it forgotten if that fails in the middle, or before its position has moved.
    work.meddle = fail
    with pytest.raises(Unavailable):
        follower.run_once(own_conn, work)
    work.meddle = lambda: None
    assert follower.run_once(own_conn, work) == "anew"

    assert [why for _, why in work.anew] == ["published_lost"]
    assert position(conn) == newest(conn)
    assert follower.run_once(own_conn, work) == "idle"


def test_a_writing_one_goes_on_from_the_position_that_a_failover_left_it(
    syncer: Syncer, conn: psycopg.Connection, own_conn: psycopg.Connection, work: Recording
) -> None:
    follower = following(writes=True)
    follower.run_once(own_conn, work)
    old = position(conn)
    assert old
    syncer.tick(minute(2))
    follower.run_once(own_conn, work)
    conn.execute("UPDATE tick SET token = 'other' WHERE epoch > %s", [old[0]])
    conn.execute("UPDATE follower SET epoch = %s, token = %s", old)

    assert follower.run_once(own_conn, work) == "followed"
    assert work.done[0] == work.done[1]


def test_a_tick_that_counts_all_anew_is_not_followed(
    begun: Follower, syncer: Syncer, conn: psycopg.Connection, own_conn: psycopg.Connection,
    work: Recording,
) -> None:  # fmt: skip
    conn.execute("UPDATE tick SET system_identifier = 1")  # restored into another cluster
    syncer.tick(minute(2))
    syncer.tick(minute(3))

    assert begun.run_once(own_conn, work) == "anew"

    assert [why for _, why in work.anew] == ["baseline"]
    assert not work.done
    assert position(conn) == newest(conn)
    syncer.tick(minute(4))
    assert begun.run_once(own_conn, work) == "followed"


def test_one_whose_work_says_that_rows_are_gone_starts_anew(
    begun: Follower, syncer: Syncer, conn: psycopg.Connection, own_conn: psycopg.Connection,
    work: Recording,
) -> None:  # fmt: skip
    syncer.tick(minute(2))

    def gone() -> None:
        work.meddle = lambda: None
        raise RowsGone

    work.meddle = gone
    assert begun.run_once(own_conn, work) == "anew"

    assert [why for _, why in work.anew] == ["rows_gone"]
    assert position(conn) == newest(conn)
