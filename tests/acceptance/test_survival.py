"""What stays when containers go: volumes hold balances, rows and messages."""

from collections.abc import Callable

import pytest

from tests.support.eventually import eventually
from tests.support.keydb_snapshot import at_next_boundary
from tests.support.stack import SERVERS, Stack, publish


def down_and_up(stack: Stack) -> None:
    stack.compose("down")
    stack.up(*SERVERS)


def force_recreate(stack: Stack) -> None:
    stack.up(*SERVERS, options=["--force-recreate"])


@pytest.mark.parametrize(
    ("replace", "provider"), [(down_and_up, 31), (force_recreate, 32)], ids=["down", "recreate"]
)
def test_balances_and_waiting_messages_survive_their_containers(
    second: Stack, replace: Callable[[Stack], None], provider: int
) -> None:
    key = f"{provider}_Lasting"
    with second.postgres() as conn:
        conn.execute("INSERT INTO initial_data VALUES (%s, 'Lasting', 700)", [provider])
    assert at_next_boundary(second, key) == {key: "700"}
    second.compose("stop", "ingest", "ticker", "syncer")
    publish(second, *[b'{"id": %d, "value": 10}' % provider] * 5)
    before = {one.id for service in SERVERS for one in second.containers(service)}

    replace(second)

    assert before.isdisjoint(one.id for service in SERVERS for one in second.containers(service))
    with second.keydb() as keydb:
        assert keydb.get(key) == "700"
    eventually(lambda: second.messages_ready() == 5)
    second.up()
    rows = "SELECT count(*) FROM historical_transactions WHERE provider_id = %s"
    with second.postgres() as conn:
        eventually(lambda: conn.execute(rows, [provider]).fetchone() == (5,))
    assert at_next_boundary(second, key) == {key: "750"}
