"""`ops send --file`: a file's lines count once, whatever is sent again, and copies are noticed."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support import messages, ops_tool
from tests.support.eventually import eventually
from tests.support.ops_tool import Tool

TABLE = "id,value\n" + "".join(f"1,{value}\n" for value in range(1, 21))


@pytest.fixture
def ops(amqp_url: str, dsn: str) -> Tool:
    """The tool beside a broker that has the queue, and Postgres."""
    with messages.channel(amqp_url) as channel:
        channel.queue_declare(messages.QUEUE, durable=True)
    return ops_tool.deployment(amqp_url=amqp_url, dsn=dsn)


def in_queue(ops: Tool) -> list[tuple[Any, str]]:
    """Take all messages from the queue: body and identity."""
    found: list[tuple[Any, str]] = []
    with messages.channel(ops.settings["RABBITMQ_URL"]) as channel:
        while True:
            method, properties, body = channel.basic_get(messages.QUEUE, auto_ack=True)
            if method is None or properties is None or body is None:
                return found
            found.append((json.loads(body), properties.message_id or ""))


def refused(ops: Tool, *arguments: str) -> str:
    """Return why a command sends nothing."""
    done = ops.json("send", *arguments, code=1)
    assert in_queue(ops) == []
    return str(done["error"]["detail"])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A file of twenty lines."""
    found = tmp_path / "payments.csv"
    found.write_text(TABLE)
    return found


def test_lines_have_the_identities_of_their_file_and_place(ops: Tool, table: Path) -> None:
    first = ops.json("send", "--file", str(table))
    sent = in_queue(ops)
    again = ops.json("send", "--file", str(table), "--again")

    (batch,) = first["batches"]
    assert (first["made_up_ids"], first["recorded"], batch["lines"]) == (20, True, 20)
    assert batch["batch"] == f"payments.csv:{batch['sha256'][:16]}"
    assert [name for _, name in sent] == [f"{batch['batch']}:{line}" for line in range(2, 22)]
    assert again["batches"] == first["batches"]
    assert in_queue(ops) == sent


def test_a_file_that_is_sent_twice_counts_once(
    ops: Tool, table: Path, dsn: str, amqp_url: str, conn: psycopg.Connection
) -> None:
    messages.add_providers(conn)
    ops.json("send", "--file", str(table))
    ops.json("send", "--file", str(table), "--again")
    ops.json("send", "1=600", "1=600")  # typed: meant twice
    with messages.ingest(dsn, amqp_url) as program:
        eventually(lambda: program.metric("minutebook_ingest_duplicates_total") == 20)

    assert sorted(value for _, value in messages.rows(conn)) == [*range(1, 21), 600, 600]


def test_a_file_that_was_confirmed_whole_is_not_sent_again_unasked(ops: Tool, table: Path) -> None:
    ops.json("send", "--file", str(table))
    in_queue(ops)

    why = refused(ops, "--file", str(table))

    assert "was sent and confirmed whole: nothing is left to send" in why
    assert "night shift" in why


def test_two_days_files_that_are_alike_are_pointed_out_and_count_twice_when_named(
    ops: Tool, table: Path
) -> None:
    ops.json("send", "--file", str(table), "--batch", "monday")
    monday = in_queue(ops)

    why = refused(ops, "--file", str(table), "--batch", "tuesday")
    ops.json("send", "--file", str(table), "--batch", "tuesday", "--not-a-copy")

    assert "the same lines were sent as batch monday" in why
    tuesday = in_queue(ops)
    assert [body for body, _ in tuesday] == [body for body, _ in monday]
    assert not {name for _, name in monday} & {name for _, name in tuesday}


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("payments.csv", (), "many of the same lines"),
        ("other.csv", (), "many of the same lines"),
        ("other.csv", ("--batch", "other"), "many of the same lines"),
        ("other.csv", ("--batch", "first"), "had other lines"),
    ],
)
def test_a_file_without_its_first_line_is_pointed_out(
    ops: Tool, table: Path, name: str, options: tuple[str, ...], why: str
) -> None:
    ops.json("send", "--file", str(table), "--batch", "first")
    in_queue(ops)
    cut = table.parent / name
    cut.write_text(TABLE.replace("1,1\n", "", 1))

    assert why in refused(ops, "--file", str(cut), *options)


def test_a_files_name_with_other_lines_is_pointed_out_until_it_is_named(
    ops: Tool, table: Path
) -> None:
    ops.json("send", "--file", str(table))
    in_queue(ops)
    table.write_text("id,value\n1,600\n")

    why = refused(ops, "--file", str(table))

    assert "a file payments.csv with other lines was sent" in why
    assert ops.json("send", "--file", str(table), "--batch", "tuesday")["confirmed"] == 1


def test_standard_input_is_known_by_its_content(ops: Tool) -> None:
    assert ops("send", "--file", "-", stdin=TABLE).code == 0
    assert ops("send", "--file", "-", stdin="id,value\n1,600\n").code == 0
    sent = in_queue(ops)

    assert len({name for _, name in sent}) == len(sent) == 21
    assert ops("send", "--file", "-", stdin=TABLE).code == 1
    assert in_queue(ops) == []


def test_several_files_are_all_sent_or_none_is(ops: Tool, table: Path) -> None:
    lines = table.parent / "more.jsonl"
    lines.write_text('{"id": 2, "value": 5}\n')
    files = ("--file", str(table), "--file", str(lines))

    done = ops.json("send", *files)

    assert (done["confirmed"], [one["file"] for one in done["batches"]]) == (
        21,
        ["payments.csv", "more.jsonl"],
    )
    assert len(in_queue(ops)) == 21
    assert ops("send", *files, "--batch", "both").code == 2
    assert "have the same lines" in refused(ops, "--file", str(table), "--file", str(table))
    table.write_text("id,value,currency\n1,6,EUR\n")
    assert "payments.csv, line 1: the column 'currency'" in refused(ops, *files)


def test_one_identity_that_cannot_be_sent_does_not_hold_back_a_thousand(
    ops: Tool, table: Path
) -> None:
    rows = [b"1,%d,m%d" % (number, number) for number in range(1000)]
    rows[500:500] = [b"1,7," + b"x" * 300, b"1,7,\xff", b"1,7,a\0b", b"1,7,m7"]
    table.write_bytes(b"id,value,message_id\n" + b"\n".join(rows))

    done = ops.json("send", "--file", str(table), code=1)

    assert [one["line"] for one in done["invalid_lines"]] == [502, 503, 504, 505]
    assert [one["why"].partition(":")[0] for one in done["invalid_lines"]] == [
        *["bad_identity"] * 3, "its identity is that of an earlier line",
    ]  # fmt: skip
    assert (done["confirmed"], done["made_up_ids"], done["recorded"]) == (1000, 0, False)
    assert [name for _, name in in_queue(ops)] == [f"m{number}" for number in range(1000)]


def test_all_or_nothing_sends_nothing_beside_a_bad_line(ops: Tool, table: Path) -> None:
    table.write_text(TABLE + "1,12,50\n")

    done = ops.json("send", "--file", str(table), "--all-or-nothing", code=1)

    assert (done["confirmed"], [one["line"] for one in done["invalid_lines"]]) == (0, [22])
    assert in_queue(ops) == []
    assert "line 22 was not sent: 3 columns" in ops("send", "--file", str(table)).stdout
    assert len(in_queue(ops)) == 20


def test_without_postgres_lines_are_sent_and_the_missing_record_is_said(
    ops: Tool, table: Path
) -> None:
    for dsn in ("", "postgresql://user:password@127.0.0.1:9/minutebook"):
        done = ops("send", "--file", str(table), POSTGRES_DSN=dsn)

        assert done.code == 0
        assert "20 identities made up" in done.stdout
        assert "not on record" in done.stdout
    assert len({name for _, name in in_queue(ops)}) == 20


def test_what_was_sent_by_whom_is_on_record(
    ops: Tool, table: Path, conn: psycopg.Connection
) -> None:
    ops.json("send", "--file", str(table), "--batch", "first", code=1, INGEST_QUEUE="nowhere")
    done = ops.json("send", "--file", str(table), "--batch", "first")

    assert [(one["batch"], one["operator"]) for one in done["resumed"]] == [
        ("first", "night shift")
    ]
    noted = conn.execute(
        "SELECT action, subject, outcome, operator, detail ->> 'file', detail -> 'lines'"
        "  FROM operator_action ORDER BY id"
    ).fetchall()
    assert noted == [
        ("batch_sent", "first", outcome, "night shift", "payments.csv", 20)
        for outcome in ("begun", "incomplete", "begun", "confirmed")
    ]


def test_what_is_not_confirmed_is_kept_with_its_identities_and_taken_back(
    ops: Tool, table: Path
) -> None:
    rest = table.parent / "rest.jsonl"
    options = ("--file", str(table), "--unconfirmed", str(rest))

    done = ops.json("send", *options, code=1, INGEST_QUEUE="nowhere")
    assert (done["unroutable"], done["unconfirmed_lines"]) == (20, 20)
    assert ops("send", *options).code == 1  # it is there, and may hold what is not sent yet
    assert in_queue(ops) == []
    assert done["advice"] == f"ops send --file {rest}"

    assert ops.json("send", "--file", str(rest))["made_up_ids"] == 0
    batch = done["batches"][0]["batch"]
    assert [name for _, name in in_queue(ops)] == [f"{batch}:{line}" for line in range(2, 22)]
    rest.unlink()
    assert ops.json("send", *options)["unconfirmed_file"] == ""
    assert not rest.exists()
