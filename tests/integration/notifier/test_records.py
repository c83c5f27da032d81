"""Change records become alerts: by version, however often they are delivered."""

import random
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from shared import alert_store
from shared.alert import EACH_PROVIDER_MAX
from shared.alert_store import Choice
from shared.unfit import Unfit
from tests.support import locks
from tests.support.alert_records import (
    BELOW,
    EACH,
    alerts,
    apply,
    record,
    stored,
)  # fmt: skip

ABOVE = BELOW | {"condition": "above", "threshold": 5}


SILENT = {"provider_id": 2, "condition": "silent", "for_seconds": 3600}


NEXT_TICK = """
INSERT INTO tick (epoch, token, boundary, snapshot, system_identifier, rows, amount, interim)
SELECT max(epoch) + 1, 'token', CASE WHEN NOT %(interim)s THEN now() END, pg_current_snapshot(),
       max(system_identifier), 0, 0, %(interim)s
  FROM tick
"""


def tick(conn: psycopg.Connection, *, interim: bool = False) -> None:
    conn.execute(NEXT_TICK, {"interim": interim})


def since(conn: psycopg.Connection) -> int:
    row = conn.execute("SELECT since_epoch FROM alert").fetchone()
    assert row
    return int(row[0])


def test_each_operation_does_what_it_says(conn: psycopg.Connection) -> None:
    assert apply(conn, record("ADDED"), record("ADDED", SILENT, source_id="B")) == ["applied"] * 2
    assert stored(conn) == [
        ("A", None, 1, "below", 1000, None, True),
        ("B", None, 2, "silent", None, 3600, True),
    ]

    apply(conn, record("MODIFIED", ABOVE), record("REMOVED", None, source_id="B"))

    assert stored(conn)[0] == ("A", None, 1, "above", 5, None, True)
    assert alerts(conn) == {"A": 5}


def test_what_is_modified_before_it_was_added_is_added(conn: psycopg.Connection) -> None:
    apply(conn, record("MODIFIED"))

    assert alerts(conn) == {"A": 1000}


def test_sources_do_not_know_of_each_other(conn: psycopg.Connection) -> None:
    apply(conn, record(), record(alert=ABOVE, source="others"), record("REMOVED", None))

    assert [one[-1] for one in stored(conn)] == [False, True]


@pytest.mark.parametrize("late", [record(alert=ABOVE, version=2), record(alert=ABOVE, version=3)])
def test_a_version_that_is_not_larger_is_ignored(conn: psycopg.Connection, late: bytes) -> None:
    assert apply(conn, record(version=3), late) == ["applied", "ignored"]

    assert stored(conn) == [("A", 3, 1, "below", 1000, None, True)]
    assert apply(conn, record(alert=ABOVE, version=4)) == ["applied"]
    assert alerts(conn) == {"A": 5}


def test_what_was_removed_stays_so_against_versions_that_are_not_larger(
    conn: psycopg.Connection,
) -> None:
    apply(conn, record(version=3), record("REMOVED", None, version=4))

    assert apply(conn, record(version=4), record("MODIFIED", version=3)) == ["ignored"] * 2
    assert alerts(conn) == {}
    assert apply(conn, record(version=5)) == ["applied"]
    assert alerts(conn) == {"A": 1000}


def test_what_is_removed_before_it_was_known_leaves_a_tombstone(conn: psycopg.Connection) -> None:
    apply(conn, record("REMOVED", None, version=4))

    assert stored(conn) == [("A", 4, None, None, None, None, False)]
    assert apply(conn, record(version=4), record(version=5)) == ["ignored", "applied"]


def test_without_versions_the_last_delivered_wins(conn: psycopg.Connection) -> None:
    apply(conn, record(), record("MODIFIED", ABOVE), record("REMOVED", None))
    assert alerts(conn) == {}

    apply(conn, record("ADDED", ABOVE))
    assert alerts(conn) == {"A": 5}


def test_a_removal_without_a_version_holds_against_versions_that_are_known(
    conn: psycopg.Connection,
) -> None:
    apply(conn, record(version=3), record("REMOVED", None))

    assert apply(conn, record(version=2), record(version=3)) == ["ignored"] * 2
    assert alerts(conn) == {}
    assert apply(conn, record(version=4)) == ["applied"]


def reference(history: list[tuple[str, int | None, int]]) -> tuple[int | None, int | None]:
    """Return threshold (None: removed) and version after (operation, version, threshold)s."""
    known: int | None = None
    threshold: int | None = None
    for operation, version, asked in history:
        if known is not None and version is not None and version <= known:
            continue
        known = known if version is None else version
        threshold = None if operation == "REMOVED" else asked
    return threshold, known


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_records_ends_as_a_simple_reference_does(
    conn: psycopg.Connection, seed: int
) -> None:
    chance = random.Random(seed)
    history: list[tuple[str, int | None, int]] = []
    for _ in range(60):
        operation = chance.choice(("ADDED", "MODIFIED", "REMOVED"))
        one = (operation, chance.choice((None, *range(8))), chance.randrange(100))
        history += [one] * chance.choice((1, 1, 2))  # delivered again

        apply(conn, record(one[0], BELOW | {"threshold": one[2]}, version=one[1]))
        ((_, version, *_, threshold, _, active),) = stored(conn)
        assert ((threshold if active else None), version) == reference(history)


def test_what_is_new_or_changed_is_judged_from_the_newest_due_tick_on(
    conn: psycopg.Connection,
) -> None:
    tick(conn)
    tick(conn, interim=True)
    apply(conn, record())
    assert since(conn) == 1

    tick(conn)
    apply(conn, record("MODIFIED", version=7))
    assert since(conn) == 1, "said again as it was: nothing between may be lost"

    apply(conn, record("MODIFIED", ABOVE))
    assert since(conn) == 3

    tick(conn)
    apply(conn, record("REMOVED", None), record(alert=ABOVE))
    assert since(conn) == 4


def test_of_each_provider_there_are_a_hundred_at_most(conn: psycopg.Connection) -> None:
    names = [f"each-{number}" for number in range(EACH_PROVIDER_MAX)]
    apply(conn, *(record(alert=EACH, source_id=name) for name in names))

    with pytest.raises(Unfit) as caught:
        apply(conn, record(alert=EACH, source_id="more"))

    assert caught.value.reason == "too_many"
    assert set(alerts(conn)) == set(names)
    assert apply(conn, record("MODIFIED", EACH, source_id="each-0")) == ["applied"]
    assert apply(conn, record(source_id="of one provider")) == ["applied"]
    apply(conn, record("REMOVED", None, source_id="each-1"), record(alert=EACH, source_id="more"))


def test_two_who_add_the_last_one_at_the_same_time_do_not_exceed_the_limit(
    conn: psycopg.Connection, dsn: str
) -> None:
    names = [str(number) for number in range(EACH_PROVIDER_MAX - 1)]
    apply(conn, *(record(alert=EACH, source_id=name) for name in names))
    with (
        psycopg.connect(dsn, autocommit=True) as first,
        psycopg.connect(dsn, autocommit=True) as second,
        ThreadPoolExecutor(1) as pool,
    ):
        with first.transaction():
            apply(first, record(alert=EACH, source_id="x"))
            other = pool.submit(apply, second, record(alert=EACH, source_id="y"))
            locks.awaited(conn)
        with pytest.raises(Unfit):
            other.result()

    assert set(alerts(conn)) == {*names, "x"}


def test_no_more_alerts_are_read_than_a_page_has(conn: psycopg.Connection) -> None:
    apply(conn, *(record(alert=EACH, source_id=str(number)) for number in range(5)))
    first = alert_store.select(conn, Choice(most=2))

    rest = alert_store.select(conn, Choice(after=first[-1].id, most=2))

    assert [one.source_id for one in first + rest] == ["0", "1", "2", "3"]
