"""`ops send` and `ops load`: what is said to be confirmed is what arrives, once."""

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from pydantic import Secret

from ops.sending.producer import Outgoing, producing
from shared.settings import RabbitmqSettings
from tests.support import messages, ops_tool, servers
from tests.support.eventually import eventually
from tests.support.ops_tool import Tool
from tests.support.tcp_proxy import proxying


@pytest.fixture
def ops(amqp_url: str) -> Iterator[Tool]:
    """The tool beside a broker that has the queue, and nothing else."""
    with messages.channel(amqp_url) as channel:
        channel.queue_declare(messages.QUEUE, durable=True)
        yield ops_tool.deployment(amqp_url=amqp_url)


def taken(ops: Tool) -> list[tuple[bytes, str, int]]:
    """Take all messages from the queue: body, identity, delivery mode."""
    found: list[tuple[bytes, str, int]] = []
    with messages.channel(ops.settings["RABBITMQ_URL"]) as channel:
        while True:
            method, properties, body = channel.basic_get(messages.QUEUE, auto_ack=True)
            if method is None or properties is None or body is None:
                return found
            found.append((body, properties.message_id or "", properties.delivery_mode or 0))


def test_arguments_arrive_persistent_each_with_an_identity(ops: Tool) -> None:
    done = ops.json("send", "1=600", "2=-50")

    assert (done["confirmed"], done["invalid"], done["undecided"]) == (2, 0, 0)
    (first, one, mode), (second, another, _) = taken(ops)
    assert (first, second, mode) == (b'{"id":1,"value":600}', b'{"id":2,"value":-50}', 2)
    assert len({one, another, ""}) == 3


def test_the_identity_of_one_transaction_can_be_given(ops: Tool) -> None:
    assert ops("send", "1=600", "--message-id", "payment-4711").code == 0
    assert ops("send", "1=1", "1=2", "--message-id", "both").code == 2
    assert ops("send", "1=1", "--message-id", "").code == 2

    assert [name for _, name, _ in taken(ops)] == ["payment-4711"]


def test_files_and_standard_input_are_read_line_by_line(ops: Tool, tmp_path: Path) -> None:
    table = tmp_path / "some.csv"
    table.write_text("id,value,message_id\n1,600,m1\n2,x,m2\n")

    piped = ops("send", "--file", "-", "--json", stdin='{"id": 1, "value": 5}\n\nno\n')
    read = ops.json("send", "--file", str(table), code=1)

    assert piped.code == 1
    assert [one["line"] for one in piped.document["invalid_lines"]] == [3]
    assert [one["line"] for one in read["invalid_lines"]] == [3]
    assert [body for body, _, _ in taken(ops)] == [
        b'{"id": 1, "value": 5}',
        b'{"id":1,"value":600}',
    ]


def test_what_would_become_a_dead_letter_is_sent_only_when_told(ops: Tool) -> None:
    assert ops("send", '{"id": 1}').code == 1
    assert ops("send", '{"id": 1}', "--unchecked").code == 0

    assert [body for body, _, _ in taken(ops)] == [b'{"id": 1}']


def test_a_queue_that_does_not_exist_is_no_confirm(ops: Tool) -> None:
    done = ops.json("send", "1=600", code=1, INGEST_QUEUE="nowhere")

    assert (done["confirmed"], done["unroutable"]) == (0, 1)


def test_a_queue_that_does_not_exist_is_made_when_told_and_used_when_it_does(ops: Tool) -> None:
    assert "--declare" in ops("send", "1=600", INGEST_QUEUE="new").stdout
    for _ in range(2):
        declared = ops.json("send", "1=600", "--declare", INGEST_QUEUE="new")
        assert (declared["confirmed"], declared["unroutable"]) == (1, 0)


def test_what_a_full_queue_refuses_is_no_confirm_and_is_kept(ops: Tool, tmp_path: Path) -> None:
    with messages.channel(ops.settings["RABBITMQ_URL"]) as channel:
        full = {"x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish"}
        channel.queue_declare("full", durable=True, arguments=full)
    rest = tmp_path / "rest.jsonl"

    options = ("--unconfirmed", str(rest))
    done = ops.json("send", *["1=1"] * 50, *options, code=1, INGEST_QUEUE="full")

    assert done["refused"] > 0
    assert done["confirmed"] + done["refused"] == 50
    assert len(rest.read_text().splitlines()) == done["unconfirmed_lines"] == done["refused"]


def test_many_are_confirmed_while_others_are_on_their_way(ops: Tool) -> None:
    lines = "".join(f'{{"id": 1, "value": {number}}}\n' for number in range(20_000))

    done = ops("send", "--file", "-", "--json", stdin=lines).document

    assert done["confirmed"] == 20_000
    with messages.channel(ops.settings["RABBITMQ_URL"]) as channel:
        assert channel.queue_purge(messages.QUEUE).method.message_count == 20_000


def ended(process: "subprocess.Popen[bytes]") -> Any:
    """Return the document of a command that has ended well."""
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0, stdout
    return json.loads(stdout)


def test_a_connection_that_breaks_loses_nothing_and_doubles_no_identity(
    ops: Tool, amqp_url: str, tmp_path: Path
) -> None:
    lines = tmp_path / "lines.csv"
    names = [f"m{number}" for number in range(6000)]
    lines.write_text("id,value,message_id\n" + "".join(f"1,1,{name}\n" for name in names))
    seen = [0]

    def steady() -> bool:
        seen.append(messages.waiting_in_queue(amqp_url))
        return seen[-1] == seen[-2]

    options = ("--file", str(lines), "--rate", "3000", "--json")
    with (
        proxying(amqp_url) as (proxy, url),
        ops.started("send", *options, RABBITMQ_URL=url) as process,
    ):
        eventually(lambda: messages.waiting_in_queue(amqp_url) > 500)
        with proxy.down():
            eventually(steady)
        done = ended(process)

    assert {name for _, name, _ in taken(ops)} == set(names)
    assert (done["confirmed"], done["undecided"]) == (len(names), 0)


def test_load_stops_when_asked_and_says_what_was_confirmed(ops: Tool, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        messages.add_providers(conn)
    with ops.started("load", "--rate", "500", "--json", POSTGRES_DSN=dsn) as process:
        eventually(lambda: messages.waiting_in_queue(ops.settings["RABBITMQ_URL"]) > 100)
        process.send_signal(signal.SIGINT)
        done = ended(process)

    sums: dict[int, list[int]] = {}
    for body, _, _ in taken(ops):
        found: Any = json.loads(body)
        sums.setdefault(found["id"], []).append(found["value"])
    assert {one["provider"] for one in done["providers"]} == {1, 2}
    assert {one["provider"]: one["amount"] for one in done["providers"]} == {
        provider: sum(values) for provider, values in sums.items()
    }
    assert sum(map(len, sums.values())) == done["confirmed"]


def test_a_broker_that_hangs_up_at_each_message_is_given_up_with_its_words(
    ops: Tool, rabbitmq_server: servers.Rabbitmq
) -> None:
    vhost = urlsplit(ops.settings["RABBITMQ_URL"]).path.strip("/")
    nothing = {"configure": "", "write": "", "read": ""}
    rabbitmq_server.manage("PUT", f"permissions/{vhost}/{servers.USER}", nothing)

    done = ops.json("send", "1=600", code=3)

    assert "ACCESS_REFUSED" in done["error"]["detail"]
    assert (done["undecided"], done["advice"][:30]) == (1, "send the same again with --bat")


def test_an_identity_that_amqp_cannot_carry_is_not_taken_for_the_connections_fault(
    amqp_url: str, ops: Tool
) -> None:
    decided: list[str] = []
    chosen = RabbitmqSettings(rabbitmq_url=Secret(amqp_url))

    with producing(chosen, messages.QUEUE, lambda _, fate: decided.append(fate), name="t") as one:
        for identity in ("x" * 256, "\udcff"):
            with pytest.raises(ValueError, match=r"identity|surrogates"):
                one.put(Outgoing(b"{}", identity), threading.Event())
        one.put(Outgoing(b"{}", "m" * 255), threading.Event())
        assert one.flush(10)

    assert decided == ["confirmed"]


def test_a_rate_is_not_exceeded(ops: Tool) -> None:
    done = ops.json("load", "--rate", "100", "--provider", "1", "--for", "1")

    assert 0 < done["confirmed"] <= 101
