"""`ops send` and `ops load`: one transaction has one identity, and no other has the same."""

import hashlib
import json
from pathlib import Path

import psycopg
import pytest

from ops.sending import record
from ops.sending.batch import Batch
from tests.support import messages, ops_tool
from tests.support.eventually import eventually
from tests.support.ops_tool import NOWHERE, Tool

HEADER = "id,value,message_id\n"


@pytest.fixture
def ops(amqp_url: str, dsn: str) -> Tool:
    """The tool beside a broker that has the queue, and Postgres."""
    with messages.channel(amqp_url) as channel:
        channel.queue_declare(messages.QUEUE, durable=True)
    return ops_tool.deployment(amqp_url=amqp_url, dsn=dsn)


def written(folder: Path, name: str, text: str) -> str:
    """Write a file and return its path."""
    (folder / name).write_text(text)
    return str(folder / name)


def test_an_identity_in_two_files_of_one_command_is_pointed_out(ops: Tool, tmp_path: Path) -> None:
    one = written(tmp_path, "one.csv", HEADER + "1,1,m1\n")
    other = written(tmp_path, "other.csv", HEADER + "1,2,m1\n1,3,m3\n")

    done = ops.json("send", "--file", one, "--file", other, code=1)

    assert done["confirmed"] == 2
    assert [(line["file"], line["line"]) for line in done["invalid_lines"]] == [("other.csv", 2)]


def test_an_identity_like_those_that_are_made_up_is_not_sent_beside_them(
    ops: Tool, tmp_path: Path
) -> None:
    mixed = written(tmp_path, "mixed.csv", HEADER + "1,1,day:3\n1,1,\n")
    rest = written(tmp_path, "rest.csv", HEADER + "1,1,day:4\n")

    done = ops.json("send", "--file", mixed, "--batch", "day", code=1)

    assert (done["confirmed"], [one["line"] for one in done["invalid_lines"]]) == (1, [2])
    assert "like those made up" in done["invalid_lines"][0]["why"]
    assert ops.json("send", "--file", rest, "--batch", "day")["confirmed"] == 1


def test_copies_in_one_command_are_pointed_out(ops: Tool, tmp_path: Path) -> None:
    lines = [f"1,{value}\n" for value in range(100)]
    one = written(tmp_path, "one.csv", "id,value\n" + "".join(lines))
    other = written(tmp_path, "other.csv", "id,value\n" + "".join(lines[1:]))

    done = ops.json("send", "--file", one, "--file", other, code=1)

    assert "one.csv and other.csv have the same lines" in done["error"]["detail"]
    assert messages.waiting_in_queue(ops.settings["RABBITMQ_URL"]) == 0
    both = ops.json("send", "--file", one, "--file", other, "--not-a-copy")
    assert both["confirmed"] == 199


@pytest.mark.parametrize("dsn_now", ["", f"postgresql://user:password@{NOWHERE}/minutebook"])
def test_a_name_that_cannot_be_looked_up_is_not_sent_under(
    ops: Tool, tmp_path: Path, dsn_now: str
) -> None:
    file = written(tmp_path, "one.csv", "id,value\n1,1\n")

    done = ops.json("send", "--file", file, "--batch", "day", code=1, POSTGRES_DSN=dsn_now)
    unnamed = ops.json("send", "--file", file, POSTGRES_DSN=dsn_now)
    name = unnamed["batches"][0]["batch"]

    assert "whether batch day stands for other lines" in done["error"]["detail"]
    again = ops.json("send", "--file", file, "--batch", name, POSTGRES_DSN=dsn_now)
    assert (unnamed["confirmed"], again["confirmed"]) == (1, 1)
    typed = ops.json("send", "1=1", POSTGRES_DSN=dsn_now)["batches"][0]["batch"]
    assert ops("send", "1=1", "--batch", typed, POSTGRES_DSN=dsn_now).code == 0
    assert ops("send", "1=1", "--batch", "day", POSTGRES_DSN=dsn_now).code == 1


def test_a_sending_that_was_refused_leaves_no_record_and_no_file(
    ops: Tool, tmp_path: Path, conn: psycopg.Connection
) -> None:
    file = written(tmp_path, "one.csv", "id,value\n1,1\n")
    rest = tmp_path / "rest.jsonl"
    gone = ("--unconfirmed", "/dev/shm/rest.jsonl")  # noqa: S108 - nothing is written
    nowhere = tmp_path / "nowhere" / "rest.jsonl"

    assert ops("send", "--file", file, "--unconfirmed", str(nowhere)).code == 1
    assert ops("send", "--file", file, *gone, OPS_DEPLOYMENT="compose").code == 1
    assert conn.execute("SELECT count(*) FROM operator_action").fetchone() == (0,)
    ops.json("send", "--file", file)
    assert ops("send", "--file", file, "--unconfirmed", str(rest)).code == 1
    assert not rest.exists()


def test_a_copy_that_somebody_begins_at_the_same_time_is_waited_for(
    ops: Tool, tmp_path: Path, conn: psycopg.Connection
) -> None:
    file = written(tmp_path, "one.csv", "id,value\n1,1\n")
    sha256 = hashlib.sha256(b"id,value\n1,1\n").hexdigest()
    other = Batch("theirs", "theirs.csv", sha256, lines=1, made_up=1)

    conn.execute("BEGIN")
    conn.execute(record.LOCK)
    record.note(conn, [other], record.BEGUN, "day shift")
    with ops.started("send", "--file", file, "--json") as process:
        eventually(lambda: waits(conn))
        conn.execute("COMMIT")
        stdout, _ = process.communicate(timeout=60)

    assert "the same lines were sent as batch theirs" in json.loads(stdout)["error"]["detail"]


def waits(conn: psycopg.Connection) -> bool:
    """Say whether somebody waits for an advisory lock."""
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    return conn.execute(query).fetchone() != (0,)


@pytest.mark.parametrize("source", ["header:x-ref", "field:ref"])
def test_lines_count_once_wherever_ingest_finds_identities(
    ops: Tool, dsn: str, amqp_url: str, conn: psycopg.Connection, source: str
) -> None:
    messages.add_providers(conn)
    line = '{"id": 1, "value": 6, "ref": "r"}'
    options = ("--file", "-", "--again", "--ignore-columns", "ref")
    for _ in range(2):
        assert ops("send", *options, stdin=line, INGEST_MESSAGE_ID=source).code == 0
    with messages.ingest(dsn, amqp_url, INGEST_MESSAGE_ID=source) as program:
        eventually(lambda: program.metric("minutebook_ingest_duplicates_total") == 1)

    assert messages.rows(conn) == [(1, 6)]


def test_made_up_load_has_its_identities_where_ingest_looks(
    ops: Tool, dsn: str, amqp_url: str, conn: psycopg.Connection
) -> None:
    messages.add_providers(conn)
    options = ("--rate", "100", "--provider", "1", "--for", "0.2")
    for field in ("id", "value"):
        assert ops("load", *options, INGEST_MESSAGE_ID=f"field:{field}").code == 1
    done = ops.json("load", *options, INGEST_MESSAGE_ID="field:provider")
    with messages.ingest(dsn, amqp_url, INGEST_MESSAGE_ID="field:provider"):
        eventually(lambda: len(messages.rows(conn)) == done["confirmed"] > 0)

    found = conn.execute("SELECT message_id FROM historical_transactions ORDER BY id").fetchall()
    names = [str(name) for (name,) in found]
    assert all(name.startswith("load:") for name in names)
    assert names == sorted(names), "each belongs behind the last one in the index"


@pytest.mark.parametrize("option", ["--provider", "--least", "--most"])
def test_made_up_numbers_are_of_64_bits(ops: Tool, option: str) -> None:
    assert ops("load", "--for", "0.1", option, "9" * 20).code == 2
