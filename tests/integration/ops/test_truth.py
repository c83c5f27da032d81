"""What the tool says it did, and notes in `operator_action`, is what then stands in the tables."""

import psycopg
import pytest

from tests.support import messages, ops_tool, stored_dead_letters
from tests.support.ops_tool import Tool

VISA = (1, "Visa", 1000)
MASTERCARD = (2, "Mastercard", 2000)
# What a trigger before each row makes of it, by the operation that it is on.
SWALLOW = "RETURN NULL"
KEEP = "NEW := OLD; RETURN NEW"
PUT_BACK = """
IF pg_trigger_depth() = 1 THEN
    UPDATE initial_data SET provider_name = OLD.provider_name WHERE id = OLD.id;
END IF;
RETURN NULL
"""
SHOUT = "NEW.provider_name := upper(NEW.provider_name); RETURN NEW"


@pytest.fixture
def ops(dsn: str) -> Tool:
    """The tool beside Postgres alone."""
    return ops_tool.deployment(dsn)


def providers(conn: psycopg.Connection) -> list[tuple[int, str, int]]:
    return conn.execute("SELECT * FROM initial_data ORDER BY id").fetchall()


def noted(conn: psycopg.Connection) -> list[str]:
    return [action for (action,) in conn.execute("SELECT action FROM operator_action ORDER BY id")]


def make_trigger(
    conn: psycopg.Connection, on: str, does: str, when: str = "BEFORE INSERT OR UPDATE OR DELETE"
) -> None:
    conn.execute(
        f"""
        CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does}; END $$;
        CREATE TRIGGER theirs {when} ON {on} FOR EACH ROW EXECUTE FUNCTION theirs()
        """.encode()
    )


def refused(ops: Tool, *arguments: str) -> str:
    """Run what is refused with the exit code of a refusal; returns its words."""
    done = ops(*arguments, "--json")
    assert done.code == 1, done
    return str(done.document["error"]["detail"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "Amex", "3000"),
        ("add", "Amex", "3000", "--id", "3"),
        ("rename", "1", "Visa Europe"),
        ("set-initial", "1", "5"),
        ("remove", "1"),
    ],
    ids=" ".join,
)
def test_a_change_of_providers_that_a_trigger_swallows_is_refused_and_not_noted(
    arguments: tuple[str, ...], ops: Tool, conn: psycopg.Connection
) -> None:
    messages.add_providers(conn)
    make_trigger(conn, "initial_data", SWALLOW)

    assert "rule or trigger on initial_data" in refused(ops, "provider", *arguments)

    assert providers(conn) == [VISA, MASTERCARD]
    assert noted(conn) == []


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("INSERT", ("add", "Amex", "3000")),
        ("UPDATE", ("rename", "1", "Visa Europe")),
        ("UPDATE", ("set-initial", "1", "5")),
        ("DELETE", ("remove", "1")),
    ],
)
def test_a_change_of_providers_that_a_rule_takes_away_is_refused_and_not_noted(
    event: str, arguments: tuple[str, ...], ops: Tool, conn: psycopg.Connection
) -> None:
    messages.add_providers(conn)
    conn.execute(f"CREATE RULE theirs AS ON {event} TO initial_data DO INSTEAD NOTHING".encode())

    refused(ops, "provider", *arguments)

    assert providers(conn) == [VISA, MASTERCARD]
    assert noted(conn) == []


@pytest.mark.parametrize(
    ("does", "when"), [(KEEP, "BEFORE UPDATE"), (PUT_BACK, "AFTER UPDATE")], ids=["before", "after"]
)
def test_a_name_that_a_trigger_puts_back_is_not_said_to_be_changed(
    does: str, when: str, ops: Tool, conn: psycopg.Connection
) -> None:
    messages.add_providers(conn)
    make_trigger(conn, "initial_data", does, when)

    assert "stay as it was" in refused(ops, "provider", "rename", "1", "Visa Europe")

    assert providers(conn) == [VISA, MASTERCARD]
    assert noted(conn) == []


def test_what_a_trigger_made_of_a_name_is_what_is_said_and_noted(
    ops: Tool, conn: psycopg.Connection
) -> None:
    make_trigger(conn, "initial_data", SHOUT, "BEFORE INSERT OR UPDATE")

    added = ops.json("provider", "add", "Visa", "1000")
    renamed = ops("provider", "rename", "1", "Visa Europe")

    assert added["provider"]["provider_name"] == "VISA"
    assert added["as_asked"] is False
    assert "VISA EUROPE" in renamed.stdout
    assert "NOT as you asked" in renamed.stdout
    details = conn.execute("SELECT detail FROM operator_action ORDER BY id").fetchall()
    asked = {"name": "Visa", "initial_value": 1000}
    assert details == [
        ({"name": "VISA", "initial_value": 1000, "asked": asked},),
        ({"from": "VISA", "to": "VISA EUROPE", "asked": {"to": "Visa Europe"}},),
    ]


@pytest.mark.parametrize(
    "arguments", [("rename", "1", "Visa"), ("set-initial", "1", "1000")], ids=" ".join
)
def test_a_change_to_what_is_there_already_is_refused_and_not_noted(
    arguments: tuple[str, ...], ops: Tool, conn: psycopg.Connection
) -> None:
    messages.add_providers(conn)

    assert "nothing to change" in refused(ops, "provider", *arguments)
    assert noted(conn) == []


def test_where_no_record_is_kept_nothing_is_done(ops: Tool, conn: psycopg.Connection) -> None:
    messages.add_providers(conn)
    make_trigger(conn, "operator_action", SWALLOW, "BEFORE INSERT")

    assert "operator_action keeps no record" in refused(ops, "provider", "rename", "1", "Visum")

    assert providers(conn) == [VISA, MASTERCARD]


def test_a_change_that_no_trigger_of_ours_would_count_is_refused(
    ops: Tool, conn: psycopg.Connection
) -> None:
    messages.add_providers(conn)
    conn.execute("ALTER TABLE initial_data DISABLE TRIGGER minutebook_updated")

    assert "ops doctor" in refused(ops, "provider", "set-initial", "1", "5")

    assert providers(conn) == [VISA, MASTERCARD]
    assert noted(conn) == []


@pytest.mark.parametrize("does", ["purge", "replay"])
def test_dead_letters_that_a_trigger_keeps_are_not_said_to_be_gone(
    does: str, ops: Tool, conn: psycopg.Connection
) -> None:
    messages.add_providers(conn)
    stored_dead_letters.store(ops, (messages.body(3), "early"))
    ops("provider", "add", "Amex", "0", "--id", "3")
    make_trigger(conn, "dead_letter", SWALLOW, "BEFORE DELETE")
    arguments = ("--all", "--yes") if does == "purge" else ("--all",)

    assert "only 0 of 1 dead letters" in refused(ops, "dead-letters", does, *arguments)

    assert len(messages.dead_letters(conn)) == 1
    assert messages.rows(conn) == []
    assert noted(conn) == ["provider_added"]


def test_a_dead_letter_that_stays_and_cannot_be_marked_is_not_said_to_be(
    ops: Tool, conn: psycopg.Connection
) -> None:
    stored_dead_letters.store(ops, (b"no", "unfit"))
    make_trigger(conn, "dead_letter", SWALLOW, "BEFORE UPDATE")

    assert "only 0 of 1 dead letters" in refused(ops, "dead-letters", "replay", "--all")
    assert noted(conn) == []


def test_of_two_dead_letters_with_one_identity_and_content_one_is_said_to_be_the_row(
    ops: Tool, conn: psycopg.Connection
) -> None:
    stored_dead_letters.store(ops, (b'{"id": 3, "value": 5}', "same"))
    stored_dead_letters.store(ops, (b'{"id":3,"value":5}', "same"))
    ops("provider", "add", "Amex", "0", "--id", "3")

    done = ops.json("dead-letters", "replay", "--all")

    assert (done["rows"], done["duplicates"]) == (1, 1)
    assert messages.rows(conn) == [(3, 5)]
    outcomes = conn.execute("SELECT outcome FROM operator_action WHERE subject <> '3' ORDER BY id")
    assert outcomes.fetchall() == [("row",), ("duplicate",)]
