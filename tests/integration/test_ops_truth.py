"""What the tool says it did, and notes in `operator_action`, is what then stands in the tables."""

import psycopg
import pytest

from migrations import runner
from tests.support import messages, tool
from tests.support.tool import Tool

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
    return tool.deployment(dsn)


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


def test_another_unique_column_that_clashes_is_not_said_to_be_the_id(
    ops: Tool, conn: psycopg.Connection
) -> None:
    messages.add_providers(conn)
    conn.execute("CREATE UNIQUE INDEX one_name ON initial_data (provider_name)")

    for ids in ((), ("--id", "9")):
        assert "one_name" in refused(ops, "provider", "add", "Visa", "0", *ids)
    assert providers(conn) == [VISA, MASTERCARD]


def test_where_no_record_is_kept_nothing_is_done(ops: Tool, conn: psycopg.Connection) -> None:
    messages.add_providers(conn)
    make_trigger(conn, "operator_action", SWALLOW, "BEFORE INSERT")

    assert "operator_action keeps no record" in refused(ops, "provider", "rename", "1", "Visum")

    assert providers(conn) == [VISA, MASTERCARD]


def test_a_sequence_of_records_that_is_behind_is_moved_on(
    ops: Tool, conn: psycopg.Connection
) -> None:
    conn.execute(
        "INSERT INTO operator_action (action, subject, outcome, operator)"
        " SELECT 'a', n::text, 'done', 'me' FROM generate_series(1, 1000) n"
    )
    conn.execute("SELECT setval(pg_get_serial_sequence('operator_action', 'id'), 1, false)")

    assert ops.json("provider", "add", "Visa", "1000")["provider"]["id"] == 1

    newest = conn.execute("SELECT id, action FROM operator_action ORDER BY id DESC LIMIT 1")
    assert newest.fetchone() == (1001, "provider_added")


IDS = {
    "serial": "id serial PRIMARY KEY",
    "identity": "id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
    "always": "id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "plain": "id integer PRIMARY KEY",
}


@pytest.mark.parametrize("kind", IDS)
def test_a_provider_gets_the_columns_own_next_id_and_leaves_the_sequence_ahead(
    kind: str, empty_dsn: str
) -> None:
    ops = tool.deployment(empty_dsn)
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        columns = f"{IDS[kind]}, provider_name text, initial_value bigint"
        conn.execute(f"CREATE TABLE initial_data ({columns})".encode())
        conn.execute(
            "INSERT INTO initial_data OVERRIDING SYSTEM VALUE"
            " VALUES (1, 'Visa', 1000), (2, 'Mastercard', 2000)"
        )
        runner.apply(conn, runner.read())

        given = [
            ops.json("provider", "add", name, "0", *ids)["provider"]["id"]
            for name, *ids in (["Amex"], ["Diners", "--id", "50"], ["JCB"])
        ]

        assert given == [3, 50, 51]
        if kind != "plain":
            by_hand = "INSERT INTO initial_data (provider_name) VALUES ('psql') RETURNING id"
            assert conn.execute(by_hand).fetchone() == (52,)
