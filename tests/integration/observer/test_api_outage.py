"""An API that answers nobody, or not about each object: what waits, what is retried, what dies."""

import time

import pika
import psycopg
import pytest

from tests.support import observing, ops_tool, programs
from tests.support.eventually import eventually
from tests.support.object_api import Running
from tests.support.observing import RETRIES, Environment, Sender
from tests.support.programs import Program

CONCURRENCY = 20
OUTAGE_S = 3.0


@pytest.fixture
def environment(environment: Environment) -> Environment:
    """At most 20 lookups at a time; nothing expires while a test lasts."""
    kept = {"OBSERVER_EXPIRE_AFTER_SECONDS": "3600"}
    return environment | kept | {"OBSERVER_CONCURRENCY": str(CONCURRENCY)}


def settled(observer: Program, outcome: str) -> float:
    return observer.metric(f'minutebook_sightings_total{{outcome="{outcome}"}}')


def is_paused(observer: Program) -> bool:
    return observer.metric("minutebook_lookups_paused") == 1


def events(observer: Program) -> list[str]:
    return [line["event"] for line in observer.lines()]


def send_as_if_from(sender: Sender, queue: str, object_id: int, name: str | None = None) -> None:
    """Send a sighting as the broker delivers one that was delayed."""
    headers = {"x-first-death-queue": queue}
    properties = pika.BasicProperties(delivery_mode=2, headers=headers, message_id=name)
    sender.channel.basic_publish("", observing.QUEUE, b'{"object_id": %d}' % object_id, properties)


@pytest.mark.parametrize("how", ["gone", "frozen", "unavailable"])
def test_an_api_that_does_not_answer_costs_no_retries_and_is_not_overloaded_afterwards(
    environment: Environment, api: Running, sender: Sender, conn: psycopg.Connection, how: str
) -> None:
    everyone = range(300)
    if how == "gone":
        api.down()
    api.api.frozen = how == "frozen"
    api.api.everybody = 503 if how == "unavailable" else None
    sender.send(everyone)
    with programs.running("services.observer", **environment) as observer:
        eventually(lambda: is_paused(observer))
        eventually(lambda: observer.health()[0] == 503)
        eventually(lambda: sender.ready() == len(everyone))  # none is in hand
        before = api.api.asked.total()
        assert before <= CONCURRENCY + 2
        until = time.monotonic() + OUTAGE_S
        eventually(lambda: time.monotonic() > until)
        assert api.api.asked.total() <= before + 4  # asked ever less often
        assert settled(observer, "retried") == 0  # later a busy machine may be too late for one

        api.api.frozen, api.api.everybody = False, None
        api.api.delay_s = 0.05
        api.up()
        eventually(lambda: settled(observer, "seen") == len(everyone))
        eventually(lambda: not is_paused(observer))
        eventually(lambda: observer.health()[0] == 200)
        assert api.api.at_once_max <= CONCURRENCY
        assert {"lookups_paused", "lookups_resumed"} <= set(events(observer))
    assert observing.seen(conn).keys() == set(everyone)
    assert observing.dead_letters(conn) == {}


def test_an_api_that_cannot_be_reached_is_no_fault_while_no_sighting_waits(
    environment: Environment, api: Running, sender: Sender
) -> None:
    api.down()
    with programs.running("services.observer", **environment) as observer:
        eventually(lambda: observer.health()[0] == 200)
        sender.send([7])
        eventually(lambda: observer.health()[0] == 503)
        assert "answers nobody" in observer.health()[1]
        eventually(lambda: sender.ready() == 1)  # it is no longer in hand
        sender.channel.queue_purge(observing.QUEUE)
        eventually(lambda: observer.health()[0] == 200)
        assert observer.asked("/livez")[0] == 200
        assert observer.stop() == 0  # also while it waits


def test_objects_that_the_api_says_nothing_of_are_retried_later_and_hold_nobody_up(
    observer: Program, api: Running, sender: Sender, conn: psycopg.Connection
) -> None:
    api.api.silent, api.api.failing = frozenset({1}), {2: (500, b"{}"), 3: (200, b"nonsense")}
    sender.send([1])  # alone: nobody else is answered meanwhile
    eventually(lambda: settled(observer, "retried") >= 1)
    sender.send([*range(2, 50), 1])

    eventually(lambda: settled(observer, "seen") == 46)
    eventually(lambda: settled(observer, "retried") >= 4)
    eventually(lambda: min(api.api.asked[one] for one in (1, 2, 3)) >= 3)  # after 1 s and 2 s
    api.api.silent, api.api.failing = frozenset(), {}
    eventually(lambda: {1, 2, 3} <= observing.seen(conn).keys())
    assert observing.dead_letters(conn) == {}


def test_after_the_fifth_retry_it_is_a_dead_letter_which_a_replay_brings_back_to_its_queue(
    observer: Program, api: Running, sender: Sender, conn: psycopg.Connection, dsn: str
) -> None:
    api.api.failing = {7: (500, b"{}")}
    send_as_if_from(sender, RETRIES[4], 7)
    eventually(lambda: settled(observer, "no_answer") == 1)
    ((error, message_id),) = conn.execute("SELECT error, message_id FROM dead_letter").fetchall()
    assert error.endswith("at last: status 500")
    assert message_id.startswith("sightings:")
    assert observing.dead_letters(conn) == {"no_answer": 1}

    api.api.failing = {}
    ops = ops_tool.deployment(dsn)
    done = ops.json("dead-letters", "replay", "--queue", observing.QUEUE)
    assert [one["outcome"] for one in done["letters"]] == ["applied"]
    eventually(lambda: observing.seen(conn).keys() == {7})
    eventually(lambda: observer.metric("minutebook_sightings_replayed_total") == 1)
    assert observing.dead_letters(conn) == {}


def test_before_the_last_lookup_a_sighting_waits_in_the_last_queue(
    observer: Program, api: Running, sender: Sender
) -> None:
    api.api.failing = {7: (500, b"{}")}
    send_as_if_from(sender, RETRIES[3], 7, "x" * 255)  # with ours before it, too long for AMQP
    eventually(lambda: settled(observer, "retried") == 1)
    eventually(lambda: sender.ready(RETRIES[4]) == 1)
