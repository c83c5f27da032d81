"""`ops send` while the broker stands still: what it then says to do counts every line once."""

import json
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support import containers, messages, ops_tool, outages
from tests.support.eventually import eventually
from tests.support.ops_tool import Done, Tool
from tests.support.own_broker import OwnBroker

LINES = 300
VALUES = range(1, LINES + 1)
SAME = "send the same again with "


@pytest.fixture
def amqp_url(own: OwnBroker) -> Iterator[str]:
    """A virtual host of the test's own on it."""
    with own.server.vhost() as url:
        yield url


@pytest.fixture
def ops(amqp_url: str, dsn: str) -> Tool:
    """The tool beside a broker that has the queue, and Postgres."""
    with messages.channel(amqp_url) as channel:
        channel.queue_declare(messages.QUEUE, durable=True)
    return ops_tool.deployment(amqp_url=amqp_url, dsn=dsn)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A file of so many lines."""
    found = tmp_path / "payments.csv"
    found.write_text("id,value\n" + "".join(f"1,{value}\n" for value in VALUES))
    return found


def sent_until_paused(own: OwnBroker, ops: Tool, *arguments: str, signal_: int | None) -> Done:
    """Pause the broker in the middle of a send; end that by a signal, or let it give up."""
    with ops.started("send", *arguments, "--rate", "50") as process:
        eventually(lambda: messages.waiting_in_queue(ops.settings["RABBITMQ_URL"]) > 20)
        containers.freeze(own.container)
        with outages.afterwards(own.container.unpause):
            if signal_ is not None:
                # What goes now is on its way and never confirmed.
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.5)
                process.send_signal(signal_)
            stdout, _ = process.communicate(timeout=120)
    return Done(process.returncode, stdout.decode(), "")


def follow(ops: Tool, advice: str, arguments: tuple[str, ...]) -> Done:
    """Do exactly what was told."""
    if advice.startswith(SAME):
        return ops("send", *arguments, *shlex.split(advice.removeprefix(SAME)))
    assert advice.startswith("ops ")
    return ops(*shlex.split(advice.removeprefix("ops ")))


def rows(ops: Tool, conn: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Return what is stored once ingest has taken all."""
    messages.add_providers(conn)
    amqp_url = ops.settings["RABBITMQ_URL"]
    with messages.ingest(ops.settings["POSTGRES_DSN"], amqp_url):
        eventually(lambda: len(messages.rows(conn)) >= LINES)
        eventually(lambda: messages.waiting_in_queue(amqp_url) == 0)
    assert conn.execute("SELECT count(*) FROM dead_letter").fetchone() == (0,)
    return sorted(messages.rows(conn))


@pytest.mark.parametrize("way", ["unconfirmed", "typed"])
def test_what_was_interrupted_is_completed_as_told_and_every_line_counts_once(
    own: OwnBroker, ops: Tool, conn: psycopg.Connection, table: Path, way: str
) -> None:
    rest = table.parent / "rest.jsonl"
    signal_ = {"unconfirmed": signal.SIGINT, "typed": signal.SIGTERM}[way]
    arguments = {
        "unconfirmed": ("--file", str(table), "--unconfirmed", str(rest)),
        "typed": tuple(f"1={value}" for value in VALUES),
    }[way]

    done = sent_until_paused(own, ops, *arguments, "--json", signal_=signal_)

    assert done.code == 1
    found = json.loads(done.stdout)
    assert found["undecided"] > 0
    assert found["not_sent"] > 0
    assert found["confirmed"] + found["undecided"] + found["not_sent"] == LINES
    assert (str(rest) in found["advice"]) == (way == "unconfirmed")
    completed = follow(ops, found["advice"], arguments)
    assert completed.code == 0, completed
    assert rows(ops, conn) == [(1, value) for value in VALUES]


def test_what_was_given_up_is_completed_as_told_and_every_line_counts_once(
    own: OwnBroker, ops: Tool, conn: psycopg.Connection, table: Path
) -> None:
    arguments = ("--file", str(table), "--give-up-after", "1")

    done = sent_until_paused(own, ops, *arguments, signal_=None)

    assert done.code == 3
    assert "may or may not have arrived" in done.stdout
    assert "gave up: ConnectionOpenAborted (no answer in time)" in done.stdout
    (advice,) = (line for line in done.stdout.splitlines() if line.startswith("to go on: "))
    advice = advice.removeprefix("to go on: ").partition(" (")[0]
    completed = follow(ops, advice, arguments)
    assert completed.code == 0, completed
    assert rows(ops, conn) == [(1, value) for value in VALUES]
