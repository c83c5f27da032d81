"""`ops requests`: what became of each item, as the tracker keeps it and as of now."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import psycopg
import pytest

from tests.support import messages, ops_tool
from tests.support.ops_tool import Tool
from tests.support.tracking import Life, Sender, body, item, sending, tick, tracker_life

UNFIT = {"id": "one", "value": 2}


@pytest.fixture
def ops(dsn: str) -> Tool:
    return ops_tool.deployment(f"{dsn}?options=-c%20role%3Dminutebook_ops")


@pytest.fixture
def sender(conn: psycopg.Connection, dsn: str, amqp_url: str) -> Iterator[Sender]:
    messages.add_providers(conn)
    with sending(dsn, amqp_url) as sender:
        yield sender


Alive = Callable[[], AbstractContextManager[Life]]


@pytest.fixture
def alive(dsn: str, amqp_url: str) -> Alive:
    """Have a tracker while inside; none while `ops` runs: who starts it answers no heartbeat."""
    return partial(tracker_life, dsn, amqp_url)


def counted(ops: Tool) -> tuple[int, int]:
    """Return how many requests `ops status` says are open, and have failed."""
    found = ops("status", "--json").document["postgres"]["requests"]
    return found["open"], found["failed"]


def test_a_request_is_shown_as_it_is_now_and_with_what_became_of_its_reply(
    ops: Tool, alive: Alive, sender: Sender, conn: psycopg.Connection
) -> None:
    sender.send(body(item(600), UNFIT, key="pay-1"), reply_to="replies.gone")
    with alive() as life:
        life.accept()
    sender.ingest()
    open_one = ops("requests", "show", "pay-1", "--json").document
    assert (open_one["state"], open_one["stored"], open_one["dead"]) == (
        "running", 1, {"wrong_type": 1},
    )  # fmt: skip
    assert (open_one["by"], open_one["decided_at"]) == ("me", None)
    assert counted(ops) == (1, 0)

    tick(conn)
    with alive() as life:
        life.run()
    decided = ops("requests", "show", "pay-1", "--json").document
    assert (decided["state"], decided["error"]) == ("failed", "unroutable")
    assert decided["counted_by"]
    assert counted(ops) == (0, 1)
    said = ops("requests", "show", "pay-1").stdout
    for part in ("1 wrong_type", "not taken by replies.gone: unroutable", "failed"):
        assert part in said


def test_requests_are_listed_newest_first_and_by_state(
    ops: Tool, alive: Alive, sender: Sender
) -> None:
    with alive() as life:
        for number in range(3):
            sender.send(body(UNFIT if number == 1 else item(number), key=f"K-{number}"))
            life.accept()
        sender.ingest()
        life.run()
        sender.send(body(item(5), key="K-3"))
        life.accept()

    listed = ops("requests", "list", "--json").document["requests"]
    assert [(one["request"], one["state"]) for one in listed] == [
        ("K-3", "pending"), ("K-2", "done"), ("K-1", "failed"), ("K-0", "done"),
    ]  # fmt: skip
    for state, keys in {"failed": ["K-1"], "done": ["K-2", "K-0"], "running": []}.items():
        found = ops("requests", "list", "--state", state, "--json").document["requests"]
        assert [one["request"] for one in found] == keys
    assert "K-3" in ops("requests", "list", "--limit", "1").stdout


def test_a_request_that_is_not_known_is_said_not_to_be(ops: Tool) -> None:
    done = ops("requests", "show", "nothing")

    assert (done.code, done.stdout) == (1, "")
    assert "no request nothing" in done.stderr
    assert ops("requests", "list").stdout == "none\n"
