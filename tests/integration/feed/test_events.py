"""What is published of a tick: names, ids, bodies, properties and their order."""

import uuid

import psycopg
import pytest

from services.feed.service import Feed
from services.syncer.service import Syncer
from tests.support import ledger
from tests.support.changes_consumer import Queue, of_tick
from tests.support.feeding import Feeder
from tests.support.ledger import add, minute

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def token(conn: psycopg.Connection, epoch: int) -> str:
    return str(conn.execute("SELECT token FROM tick WHERE epoch = %s", [epoch]).fetchone()[0])  # type: ignore[index]


def test_a_first_start_reads_every_balance_and_closes_the_newest_due_tick(
    conn: psycopg.Connection, feeder: Feeder, queue: Queue
) -> None:
    del feeder
    visa, mastercard, closed = of_tick(queue, 1)
    start = visa["id"].split(":")[2]
    assert uuid.UUID(start).version == 4
    assert visa == {
        "event": "balance.read",
        "id": f"{token(conn, 1)}:r:{start}:1",
        "operation": "READ",
        "source_id": 1,
        "provider_id": 1,
        "key": "1_Visa",
        "balance": "1300",
        "tick": "2020-01-01T00:01:00Z",
        "epoch": 1,
    }
    assert (mastercard["key"], mastercard["balance"]) == ("2_Mastercard", "1800")
    assert closed == {
        "event": "tick.closed",
        "id": f"{token(conn, 1)}:r:{start}:tick",
        "tick": "2020-01-01T00:01:00Z",
        "epoch": 1,
        "previous_id": None,
        "anew": True,
        "transactions": 0,
        "providers": 0,
        "balances": 2,
        "amount": "0",
    }


def test_a_tick_is_its_changes_then_its_balances_then_its_end(
    conn: psycopg.Connection, syncer: Syncer, feeder: Feeder, queue: Queue
) -> None:
    conn.execute(
        "INSERT INTO historical_transactions (provider_id, transaction_value, message_id)"
        " VALUES (1, 600, 'payment-4711')"
    )
    syncer.tick(minute(2))
    assert feeder.run() == ["followed"]
    added, balance, closed = of_tick(queue, 2)
    outbox_id = conn.execute("SELECT max(id) FROM outbox").fetchone()[0]  # type: ignore[index]
    assert added == {
        "event": "transaction.added",
        "id": f"{token(conn, 2)}:t:{outbox_id}",
        "operation": "ADDED",
        "source_id": 4,
        "provider_id": 1,
        "amount": "600",
        "message_id": "payment-4711",
        "tick": "2020-01-01T00:02:00Z",
        "epoch": 2,
    }
    assert balance == {
        "event": "balance.changed",
        "id": f"{token(conn, 2)}:b:1",
        "operation": "MODIFIED",
        "source_id": 1,
        "provider_id": 1,
        "key": "1_Visa",
        "balance": "1900",
        "previous": "1300",
        "previous_key": "1_Visa",
        "tick": "2020-01-01T00:02:00Z",
        "epoch": 2,
    }
    assert closed == {
        "event": "tick.closed",
        "id": f"{token(conn, 2)}:tick",
        "tick": "2020-01-01T00:02:00Z",
        "epoch": 2,
        "previous_id": queue.consumer.closed[0]["id"],
        "anew": False,
        "transactions": 1,
        "providers": 0,
        "balances": 1,
        "amount": "600",
    }
    for method, properties, event in queue.events:
        assert method.exchange == "changes"
        assert method.routing_key == properties.type == event["event"]
        assert properties.message_id == event["id"]
        assert properties.content_type == "application/json"
        assert properties.delivery_mode == 2
        assert properties.headers is None
    queue.consumer.assert_right(conn)


def test_a_traceparent_is_handed_on_with_its_transaction_only(
    conn: psycopg.Connection, syncer: Syncer, feeder: Feeder, queue: Queue
) -> None:
    with conn.transaction():
        add(conn, 1, 5)
        conn.execute(
            "UPDATE outbox SET traceparent = %s WHERE xid = pg_current_xact_id()", [TRACEPARENT]
        )
    add(conn, 2, 5)
    syncer.tick(minute(2))
    feeder.run()
    queue.drain()
    headers = {event["id"]: about.headers for _, about, event in queue.events[3:]}
    assert list(headers.values()) == [{"traceparent": TRACEPARENT}, None, None, None, None]


def test_changes_by_hand_are_told_as_what_they_are(
    conn: psycopg.Connection, syncer: Syncer, feeder: Feeder, queue: Queue
) -> None:
    conn.execute("UPDATE historical_transactions SET transaction_value = 150 WHERE id = 1")
    conn.execute("DELETE FROM historical_transactions WHERE id = 2")
    conn.execute("UPDATE initial_data SET initial_value = 2001 WHERE id = 2")
    conn.execute("UPDATE initial_data SET provider_name = 'Visum' WHERE id = 1")
    ledger.add_provider(conn, "Amex", 7)
    syncer.tick(minute(2))
    assert feeder.run() == ["followed"]
    changes = [
        (one["event"], one["operation"], one["source_id"], one["provider_id"], one["amount"])
        for one in of_tick(queue, 2)
        if "amount" in one and "source_id" in one
    ]
    assert changes == [
        ("transaction.modified", "MODIFIED", 1, 1, "-100"),
        ("transaction.modified", "MODIFIED", 1, 1, "150"),
        ("transaction.removed", "REMOVED", 2, 1, "-200"),
        ("provider.modified", "MODIFIED", 2, 2, "-2000"),
        ("provider.modified", "MODIFIED", 2, 2, "2001"),
        ("provider.modified", "MODIFIED", 1, 1, "-1000"),
        ("provider.modified", "MODIFIED", 1, 1, "1000"),
        ("provider.added", "ADDED", 3, 3, "7"),
    ]
    balances = [
        (one["event"], one["operation"], one["previous_key"], one["key"], one["balance"])
        for one in of_tick(queue, 2)
        if "previous_key" in one
    ]
    assert balances == [
        ("balance.changed", "MODIFIED", "1_Visa", "1_Visum", "1150"),
        ("balance.changed", "MODIFIED", "2_Mastercard", "2_Mastercard", "1801"),
        ("balance.changed", "ADDED", None, "3_Amex", "7"),
    ]
    queue.consumer.assert_right(conn)
    conn.execute("DELETE FROM initial_data WHERE id = 3")
    syncer.tick(minute(3))
    feeder.run()
    removed, gone, closed = of_tick(queue, 3)
    assert (removed["event"], removed["source_id"]) == ("provider.removed", 3)
    assert (gone["event"], gone["operation"]) == ("balance.removed", "REMOVED")
    assert (gone["key"], gone["balance"], gone["previous"]) == (None, "0", "7")
    assert closed["providers"] == 1
    queue.consumer.assert_right(conn)


def test_a_correction_by_repair_is_a_provider_repaired(
    conn: psycopg.Connection, syncer: Syncer, feeder: Feeder, queue: Queue
) -> None:
    conn.execute(
        "INSERT INTO outbox (provider_id, amount, operation, reason) VALUES (1, 3, 'repaired', 'x')"
    )
    syncer.tick(minute(2))
    feeder.run()
    repaired = of_tick(queue, 2)[0]
    assert (repaired["event"], repaired["operation"]) == ("provider.repaired", "REPAIRED")
    assert (repaired["source_id"], repaired["message_id"]) == (1, None)
    queue.consumer.assert_right(conn)


def test_without_changes_only_balances_are_told(
    conn: psycopg.Connection, syncer: Syncer, feeder: Feeder, queue: Queue
) -> None:
    add(conn, 1, 5)
    syncer.tick(minute(2))
    feed = Feed(feeder.conn, feeder.publisher, changes=False)
    assert feeder.follower.run_once(feeder.conn, feed) == "followed"
    balance, closed = of_tick(queue, 2)
    assert balance["balance"] == "1305"
    assert (closed["transactions"], closed["balances"], closed["amount"]) == (0, 1, "5")


@pytest.mark.parametrize("name", ["ü" * 3000, 'a"b\\c\n'])
def test_a_name_of_any_length_and_kind_is_told(
    conn: psycopg.Connection, syncer: Syncer, feeder: Feeder, queue: Queue, name: str
) -> None:
    conn.execute("UPDATE initial_data SET provider_name = %s WHERE id = 1", [name])
    syncer.tick(minute(2))
    feeder.run()
    assert queue.drain().shown == {f"1_{name}": 1300, "2_Mastercard": 1800}
