"""The example that follows changes has at each complete tick exactly that tick's balances."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import psycopg
import pytest
from pika.exceptions import AMQPError

from tests.support import ledger, messages, node_packages, programs
from tests.support.containers import ROOT
from tests.support.eventually import eventually

EXAMPLES = ROOT / "examples"
QUEUE = "changes.example"
RUN_TIMEOUT_S = START_S = 60.0
HUGE = 2**60 + 1
TICK = "2026-11-28T07:00:00Z"

Event = dict[str, Any]


def command(language: str) -> tuple[Path, list[str]]:
    """Return where an example is, and how it is run."""
    if language == "python":
        return EXAMPLES / "python", [sys.executable, "follow.py"]
    return node_packages.installed(EXAMPLES / "node"), ["node", "follow.mjs"]


@contextlib.contextmanager
def following(
    language: str, amqp_url: str, state: Path, ticks: int | None = None, queue: str = QUEUE
) -> Iterator["subprocess.Popen[str]"]:
    """Run the example while inside; it consumes by then, or has done all it was to do."""
    folder, program = command(language)
    settings = {"RABBITMQ_URL": amqp_url, "CHANGES_QUEUE": queue}
    most = [] if ticks is None else [str(ticks)]
    with subprocess.Popen(
        [*program, str(state), *most],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            eventually(
                lambda: consumers(amqp_url, queue) or process.poll() is not None, RUN_TIMEOUT_S
            )
            yield process
        finally:
            process.kill()


def consumers(amqp_url: str, queue: str) -> int:
    with contextlib.suppress(AMQPError), messages.channel(amqp_url) as observer:
        return int(observer.queue_declare(queue, passive=True).method.consumer_count)
    return 0


def change(token: str, number: int, provider: int, amount: int, *, kind: str = "added") -> Event:
    about = "provider" if kind == "removed" else "transaction"
    return {
        "event": f"{about}.{kind}", "id": f"{token}:t:{number}", "operation": kind.upper(),
        "source_id": number, "provider_id": provider, "amount": str(amount), "message_id": None,
        "tick": TICK, "epoch": 0,
    }  # fmt: skip


def read(start: str, provider: int, balance: int) -> Event:
    return {
        "event": "balance.read", "id": f"{start}:{provider}", "operation": "READ",
        "source_id": provider, "provider_id": provider, "key": f"{provider}_X",
        "balance": str(balance), "tick": TICK, "epoch": 0,
    }  # fmt: skip


def closed(
    name: str, epoch: int, previous: str | None, *, transactions: int = 0, balances: int = 0
) -> Event:
    return {
        "event": "tick.closed", "id": f"{name}:tick", "tick": TICK, "epoch": epoch,
        "previous_id": previous and f"{previous}:tick", "anew": ":r:" in name,
        "transactions": transactions, "providers": 0, "balances": balances, "amount": "0",
    }  # fmt: skip


def publish(amqp_url: str, *events: Event) -> None:
    with messages.channel(amqp_url) as feed:
        feed.confirm_delivery()
        for one in events:
            about = pika.BasicProperties(
                message_id=one["id"], type=one["event"], delivery_mode=2,
                content_type="application/json",
            )  # fmt: skip
            feed.basic_publish("changes", one["event"], json.dumps(one).encode(), about)


def balances(state: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(state.read_text())["balances"] if state.exists() else {}
    return found


def ends(process: "subprocess.Popen[str]") -> str:
    """Return what it said, once it has ended as it should."""
    said, _ = process.communicate(timeout=RUN_TIMEOUT_S)
    assert process.returncode == 0, said
    return said


@pytest.mark.parametrize("language", ["python", "node"])
def test_repetitions_and_ticks_that_were_never_closed_change_nothing(
    amqp_url: str, tmp_path: Path, language: str
) -> None:
    state = tmp_path / "state.json"
    first = [change("b", 1, 1, 600), change("b", 2, 2, -HUGE), change("b", 1, 1, 600)]
    end = closed("b", 6, "a:r:x", transactions=2)
    with following(language, amqp_url, state, 3) as process:
        publish(
            amqp_url,
            *(read("a:r:w", 1, 7), read("a:r:x", 1, 100), read("a:r:x", 2, HUGE)),
            closed("a:r:x", 5, None, balances=2),
            *(*first, end, *first, end),
            change("lost", 3, 1, 1000),
            *(change("d", 3, 1, -100), change("d", 4, 3, 50)),
            closed("d", 7, "b", transactions=2),
        )
        ends(process)

    assert balances(state) == {"1": "600", "2": "0", "3": "50"}


@pytest.mark.parametrize("language", ["python", "node"])
def test_what_was_missed_is_said_and_only_a_new_reading_counts_again(
    amqp_url: str, tmp_path: Path, language: str
) -> None:
    state = tmp_path / "state.json"
    with following(language, amqp_url, state, 1) as process:
        publish(amqp_url, change("z", 1, 1, 5), closed("z", 8, "y", transactions=1))
        publish(amqp_url, read("a:r:x", 1, 100), closed("a:r:x", 9, None, balances=1))
        assert "tick 8: missed something" in ends(process)
    # Its own queue keeps what comes while it is away. Less than was sent came of tick 10.
    publish(amqp_url, change("b", 2, 1, 5), closed("b", 10, "a:r:x", transactions=2))
    publish(amqp_url, change("c", 4, 1, 5), closed("c", 11, "b", transactions=1))
    publish(amqp_url, read("e:r:f", 1, 42), closed("e:r:f", 3, None, balances=1))
    publish(amqp_url, change("g", 5, 1, -2), closed("g", 4, "e:r:f", transactions=1))
    with following(language, amqp_url, state, 2) as process:
        said = ends(process)

    assert "tick 10: missed something" in said
    assert "tick 11: missed something" in said
    assert balances(state) == {"1": "40"}


def test_both_have_the_balances_that_the_feed_tells(
    environment: dict[str, str], conn: psycopg.Connection, tmp_path: Path
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    ledger.add_provider(conn, "Mastercard", -(2**60))
    url, states = environment["RABBITMQ_URL"], [tmp_path / one for one in ("python", "node")]
    with (
        programs.running("services.syncer", **environment),
        programs.running("services.ticker", **environment),
        following("python", url, states[0], queue="changes.python"),
        following("node", url, states[1], queue="changes.node"),
        programs.running("services.feed", **environment),
    ):
        eventually(lambda: all(len(balances(one)) == 2 for one in states), START_S)
        ledger.add(conn, 1, 600)
        ledger.add(conn, 2, -1)
        conn.execute("UPDATE initial_data SET initial_value = 5 WHERE id = 1")
        conn.execute("INSERT INTO initial_data VALUES (3, 'Brief', 7)")
        conn.execute("DELETE FROM initial_data WHERE id = 3")
        told = {"1": "605", "2": str(-(2**60) - 1)}
        for one in states:
            eventually(lambda one=one: told.items() <= balances(one).items(), START_S)  # type: ignore[misc]
            assert balances(one).get("3", "0") == "0"
