"""What cannot be shown changes nothing: the exit code says what was done, and numbers are whole."""

import fcntl
import signal
import sys
import termios
from pathlib import Path
from typing import BinaryIO, cast

import psycopg
import pytest
import redis

from tests.support import keydb_rights, ops_tool, servers
from tests.support.eventually import eventually
from tests.support.ops_tool import Tool

MANY_DEAD_LETTERS = """
INSERT INTO dead_letter (message_id, reason, error, queue, body, properties, state)
SELECT 'm' || n, 'not_json', 'no', 'incoming', 'no', '{}', 'open'
  FROM generate_series(1, 3000) AS n
"""
"""More than a pipe holds."""
LARGE = 2**63 - 1
ENCODINGS = {
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.fixture
def ops(dsn: str, amqp_url: str, store: "redis.Redis", keydb_server: servers.Keydb) -> Tool:
    """The tool beside real servers on which nothing of ours runs."""
    return ops_tool.deployment(dsn, amqp_url, keydb_server.url(keydb_rights.OPERATOR))


def providers(conn: psycopg.Connection) -> list[tuple[str, int]]:
    return conn.execute("SELECT provider_name, initial_value FROM initial_data").fetchall()


def unread(pipe: object) -> int:
    found = fcntl.ioctl(cast("BinaryIO", pipe).fileno(), termios.FIONREAD, bytes(4))
    return int.from_bytes(found, sys.byteorder)


@pytest.mark.parametrize(
    "script",
    [
        "ops dead-letters export | head -1",
        "ops dead-letters list --limit 3000 | head -1",
        "ops dead-letters list --limit 3000 --json | true",
        "ops balances | true",
        "ops --help | true",
        "ops status --help | true",
    ],
)
def test_a_reader_that_leaves_is_no_failure(
    ops: Tool, conn: psycopg.Connection, script: str
) -> None:
    conn.execute(MANY_DEAD_LETTERS)

    done = ops.shell(script)

    assert (done.code, done.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_a_terminal_has_no_characters_for_is_escaped_and_done_all_the_same(
    ops: Tool, conn: psycopg.Connection, encoding: str
) -> None:
    done = ops.shell("ops provider add Zür✓ 5", **ENCODINGS[encoding])
    checked = ops.shell("ops doctor", **ENCODINGS[encoding])

    assert (done.code, done.stderr) == (0, "")
    assert "r\\u2713 (5) added" in done.stdout
    assert providers(conn) == [("Zür✓", 5)]
    assert checked.code == ops("doctor").code
    assert "Traceback" not in checked.stderr


@pytest.mark.parametrize("where", ["> /dev/full", ">&-", "1< /dev/null"])
def test_a_change_that_was_made_exits_0_where_its_answer_cannot_be_written(
    ops: Tool, conn: psycopg.Connection, where: str
) -> None:
    done = ops.shell(f"ops provider add Visa 5 {where}")

    assert done.code == 0
    assert done.stderr.startswith("the answer could not be written: ")
    assert providers(conn) == [("Visa", 5)]
    assert ops.shell(f"ops provider add --json Visa 5 {where} 2>&-").code == 0
    refused = ops.shell(f"ops provider add --json --id 1 Visa 5 {where}")
    assert (refused.code, refused.stderr) == (1, done.stderr)


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("> /dev/full", "standard output cannot be written: No space left on device"),
        (">&-", "standard output cannot be written: Bad file descriptor"),
        ("--output /dev/full", "/dev/full cannot be written: No space left on device"),
        ("--output /no/folder/f", "/no/folder/f cannot be written: No such file or directory"),
        ("--output /proc/f", "/proc/f cannot be written: No such file or directory"),
    ],
)
def test_dead_letters_that_could_not_all_be_exported_are_a_refusal_in_words(
    ops: Tool, conn: psycopg.Connection, output: str, why: str
) -> None:
    conn.execute(MANY_DEAD_LETTERS)

    done = ops.shell(f"ops dead-letters export {output}")

    assert (done.code, done.stderr) == (1, f"refused: {why}\n")


@pytest.mark.parametrize("columns", [40, 10])
def test_a_narrow_terminal_folds_text_and_shows_every_digit(
    ops: Tool, conn: psycopg.Connection, columns: int
) -> None:
    ops("provider", "add", "A provider with a name that is not short", str(-LARGE))
    conn.execute(MANY_DEAD_LETTERS)

    balances = ops.on_terminal("balances", columns=columns)
    dead_letters = ops.on_terminal("dead-letters", "list", "--limit", "3000", columns=columns)
    shown = ops.on_terminal("dead-letters", "show", "3000", columns=columns)

    assert f" {-LARGE:+} " in balances
    assert {str(n) for n in range(1, 3001)} <= set(dead_letters.split())
    assert "…" not in balances + dead_letters + shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_send_that_waits_for_its_input_ends_when_it_is_told_to(
    ops: Tool, number: signal.Signals
) -> None:
    with ops.started("send", "--file", "-") as process:
        assert process.stdin is not None
        process.stdin.write(b"id,value\n1,5\n1,6")
        process.stdin.flush()
        eventually(lambda: unread(process.stdin) == 0)

        process.send_signal(number)

        assert process.wait(60) == 130


def test_a_file_that_would_be_gone_with_the_container_is_refused(ops: Tool, tmp_path: Path) -> None:
    inside = {"OPS_DEPLOYMENT": "compose"}
    file = tmp_path / "letters.jsonl"

    gone = ops("dead-letters", "export", "--output", str(file), **inside)
    piped = ops.shell("ops dead-letters export --output /dev/stdout | cat", **inside)

    assert gone.code == 1
    assert "would be gone with this container" in " ".join(gone.stderr.split())
    assert not file.exists()
    assert piped.code == 0


def test_an_argument_that_is_no_text_is_refused(ops: Tool, conn: psycopg.Connection) -> None:
    done = ops.shell(r"ops provider add $'\xff' 5")

    assert done.code == 2
    assert "not UTF-8" in done.stderr
    assert providers(conn) == []
