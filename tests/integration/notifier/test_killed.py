"""A notifier killed before COMMIT has told nothing: the next one judges again."""

from pathlib import Path

import psycopg

from tests.faults import kill_orders
from tests.support import ledger, programs
from tests.support.eventually import eventually
from tests.support.notifying import Listener, add_alert

POSITION = "SELECT epoch FROM follower WHERE name = 'notifier'"
SENT = "SELECT id FROM notification WHERE sent_at IS NOT NULL"


def move(conn: psycopg.Connection, value: int) -> None:
    """Add to Visa's balance of 1000, and have a tick count it."""
    ledger.add(conn, 1, value)
    ledger.count_all(conn)


def test_alerts_that_go_or_change_before_it_starts_again_are_judged_as_they_are_then(
    dsn: str,
    amqp_url: str,
    conn: psycopg.Connection,
    providers: tuple[int, int],
    *,
    listener: Listener,
    tmp_path: Path,
) -> None:
    del providers
    kept, _, changed = (add_alert(conn, "below", 1000, name=name) for name in "ABC")
    order = tmp_path / "order"
    environment = {
        "POSTGRES_DSN": f"{dsn}?options=-c%20role%3Dminutebook_notifier",
        "RABBITMQ_URL": amqp_url,
        "KILL_POINT_FILE": str(order),
    }
    with programs.running("tests.faults.notifier", **environment) as first:
        eventually(lambda: conn.execute(POSITION).fetchone() == (1,))
        order.write_text("before COMMIT of judgement")
        move(conn, -1)
        assert first.process.wait(30) == kill_orders.STATUS
    assert conn.execute("SELECT count(*) FROM notification").fetchone() == (0,)

    conn.execute("UPDATE alert SET active = false WHERE source_id = 'B'")
    add_alert(conn, "below", 999, name="C")
    move(conn, -1)
    with programs.running("tests.faults.notifier", **environment) as second:
        expected = {f"by-hand-2:n:{kept}:1", f"by-hand-3:n:{changed}:1"}
        eventually(lambda: {one for (one,) in conn.execute(SENT)} == expected)
        assert second.stop() == 0
    assert listener.listen().keys() == expected
    assert conn.execute("SELECT count(*) FROM notification").fetchone() == (2,)
