"""What a sighting leads to: when its object was seen, until that expires."""

import itertools
from datetime import datetime, timedelta

import psycopg
import redis

from services.observer import expiry, store
from services.observer.shown import PREFIX, Shown
from services.observer.store import Clock
from shared import keydb
from shared.health import Health
from shared.settings import KeydbSettings
from tests.support import observing, programs
from tests.support.eventually import eventually
from tests.support.object_api import Running
from tests.support.observing import Environment, Sender
from tests.support.programs import Program
from tests.support.timing import at_best_s

SELECT_NOW = "SELECT clock_timestamp()"
SELECT_OLDEST = """
SELECT extract(epoch FROM max(clock_timestamp() - seen_at))::float8
  FROM last_seen
"""
KEPT_S = 30.0


def settled(observer: Program, outcome: str) -> float:
    return observer.metric(f'minutebook_sightings_total{{outcome="{outcome}"}}')


def test_an_object_that_is_online_is_in_postgres_and_in_keydb_and_sigterm_ends_the_observer(
    observer: Program, api: Running, sender: Sender, conn: psycopg.Connection,
    store: "redis.Redis",
) -> None:  # fmt: skip
    api.api.offline = frozenset({8})
    sender.send([7, 8, -9, 7], "m-1")  # one identity says nothing here: each is looked up

    eventually(lambda: settled(observer, "seen") == 3)
    eventually(lambda: settled(observer, "away") == 1)
    found = observing.seen(conn)
    assert found.keys() == {7, -9}
    assert api.api.asked == {7: 2, 8: 1, -9: 1}

    eventually(lambda: observing.shown(store).keys() == {7, -9})
    for one, seen_at in found.items():
        assert datetime.fromisoformat(observing.shown(store)[one]) == seen_at
        assert 0 < store.pttl(f"{PREFIX}{one}") <= 30_000
    assert observer.health()[0] == 200
    assert observer.asked("/livez")[0] == 200
    assert observer.stop() == 0
    assert sender.ready() == 0


def test_what_expires_is_gone_from_both_within_its_time(
    environment: Environment, sender: Sender, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    environment |= {"OBSERVER_EXPIRE_AFTER_SECONDS": "2", "OBSERVER_EXPIRE_EVERY_SECONDS": "0.5"}
    with programs.running("services.observer", **environment) as observer:
        sender.send([7])
        eventually(lambda: observing.seen(conn).keys() == {7})
        eventually(lambda: not observing.seen(conn))
        eventually(lambda: not observing.shown(store))
        eventually(lambda: observer.metric("minutebook_last_seen_expired_total") == 1)


def test_nothing_is_read_that_is_older_than_it_is_kept_and_one_turn_of_the_expiry(
    environment: Environment, sender: Sender, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    kept_s, every_s, numbers = 4, 1, itertools.count()
    environment |= {
        "OBSERVER_EXPIRE_AFTER_SECONDS": str(kept_s), "OBSERVER_EXPIRE_EVERY_SECONDS": str(every_s)
    }  # fmt: skip

    def too_old_s() -> float:
        """Read all the time what is kept and shown; return by how much the oldest was too old."""
        ids = [next(numbers) for _ in range(20)]
        sender.send(ids)
        eventually(lambda: observing.seen(conn).keys() >= set(ids))
        worst_s = -float("inf")
        while (age_s := conn.execute(SELECT_OLDEST).fetchone() or (None,))[0] is not None:
            shown_s = [observing.shown_age_s(store, one) for one in ids]
            worst_s = max([worst_s, age_s[0] - kept_s - every_s, *(s - kept_s for s in shown_s)])
        return worst_s

    with programs.running("services.observer", **environment):
        assert at_best_s(too_old_s, 0) <= 0


def test_what_is_no_sighting_becomes_a_dead_letter_and_holds_nothing_up(
    observer: Program, sender: Sender, conn: psycopg.Connection
) -> None:
    sender.send_body(b"{")
    sender.send_body(b"{")  # the same one again
    sender.send_body(b'{"object_id": "7"}', "m-2")
    sender.send([7])

    eventually(lambda: settled(observer, "unfit") == 3)
    eventually(lambda: settled(observer, "seen") == 1)
    assert observing.dead_letters(conn) == {"not_json": 1, "wrong_type": 1}
    assert sender.ready() == 0


def later(moment: datetime, s: float) -> datetime:
    return moment + timedelta(seconds=s)


def now(conn: psycopg.Connection) -> datetime:
    ((found,),) = conn.execute(SELECT_NOW).fetchall()
    assert isinstance(found, datetime)
    return found


def test_a_sighting_that_comes_late_moves_nothing_back(conn: psycopg.Connection) -> None:
    at = now(conn)
    assert store.upsert(conn, {7: at, 8: later(at, -5)}, KEPT_S) == {7: at, 8: later(at, -5)}
    assert store.upsert(conn, {7: later(at, -1), 8: at}, KEPT_S) == {7: at, 8: at}
    assert observing.seen(conn) == {7: at, 8: at}


def test_what_was_seen_too_long_ago_is_not_written(conn: psycopg.Connection) -> None:
    assert store.upsert(conn, {7: later(now(conn), -KEPT_S)}, KEPT_S) == {}
    assert observing.seen(conn) == {}


def test_only_rows_that_have_expired_go_and_none_that_somebody_is_writing(
    conn: psycopg.Connection, dsn: str
) -> None:
    at = now(conn)
    for one, age_s in ((7, 31), (8, 29), (9, 31)):
        conn.execute("INSERT INTO last_seen VALUES (%s, %s)", [one, later(at, -age_s)])
    expiring = expiry.Expiry(lambda: psycopg.connect(dsn), Health(), None, 3, KEPT_S)  # type: ignore[arg-type]
    with psycopg.connect(dsn) as writing:
        store.upsert(writing, {9: at}, KEPT_S)
        assert expiring.run_once(conn) == 1
    assert observing.seen(conn).keys() == {8, 9}


def test_keydb_shows_nothing_older_and_ends_by_its_own_clock(
    store: "redis.Redis", environment: Environment, conn: psycopg.Connection
) -> None:
    settings = KeydbSettings(keydb_url=environment["KEYDB_URL"])  # type: ignore[arg-type]
    clock = Clock.read(conn)
    with keydb.client(settings, name="test") as client:
        show = Shown(client, KEPT_S).show
        show({7: clock.at, 8: later(clock.at, -20)}, clock)
        newest = observing.shown(store)
        show({7: later(clock.at, -1), 8: later(clock.at, -21)}, clock)
        assert observing.shown(store) == newest
        assert 20_000 < store.pttl(f"{PREFIX}7") <= 30_000
        assert 0 < store.pttl(f"{PREFIX}8") <= 10_000
        show({9: later(clock.at, -30)}, clock)
        assert observing.shown(store).keys() == {7, 8}
        store.delete(f"{PREFIX}7")
        store.lpush(f"{PREFIX}7", "of somebody else")
        show({7: clock.at}, clock)
        assert observing.shown(store) == newest
