"""`ops dead-letters`: what is kept can be seen, taken out, and thrown away on record."""

import base64
import json
from pathlib import Path

import psycopg
import pytest

from ops.dead_letters.core import Choice
from ops.dead_letters.store import PAGE_BYTES
from ops.dead_letters.store import pages as dead_letter_pages
from tests.support import messages, ops_tool
from tests.support.messages import body
from tests.support.ops_tool import Tool
from tests.support.stored_dead_letters import actions, dead_letters, store
from tests.support.unfit_bodies import UNFIT_BODIES


def test_dead_letters_are_listed_by_reason_state_provider_and_time(ops: Tool) -> None:
    store(ops, *((text, reason) for reason, text in UNFIT_BODIES.items()), (body(9), "early"))

    assert set(dead_letters(ops)) == {*UNFIT_BODIES, "early"}
    assert set(dead_letters(ops, "--reason", "not_json")) == {"not_json"}
    assert set(dead_letters(ops, "--state", "waiting")) == {"early"}
    assert set(dead_letters(ops, "--provider", "9")) == {"early"}
    assert "missing_field" in dead_letters(ops, "--provider", "1")
    assert dead_letters(ops, "--until", "1h") == {}
    assert len(dead_letters(ops, "--since", "1h", "--limit", "3")) == 3


def test_the_numbers_by_reason_are_of_the_dead_letters_that_were_asked_for(ops: Tool) -> None:
    store(
        ops,
        (b"no", "a"),
        (b'{"id": 1}', "b"),
        (b'{"id": 2}', "c"),
        (b'{"id": 2, "value": "x"}', "d"),
    )

    found = ops.json("dead-letters", "list", "--provider", "2")["counts"]

    assert found == [
        {"state": "open", "reason": "missing_field", "letters": 1},
        {"state": "open", "reason": "wrong_type", "letters": 1},
    ]


def test_a_dead_letter_is_shown_with_its_body_and_why(ops: Tool) -> None:
    store(ops, (b'{"id": 1, \x1b[2J}', "odd"))
    (number,) = dead_letters(ops).values()

    said = ops("dead-letters", "show", str(number)).stdout
    line = ops.json("dead-letters", "show", str(number))

    assert "not_json" in said
    assert "\\x1b[2J" in said
    assert "None" not in said
    assert base64.b64decode(line["body_base64"]) == b'{"id": 1, \x1b[2J}'
    assert ops("dead-letters", "show", "4711").code == 1


def test_a_dead_letter_is_shown_with_the_provider_that_only_its_body_names(ops: Tool) -> None:
    store(ops, (b'{"id": 2}', "short"))
    (number,) = dead_letters(ops).values()

    said = ops("dead-letters", "show", str(number)).stdout.splitlines()

    assert ["provider_id", "2"] in [line.split() for line in said]


def test_a_provider_whose_number_is_0_is_listed_as_any_other(ops: Tool) -> None:
    store(ops, (b'{"id": 0, "value": "x"}', "zero"), (b"{}", "of nobody"))

    cells = [line.split() for line in ops("dead-letters", "list").stdout.splitlines()]

    assert [line[4:6] for line in cells if line[2:3] == ["open"]] == [["0", "zero"], ["-", "of"]]


def test_exported_dead_letters_have_their_bodies_byte_for_byte(ops: Tool, tmp_path: Path) -> None:
    store(ops, *((text, reason) for reason, text in UNFIT_BODIES.items()))
    file = tmp_path / "letters.jsonl"

    lines = ops("dead-letters", "export").stdout.splitlines()
    said = ops.json("dead-letters", "export", "--output", str(file))

    found = {one["reason"]: base64.b64decode(one["body_base64"]) for one in map(json.loads, lines)}
    assert found == UNFIT_BODIES
    assert said == {"letters": len(UNFIT_BODIES), "output": str(file), "absent": []}
    assert file.read_text().splitlines() == lines
    assert ops("dead-letters", "export", "--json").code == 2


def test_a_purge_asks_first_and_is_kept_on_record(ops: Tool, conn: psycopg.Connection) -> None:
    store(ops, (b"one", "a"), (b"[]", "b"))

    declined = ops("dead-letters", "purge", "--reason", "not_json", stdin="n\n")
    assert declined.code == 1
    assert len(messages.dead_letters(conn)) == 2
    assert ops("dead-letters", "purge", "--reason", "not_json", stdin="y\n").code == 0
    assert ops.json("dead-letters", "purge", "--all", "--yes") == {"purged": 1, "absent": []}

    assert messages.dead_letters(conn) == []
    assert [one[:4] for one in actions(conn)] == [
        ("dead_letter_purged", actions(conn)[0][1], "deleted", "night shift"),
        ("dead_letter_purged", actions(conn)[1][1], "deleted", "night shift"),
    ]


def test_a_postgres_that_is_down_ends_it_with_3(ops: Tool) -> None:
    nowhere = ops_tool.deployment().settings["POSTGRES_DSN"]

    done = ops("dead-letters", "list", "--json", POSTGRES_DSN=nowhere)

    assert done.code == 3
    assert done.document["error"]["kind"] == "postgres cannot be reached"


@pytest.mark.parametrize(
    "command",
    [["show"], ["list"], ["export"], ["replay"], ["purge", "--yes"]],
)
def test_a_dead_letter_that_never_was_is_said_so_and_is_a_finding(
    ops: Tool, command: list[str]
) -> None:
    done = ops("dead-letters", *command, "99999")

    assert done.code == 1
    said = (done.stdout + done.stderr).splitlines()
    assert "there is no dead letter 99999" in [one.removeprefix("refused: ") for one in said]


@pytest.mark.parametrize("command", [["replay"], ["purge", "--yes"], ["export"], ["list"]])
def test_of_several_dead_letters_those_that_are_there_are_worked_on_and_the_rest_named(
    ops: Tool, tmp_path: Path, command: list[str]
) -> None:
    store(ops, (body(9), "waits"), (b"[]", "other"))
    waits, other = (dead_letters(ops)[name] for name in ("waits", "other"))
    options = ["--output", str(tmp_path / "file")] if command == ["export"] else []

    done = ops.json(
        "dead-letters", *command, *options, str(waits), str(other), "99999", "--state", "waiting",
        code=1,
    )  # fmt: skip

    said = {one["id"]: one["says"] for one in done["absent"]}
    assert said == {
        other: f"dead letter {other} is not of the kind that was asked for",
        99999: "there is no dead letter 99999",
    }
    assert (waits in dead_letters(ops).values()) == (command != ["purge", "--yes"])


def test_a_dead_letter_that_was_purged_is_said_so_and_purging_it_again_is_no_failure(
    ops: Tool,
) -> None:
    store(ops, (b"[]", "a"))
    (number,) = map(str, dead_letters(ops).values())
    assert ops("dead-letters", "purge", number, "--yes").code == 0

    again = ops("dead-letters", "purge", number, "--yes")

    assert again.code == 0
    assert f"there is no dead letter {number} any more: purged at " in again.stdout
    assert "Z by night shift" in again.stdout
    assert ops("dead-letters", "replay", number).code == 1
    assert ops("dead-letters", "show", number).code == 1


def test_large_dead_letters_are_read_a_few_at_a_time(conn: psycopg.Connection) -> None:
    conn.execute(
        "INSERT INTO dead_letter (message_id, reason, error, queue, body, properties, state)"
        " SELECT 'large-' || n, 'too_large', '', 'q', convert_to(repeat(n::text, %s), 'UTF8'),"
        " '{}', 'open' FROM generate_series(1, 3) AS n",
        [PAGE_BYTES - 2**20],
    )

    pages = [[one.message_id for one in page] for page in dead_letter_pages(conn, Choice())]

    assert pages == [["large-1", "large-2"], ["large-3"]]


@pytest.mark.parametrize(
    "arguments",
    [("show", str(2**63)), ("list", str(2**63)), ("list", "--limit", "9" * 20)],
    ids=" ".join,
)
def test_numbers_that_no_dead_letter_can_have_are_wrong_usage(
    ops: Tool, arguments: tuple[str, ...]
) -> None:
    done = ops("dead-letters", *arguments)
    assert (done.code, "is not in the range" in done.stderr) == (2, True), done
