"""What becomes of each item is derived from the rows and the dead letters, and then kept."""

import psycopg
import pytest

from services.tracker import core, open_request_store
from services.tracker.reply_store import FIRST
from services.tracker.service import Limits
from tests.support import partitions
from tests.support.tracking import Life, Sender, body, item, tick, tracker_life

UNFIT = {"id": "one", "value": 2}
CONFLICT = "a transaction with this identity and other content exists"
ROW = """
INSERT INTO historical_transactions (provider_id, transaction_value, message_id)
VALUES (%s, %s, %s)
"""


def accept(life: Life, sender: Sender, *items: object) -> None:
    sender.send(body(*items))
    life.accept()


def state(life: Life) -> tuple[str, int, int, int, dict[str, int]]:
    found = life.document()
    return found.state, found.stored, found.waiting, found.missing, found.dead


def test_a_request_is_pending_until_something_is_stored_and_done_once_all_is(
    life: Life, sender: Sender
) -> None:
    accept(life, sender, item(600), item(5))
    life.run()
    assert state(life) == ("pending", 0, 0, 2, {})

    sender.ingest()
    assert state(life) == ("running", 2, 0, 0, {})  # as of the question; it is not decided yet
    life.run()

    found = life.document()
    assert state(life) == ("done", 2, 0, 0, {})
    assert found.decided_at
    assert found.seconds == round((found.decided_at - found.accepted_at).total_seconds(), 3)


def test_every_item_is_one_thing_and_they_add_up(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    conn.execute(ROW, [1, 7, "known"])
    conn.execute(ROW, [1, 8, "taken"])
    items = (item(600), item(7, message_id="known"), item(9, message_id="taken"), UNFIT)
    accept(life, sender, *items, item(5, provider=9), item(6))
    taken = sender.items()
    sender.store(*(one for one in taken if one[0] != "K:5"))

    assert state(life) == ("running", 2, 1, 1, {"id_conflict": 1, "wrong_type": 1})
    assert [(one.item, one.reason) for one in life.document().errors] == [
        (2, "id_conflict"), (3, "wrong_type"),
    ]  # fmt: skip
    assert life.document().errors[0].error == CONFLICT


def test_a_request_whose_items_are_all_dead_has_failed_and_waits_for_no_tick(
    life: Life, sender: Sender
) -> None:
    accept(life, sender, UNFIT, {"id": 1})
    sender.ingest()
    life.look()

    assert state(life) == ("failed", 0, 0, 0, {"wrong_type": 1, "missing_field": 1})
    [(_, told)] = sender.replies()
    assert (told["state"], told["counted_by"], told["shown_at"]) == ("failed", None, None)


def test_a_row_of_another_content_is_a_conflict_before_its_dead_letter_is_there(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    conn.execute(ROW, [1, 8, "taken"])
    accept(life, sender, item(9, message_id="taken"))
    life.run()

    assert state(life) == ("failed", 0, 0, 0, {"id_conflict": 1})


def test_a_dead_letter_of_the_same_identity_and_other_bytes_is_not_the_item_s(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    sender.send(body({"id": "x", "value": 1, "message_id": "p-1"}, key="first"))
    life.accept()
    sender.ingest()
    life.run()
    assert life.document("first").state == "failed"

    accept(life, sender, item(1, message_id="p-1"))  # corrected, under the same identity
    life.run()
    assert state(life) == ("pending", 0, 0, 1, {})
    sender.ingest()
    life.run()
    assert state(life) == ("done", 1, 0, 0, {})


def test_what_is_decided_stays_so_whatever_is_deleted_purged_or_corrected_later(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    accept(life, sender, item(600), UNFIT, item(5, provider=9))
    sender.ingest()
    tick(conn)
    life.run()
    decided = ("running", 1, 1, 0, {"wrong_type": 1})
    assert state(life) == decided

    conn.execute("DELETE FROM historical_transactions")
    conn.execute("DELETE FROM received_message")
    conn.execute("DELETE FROM dead_letter WHERE state = 'open'")
    assert state(life) == decided

    conn.execute("UPDATE dead_letter SET state = 'open', reason = 'refused_by_database'")
    life.run()
    tick(conn)
    life.run()
    conn.execute("DELETE FROM dead_letter")
    found = life.document()
    assert state(life) == ("failed", 1, 0, 0, {"wrong_type": 1, "refused_by_database": 1})
    assert [one.item for one in found.errors] == [1, 2]


def test_what_is_decided_at_a_tick_stays_so_while_other_items_are_missing(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    accept(life, sender, item(600), UNFIT, item(6))
    *two, last = sender.items()
    sender.store(*two)
    tick(conn)
    life.run()
    conn.execute("DELETE FROM historical_transactions")
    conn.execute("DELETE FROM received_message")
    conn.execute("DELETE FROM dead_letter")
    assert state(life) == ("running", 1, 0, 1, {"wrong_type": 1})

    sender.store(last)
    tick(conn)
    life.run()
    assert state(life) == ("failed", 2, 0, 0, {"wrong_type": 1})


def test_a_row_that_was_deleted_before_it_was_looked_at_was_stored(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    accept(life, sender, item(600), item(5))
    sender.ingest()
    conn.execute("DELETE FROM historical_transactions WHERE message_id = 'K:0'")
    conn.execute("UPDATE historical_transactions SET transaction_value = 9")
    life.run()

    assert state(life) == ("done", 2, 0, 0, {})


def test_waiting_items_keep_it_running_until_their_provider_comes(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    accept(life, sender, item(5, provider=9))
    sender.ingest()
    life.run()
    assert state(life) == ("running", 0, 1, 0, {})
    assert conn.execute("SELECT state FROM request").fetchone() == ("running",)

    conn.execute("INSERT INTO initial_data VALUES (9, 'Late', 0)")
    conn.execute(ROW, [9, 5, "K:0"])
    conn.execute("DELETE FROM dead_letter")
    life.run()
    assert state(life) == ("done", 1, 0, 0, {})


def test_old_requests_are_looked_at_once_a_tick(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    accept(life, sender, item(600))
    conn.execute("UPDATE request SET published_at = now() - interval '1 minute'")
    sender.ingest()
    life.run()
    assert conn.execute("SELECT state FROM request").fetchone() == ("pending",)

    tick(conn)
    life.run()
    assert conn.execute("SELECT state FROM request").fetchone() == ("done",)


def test_what_somebody_else_has_decided_since_it_was_looked_at_stays(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    accept(life, sender, item(600), UNFIT)
    sender.ingest()
    seen, _ = open_request_store.inspect(conn, FIRST)
    late = [found for one in seen if (found := core.decide(one, keep=False))]
    conn.execute("UPDATE dead_letter SET reason = 'refused_by_database'")
    life.run()

    assert open_request_store.write(conn, late) == []
    assert state(life) == ("failed", 1, 0, 0, {"refused_by_database": 1})


def test_a_request_is_forgotten_after_its_days(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    for key in ("old", "new"):
        sender.send(body(item(600), key=key))
    life.accept(2)
    conn.execute("UPDATE request SET accepted_at = now() - interval '31 days' WHERE id = 'old'")
    tick(conn)
    life.run()
    assert len(conn.execute("SELECT id FROM request").fetchall()) == 2, "the clock may be wrong"

    conn.execute(partitions.GO_ON)
    tick(conn)
    life.run()

    assert conn.execute("SELECT id FROM request").fetchall() == [("new",)]


def test_where_no_tick_comes_old_requests_are_looked_at_all_the_same(
    dsn: str, amqp_url: str, sender: Sender, conn: psycopg.Connection
) -> None:
    with tracker_life(dsn, amqp_url, limits=Limits(rest=0, all_every_s=0)) as life:
        life.run()
        accept(life, sender, item(600))
        conn.execute("UPDATE request SET published_at = now() - interval '1 minute'")
        sender.ingest()
        life.run()

        assert life.document().decided_at


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_however_many_are_open_each_is_looked_at(
    dsn: str, amqp_url: str, sender: Sender, conn: psycopg.Connection, page: int
) -> None:
    limits = Limits(requests=page, items=page, counted=page, replies=page, rest=0)
    with tracker_life(dsn, amqp_url, limits=limits) as life:
        life.run()
        for number in range(5):
            sender.send(body(item(number), item(9), key=f"K-{number}"))
        life.accept(5)
        sender.ingest()
        tick(conn)
        life.run()

    assert sorted(told["request"] for _, told in sender.replies()) == [
        f"K-{number}" for number in range(5)
    ]
