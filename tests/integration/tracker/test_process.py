"""The tracker as a process, with the rights of its login's group and no others."""

import psycopg
import pytest

from tests.support import programs
from tests.support.eventually import eventually
from tests.support.programs import Program
from tests.support.tracking import Sender, body, item, tick

Environment = dict[str, str]


@pytest.fixture
def environment(dsn: str, amqp_url: str) -> Environment:
    rights = "options=-c%20role%3Dminutebook_tracker"
    return {"POSTGRES_DSN": f"{dsn}?{rights}", "RABBITMQ_URL": amqp_url}


def says(program: Program, event: str) -> bool:
    return any(line["event"] == event for line in program.lines())


def states(conn: psycopg.Connection) -> list[tuple[str, bool]]:
    query = "SELECT state, replied_at IS NOT NULL FROM request ORDER BY id"
    return conn.execute(query).fetchall()


def test_a_request_becomes_rows_and_its_sender_a_reply_and_sigterm_ends_it(
    environment: Environment, conn: psycopg.Connection, sender: Sender
) -> None:
    with programs.running("services.tracker", **environment) as tracker:
        eventually(lambda: tracker.health()[0] == 200)
        sender.send(body(item(600), item(5)))
        sender.send(b"no request")
        eventually(lambda: len(sender.ingest()) == 2)
        eventually(lambda: states(conn) == [("done", False)])
        tick(conn)
        eventually(lambda: states(conn) == [("done", True)])
        eventually(lambda: tracker.metric("minutebook_request_replies_total") == 1)
        eventually(lambda: tracker.metric('minutebook_requests_decided_total{state="done"}') == 1)
        accepted = 'minutebook_requests_total{outcome="accepted"}'
        eventually(lambda: tracker.metric(accepted) == 1)
        eventually(lambda: tracker.metric('minutebook_requests_total{outcome="unfit"}') == 1)
        eventually(lambda: tracker.metric("minutebook_request_items_published_total") == 2)
        assert tracker.stop() == 0
    assert [told["state"] for _, told in sender.replies()] == ["done"]


def test_of_two_one_decides_and_both_accept_and_the_other_takes_over(
    environment: Environment, conn: psycopg.Connection, sender: Sender
) -> None:
    with programs.running("services.tracker", **environment) as first:
        eventually(lambda: first.health()[0] == 200)
        with programs.running("services.tracker", **environment) as second:
            eventually(lambda: says(second, "follower_stands_by") and says(second, "consuming"))
            eventually(lambda: second.health()[0] == 200)
            for number in range(10):
                sender.send(body(item(number), key=f"K-{number}"))
            first.kill()
            stored: set[str] = set()

            def all_are_stored() -> bool:
                stored.update(identity for identity, _ in sender.ingest())
                return len(stored) == 10

            eventually(all_are_stored)
            tick(conn)
            eventually(lambda: states(conn) == [("done", True)] * 10)
            assert second.stop() == 0
    assert {told["request"] for _, told in sender.replies()} == {f"K-{one}" for one in range(10)}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"INGEST_MESSAGE_ID": "header:id"}, "INGEST_MESSAGE_ID is not property"),
        ({"INGEST_STREAM": "transactions"}, "INGEST_STREAM is set"),
    ],
)
def test_it_refuses_to_start_where_ingest_would_count_an_item_twice(
    environment: Environment, settings: Environment, why: str
) -> None:
    with programs.running("services.tracker", **environment, **settings) as tracker:
        assert tracker.process.wait(30) == 1
        assert any(why in str(line.get("reason")) for line in tracker.lines())
