"""Whatever Postgres answers, the syncer goes on, says what is wrong, and counts nothing twice."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import psycopg
import pytest
import redis

from migrations import rights
from tests.support import ledger, loss_scenario, postgres_logins, servers
from tests.support.eventually import eventually
from tests.support.loss_scenario import LossScenario, said
from tests.support.partitions import GO_ON
from tests.support.programs import Program


@dataclass(frozen=True)
class Fault:
    """What somebody does to the database, what Postgres says of it, and how it is undone."""

    done: str
    sentence: str
    undone: str


DENIED = "permission denied for table"
HIDDEN = "42501: query would be affected by row-level security policy for table"
RAISE = "BEGIN RAISE EXCEPTION 'not on a Saturday' USING ERRCODE = 'MB001'; END"
SWALLOW = "BEGIN RETURN NULL; END"
END_CONNECTION = "BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN OLD; END"
NO_TRIGGER = "DROP FUNCTION theirs CASCADE"


def trigger(table: str, body: str, when: str = "INSERT") -> str:
    """Return what gives `table` a trigger of somebody's."""
    return (
        f"CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$;"
        f"CREATE TRIGGER theirs BEFORE {when} ON {table} FOR EACH ROW EXECUTE FUNCTION theirs()"
    )


def fault(done: str, sentence: str, undone: str) -> Fault:
    return Fault(done, f"postgres: {sentence}", undone)


FAULTS = [
    fault(
        "REVOKE SELECT ON tick FROM minutebook_syncer",
        f"42501: {DENIED} tick",
        "GRANT SELECT ON tick TO minutebook_syncer",
    ),
    fault(
        "REVOKE INSERT ON balance FROM minutebook_syncer",
        f"42501: {DENIED} balance",
        "GRANT INSERT ON balance TO minutebook_syncer",
    ),
    fault(
        "ALTER TABLE initial_data ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY half ON initial_data USING (id % 2 = 0)",
        f'{HIDDEN} "initial_data"',
        "DROP POLICY half ON initial_data; ALTER TABLE initial_data DISABLE ROW LEVEL SECURITY",
    ),
    fault(
        "ALTER TABLE outbox ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY half ON outbox USING (provider_id % 2 = 0)",
        f'{HIDDEN} "outbox"',
        "DROP POLICY half ON outbox; ALTER TABLE outbox DISABLE ROW LEVEL SECURITY",
    ),
    fault(
        "ALTER TABLE balance RENAME TO elsewhere",
        '42P01: relation "balance" does not exist',
        "ALTER TABLE elsewhere RENAME TO balance",
    ),
    fault(
        "ALTER TABLE initial_data RENAME provider_name TO name",
        '42703: column "provider_name" does not exist',
        "ALTER TABLE initial_data RENAME name TO provider_name",
    ),
    fault(trigger("tick", RAISE), "MB001: not on a Saturday", NO_TRIGGER),
    fault(
        trigger("balance", SWALLOW),
        "a trigger or rule on tick or balance keeps our rows from being written",
        NO_TRIGGER,
    ),
    fault(
        "CREATE TABLE kept AS TABLE tick; DELETE FROM tick",
        "table tick is empty, and nothing says what was counted: bring its rows back",
        "INSERT INTO tick TABLE kept; DROP TABLE kept",
    ),
]


@pytest.fixture
def login(dsn: str, conn: psycopg.Connection) -> Iterator[str]:
    """The DSN of a login that has the syncer's rights and no others."""
    rights.ensure_logins(conn, {"syncer": postgres_logins.PASSWORD})
    yield postgres_logins.dsn_of("syncer", dsn)
    conn.execute("DROP ROLE syncer")


@pytest.fixture
def scenario(
    conn: psycopg.Connection, amqp_url: str, keydb_server: servers.Keydb, store: "redis.Redis"
) -> Iterator[LossScenario]:
    assert store.dbsize() == 0
    loss_scenario.providers(conn)
    with loss_scenario.scenario(amqp_url, keydb_server) as scenario:
        yield scenario


@pytest.fixture
def syncer(
    login: str,
    amqp_url: str,
    keydb_server: servers.Keydb,
    scenario: LossScenario,
    conn: psycopg.Connection,
) -> Iterator[Program]:
    """A syncer with its own login, at work, retention done; it must be at work at the end."""
    with loss_scenario.syncer(login, amqp_url, keydb_server.url()) as syncer:
        scenario.right(conn)
        before, rounds = -1, 0
        while before < rounds:  # a round ends before the next tick is begun
            scenario.right(conn)
            before, rounds = rounds, rounds_of_retention(syncer)
        yield syncer
        scenario.right(conn)
        eventually(lambda: syncer.health()[0] == 200)
        assert syncer.process.poll() is None
    ledger.assert_counted_once(conn)


def says(syncer: Program, sentence: str) -> bool:
    """Say whether /healthz gives this as a reason for being unhealthy."""
    status, body = syncer.health()
    return status == 503 and sentence in json.loads(body)["problems"].values()


def test_what_postgres_says_is_in_healthz_and_once_it_is_undone_nothing_is_lost_or_doubled(
    syncer: Program, scenario: LossScenario, conn: psycopg.Connection
) -> None:
    for fault in FAULTS:
        before = ledger.shown(scenario.store)
        scenario.change(conn)
        conn.execute(fault.done.encode())
        scenario.tick()
        eventually(partial(says, syncer, fault.sentence))
        assert ledger.shown(scenario.store) == before, "a balance from some of the rows"
        conn.execute(fault.undone.encode())
        scenario.becomes_right(conn)
        ledger.assert_counted_once(conn)


def test_while_ticks_fail_it_is_unhealthy_all_the_time_and_tries_again_ever_less_often(
    syncer: Program, scenario: LossScenario, conn: psycopg.Connection
) -> None:
    conn.execute(trigger("tick", RAISE).encode())
    scenario.tick()
    eventually(partial(says, syncer, "postgres: MB001: not on a Saturday"))
    seen = set()

    def tried_again() -> bool:
        seen.add(syncer.health()[0])
        return said(syncer, "reconnecting", attempt=4)

    eventually(tried_again, 60)
    assert seen == {503}
    eventually(lambda: syncer.metric("minutebook_tick_failures_total") >= 4)
    conn.execute(NO_TRIGGER)
    scenario.becomes_right(conn)


def test_where_postgres_does_not_say_its_timeline_there_is_one_warning_and_ticks(
    login: str,
    conn: psycopg.Connection,
    amqp_url: str,
    keydb_server: servers.Keydb,
    scenario: LossScenario,
) -> None:
    conn.execute("REVOKE EXECUTE ON FUNCTION pg_current_wal_lsn() FROM PUBLIC")
    with loss_scenario.syncer(login, amqp_url, keydb_server.url()) as syncer:
        scenario.right(conn)
        new_life(conn)
        eventually(lambda: said(syncer, "reconnecting"))
        scenario.right(conn)
        warnings = [line for line in syncer.lines() if line["event"] == "failover_not_noticed"]
        assert [line["detail"] for line in warnings] == [
            "42501: permission denied for function pg_current_wal_lsn"
        ]


def test_retention_that_fails_stops_no_tick_and_leaves_the_syncer_healthy(
    syncer: Program, scenario: LossScenario, conn: psycopg.Connection
) -> None:
    conn.execute(GO_ON)
    conn.execute("REVOKE EXECUTE ON FUNCTION minutebook_make_partition FROM minutebook_syncer")
    conn.execute("REVOKE DELETE ON tick FROM minutebook_syncer")
    new_life(conn)
    scenario.right(conn)
    for task, what in (
        ("make_partitions", "function minutebook_make_partition"),
        ("prune_history", "table tick"),
    ):
        detail = f"42501: permission denied for {what}"
        eventually(partial(said, syncer, "upkeep_failed", task=task, detail=detail))
        assert syncer.metric(f'minutebook_retention_failures_total{{task="{task}"}}') == 1
    eventually(lambda: syncer.health()[0] == 200)


def test_retention_that_ends_the_connection_each_time_does_so_once_a_round(
    syncer: Program, scenario: LossScenario, conn: psycopg.Connection
) -> None:
    conn.execute(GO_ON)
    conn.execute(
        "INSERT INTO received_message (message_id, provider_id, value, noted_at)"
        " VALUES ('x', 1, 1, '2020-01-01')"
    )
    conn.execute(trigger("received_message", END_CONNECTION, "DELETE").encode())
    new_life(conn)
    for _ in range(3):
        scenario.right(conn)
    eventually(lambda: reconnects(syncer) == 2)  # by us, then by the round


def rounds_of_retention(syncer: Program) -> int:
    """Return how many rounds of retention had something to do."""
    return sum(line["event"] == "upkeep" for line in syncer.lines())


def new_life(conn: psycopg.Connection) -> None:
    """End the syncer's connection: the next one begins with retention."""
    conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'minutebook-syncer' AND datname = current_database()"
    )


def reconnects(syncer: Program) -> float:
    return syncer.metric('minutebook_reconnects_total{server="postgres"}')
