"""The notifier as a process, with the rights of its login's group and no others."""

import psycopg
import pytest

from tests.support import ledger, programs
from tests.support.eventually import eventually
from tests.support.notifying import Listener, add_alert
from tests.support.programs import Program

Environment = dict[str, str]
POSITION = "SELECT epoch FROM follower WHERE name = 'notifier'"


@pytest.fixture
def environment(dsn: str, amqp_url: str) -> Environment:
    rights = "options=-c%20role%3Dminutebook_notifier"
    return {"POSTGRES_DSN": f"{dsn}?{rights}", "RABBITMQ_URL": amqp_url}


def follows(conn: psycopg.Connection) -> bool:
    """Say whether a notifier has followed the newest tick."""
    newest = "SELECT max(epoch) FROM tick"
    return conn.execute(POSITION).fetchone() == conn.execute(newest).fetchone()


def tell(conn: psycopg.Connection) -> None:
    ledger.add(conn, 1, 1)
    ledger.count_all(conn)


def says(program: Program, event: str) -> bool:
    return any(line["event"] == event for line in program.lines())


def test_what_is_met_is_told_once_and_sigterm_ends_it(
    environment: Environment, conn: psycopg.Connection, providers: tuple[int, int],
    listener: Listener,
) -> None:  # fmt: skip
    number = add_alert(conn, "above", 1000, provider=1)
    with programs.running("services.notifier", **environment) as notifier:
        eventually(lambda: follows(conn), 30)
        eventually(lambda: notifier.health()[0] == 200, 30)
        tell(conn)
        eventually(lambda: listener.listen().keys() == {f"by-hand-2:n:{number}:1"}, 30)
        eventually(lambda: notifier.metric("minutebook_notifications_sent_total") == 1, 30)
        written = 'minutebook_notifications_total{condition="above"}'
        eventually(lambda: notifier.metric(written) == 1, 30)
        assert notifier.stop() == 0
        assert says(notifier, "notifications_written")
    assert listener.times == 1


def test_of_two_one_stands_by_healthy_and_takes_over_from_where_the_other_died(
    environment: Environment, conn: psycopg.Connection, providers: tuple[int, int],
    listener: Listener,
) -> None:  # fmt: skip
    add_alert(conn, "change", 1)
    with programs.running("services.notifier", **environment) as first:
        eventually(lambda: follows(conn), 30)
        with programs.running("services.notifier", **environment) as second:
            eventually(lambda: says(second, "follower_stands_by"), 30)
            eventually(lambda: second.health()[0] == 200, 30)
            tell(conn)
            eventually(lambda: len(listener.listen()) == 1, 30)
            first.kill()
            for _ in range(3):
                tell(conn)
            eventually(lambda: len(listener.listen()) == 4, 30)
            assert second.stop() == 0
    sent = "SELECT count(*) FROM notification WHERE sent_at IS NOT NULL"
    assert conn.execute(sent).fetchone() == (4,)
