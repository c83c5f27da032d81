"""Each of our services killed without warning: the stack goes on by itself, and is right."""

import psycopg
import pytest
from docker.models.containers import Container

from tests.support.eventually import eventually
from tests.support.keydb_snapshot import shown
from tests.support.stack import Stack, publish

# From inside, because an engine takes its own kill for the wish that the container stays down.
# Number 1 is the init; the service is its child.
KILL = "import os; os.kill(int(open('/proc/1/task/1/children').read().split()[0]), 9)"
MESSAGES = 400


@pytest.mark.parametrize(("service", "provider"), [("ingest", 41), ("ticker", 42), ("syncer", 43)])
def test_a_killed_service_comes_back_by_itself_and_the_next_balances_are_right(
    running: Stack, conn: psycopg.Connection, service: str, provider: int
) -> None:
    conn.execute("INSERT INTO initial_data VALUES (%s, 'Killed', 1)", [provider])
    container = running.container(service)
    restarts_before = restarts(container)
    bodies = [b'{"id": %d, "value": 3}' % provider] * MESSAGES
    half = MESSAGES // 2
    names = [f"killed-{provider}-{number}" for number in range(MESSAGES)]

    publish(running, *bodies[:half], message_ids=names[:half])
    answer = container.exec_run(["python", "-c", KILL])
    publish(running, *bodies[half:], message_ids=names[half:])

    assert answer.exit_code in (0, 137), answer.output
    eventually(lambda: restarts(container) == restarts_before + 1)
    key, total = f"{provider}_Killed", str(1 + 3 * MESSAGES)
    with running.keydb() as keydb:
        eventually(lambda: shown(keydb, key).values[key] == total)
    count = "SELECT count(*) FROM historical_transactions WHERE provider_id = %s"
    assert conn.execute(count, [provider]).fetchone() == (MESSAGES,)
    eventually(lambda: not running.unhealthy(), 60)


def restarts(container: Container) -> int:
    container.reload()
    return int(container.attrs["RestartCount"])
