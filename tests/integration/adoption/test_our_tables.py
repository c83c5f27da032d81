"""Triggers and rules of the user's on our own tables are found before they change what we write."""

from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest

from adoption import checks
from ops.doctor import postgres_checks
from services.ingest.writer import STATEMENTS
from services.syncer import publish_store, tick_store
from shared.errors import Refusal, Unavailable
from tests.support import servers

THEIR_FUNCTION: LiteralString = """
CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$
"""
EACH_ROW: LiteralString = "FOR EACH ROW EXECUTE FUNCTION theirs()"
# What is done, and to which table.
REFUSED: dict[LiteralString, LiteralString] = {
    "TRIGGER theirs BEFORE INSERT ON outbox " + EACH_ROW: "outbox",
    "TRIGGER theirs BEFORE INSERT ON outbox_default " + EACH_ROW: "outbox_default",
    "TRIGGER theirs AFTER INSERT ON outbox EXECUTE FUNCTION theirs()": "outbox",
    "TRIGGER theirs BEFORE INSERT OR UPDATE ON received_message " + EACH_ROW: "received_message",
    "TRIGGER theirs BEFORE INSERT ON balance " + EACH_ROW: "balance",
    "TRIGGER theirs BEFORE INSERT ON tick " + EACH_ROW: "tick",
    "TRIGGER theirs BEFORE INSERT ON stream_offset " + EACH_ROW: "stream_offset",
    "TRIGGER theirs BEFORE INSERT ON operator_action " + EACH_ROW: "operator_action",
    "RULE theirs AS ON INSERT TO outbox DO INSTEAD NOTHING": "outbox",
    "RULE theirs AS ON UPDATE TO tick DO INSTEAD NOTHING": "tick",
}
ON_DEAD_LETTERS: tuple[LiteralString, ...] = (
    "CREATE TRIGGER theirs BEFORE INSERT ON dead_letter " + EACH_ROW,
    "CREATE RULE theirs AS ON INSERT TO dead_letter DO INSTEAD NOTHING",
)
HARMLESS: tuple[LiteralString, ...] = (
    "CREATE TRIGGER theirs AFTER INSERT ON tick " + EACH_ROW,
    (
        f"CREATE TRIGGER theirs BEFORE INSERT ON outbox {EACH_ROW};"
        " ALTER TABLE outbox DISABLE TRIGGER theirs"
    ),
)


@pytest.fixture(scope="module")
def database(postgres_server: servers.Postgres) -> Iterator[psycopg.Connection]:
    with postgres_server.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        yield conn


@pytest.fixture
def changed(database: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A database whose changes are taken back."""
    with database.transaction(force_rollback=True):
        database.execute(THEIR_FUNCTION)
        yield database


@pytest.mark.parametrize("change", REFUSED)
def test_ingest_migrations_and_doctor_refuse_what_can_change_our_rows_and_say_it_once(
    change: LiteralString, changed: psycopg.Connection
) -> None:
    advice = f"DROP {change.partition(' ')[0]} theirs ON {REFUSED[change]},"
    changed.execute("CREATE " + change)
    with pytest.raises(Unavailable) as waits:
        checks.check(changed, STATEMENTS, stores=True)
    with pytest.raises(Refusal) as refused:
        checks.refuse(changed)
    for said in (str(waits.value), str(refused.value)):
        assert said.count(" theirs: ") == said.count(advice) == 1
    (failed,) = (
        one for one in postgres_checks.tables(checks.problems(changed)) if one.verdict != "ok"
    )
    assert (failed.name, failed.verdict, advice in failed.advice) == ("triggers", "fail", True)


def test_the_syncer_goes_on_beside_a_trigger_that_ingest_waits_for(
    changed: psycopg.Connection,
) -> None:
    changed.execute("CREATE TRIGGER theirs BEFORE INSERT ON outbox " + EACH_ROW)
    checks.check(changed, tick_store.STATEMENTS + publish_store.STATEMENTS)


@pytest.mark.parametrize("change", ON_DEAD_LETTERS)
def test_what_keeps_dead_letters_from_being_written_is_reported_and_good_messages_are_stored(
    change: LiteralString, changed: psycopg.Connection
) -> None:
    changed.execute(change)
    checks.check(changed, STATEMENTS, stores=True)
    (found,) = checks.problems(changed)
    assert (found.serious, "theirs ON dead_letter" in found.advice) == (False, True)


@pytest.mark.parametrize("change", HARMLESS)
def test_a_trigger_of_theirs_that_can_change_nothing_is_left_alone(
    change: LiteralString, changed: psycopg.Connection
) -> None:
    changed.execute(change)
    assert checks.problems(changed) == []
