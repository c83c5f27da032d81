"""A key that comes again, from whomever and however written: each item is published once."""

import psycopg
import pytest

from tests.support.tracking import Life, Sender, body, item

UNFIT = {"id": "one", "value": 2}
FORGET_AS_IT_COMES = """
CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN DELETE FROM request WHERE accepted_at < now() - interval '30 days'; RETURN NULL; END $$;
CREATE TRIGGER forget AFTER INSERT ON request FOR EACH STATEMENT EXECUTE FUNCTION forget()
"""


def test_a_key_repeated_with_the_same_items_publishes_nothing(life: Life, sender: Sender) -> None:
    sender.send(body(item(600)))
    assert life.accept() == {"accepted": 1}
    sender.items()

    sender.send(b'{"items": [{"value":600,"id":1}], "by": "me", "request": "K"}')

    assert life.accept() == {"repeated": 1}
    assert sender.items() == []


def test_one_key_twice_in_one_batch_is_published_once(life: Life, sender: Sender) -> None:
    sender.send(body(item(600)))
    sender.send(body(item(600)))

    assert life.accept(2) == {"accepted": 1, "repeated": 1}
    assert [identity for identity, _ in sender.items()] == ["K:0"]


@pytest.mark.parametrize("together", [True, False])
def test_items_of_a_key_repeated_and_written_otherwise_are_decided_by_the_bytes_that_were_published(
    life: Life,
    sender: Sender,
    conn: psycopg.Connection,
    together: bool,  # noqa: FBT001
) -> None:
    sender.send(body(item(600, provider=9), UNFIT, item(5), {"id": 1}))
    if not together:  # written down by one who dies before it has published more than two
        life.accept()
        sender.store(*sender.items()[2:])
        conn.execute("UPDATE request SET published_at = NULL")
    sender.send(
        b'{"by":"me","request":"K",'
        b'"items":[{"value":600,"id":9},{"value":2,"id":"one"},{"value":5,"id":1},{"id":1}]}'
    )

    life.accept(2 if together else 1)
    published = [identity for identity, _ in sender.ingest()]

    assert published == ([f"K:{n}" for n in range(4)] if together else ["K:0", "K:1"])
    found = life.document()
    assert (found.stored, found.waiting, found.missing) == (1, 1, 0)
    assert found.dead == {"wrong_type": 1, "missing_field": 1}


def test_a_key_that_is_forgotten_as_it_comes_again_is_new(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    sender.send(body(item(600)))
    life.accept()
    conn.execute("UPDATE request SET accepted_at = now() - interval '31 days'")
    conn.execute(FORGET_AS_IT_COMES)

    sender.send(body(item(600)))
    sender.send(body(item(5), key="L"))
    life.accept(2)

    assert [identity for identity, _ in sender.items()] == ["K:0", "K:0", "L:0"]
    assert life.document().state == "pending"


@pytest.mark.parametrize("other", [body(item(601)), body(item(600), by="them")])
@pytest.mark.parametrize("together", [True, False])
def test_a_key_of_another_request_is_a_conflict_that_its_sender_is_told_of(
    life: Life,
    sender: Sender,
    other: bytes,
    together: bool,  # noqa: FBT001
) -> None:
    sender.send(body(item(600)))
    if not together:
        life.accept()
    sender.send(other, correlation_id="c-2")

    outcomes = life.accept(2 if together else 1)

    assert outcomes["conflict"] == 1
    assert [identity for identity, _ in sender.items()] == ["K:0"]
    [(correlation_id, told)] = sender.replies()
    assert (correlation_id, told["request"], told["error"]) == ("c-2", "K", "idempotency_conflict")


def test_a_row_deleted_by_hand_does_not_come_back_by_a_repeated_key(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    sender.send(body(item(600)))
    life.accept()
    sender.ingest()
    conn.execute("DELETE FROM historical_transactions")

    sender.send(body(item(600)))

    assert life.accept() == {"repeated": 1}
    assert sender.items() == []


def test_who_dies_before_it_has_noted_what_is_published_publishes_the_rest_alone(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    sender.send(body(item(600), item(5), UNFIT, item(7, provider=9), item(8)))
    life.accept()
    sender.ingest()
    conn.execute("DELETE FROM historical_transactions WHERE message_id = 'K:0'")
    conn.execute("DELETE FROM historical_transactions WHERE message_id = 'K:4'")
    conn.execute("DELETE FROM received_message WHERE message_id = 'K:4'")  # as if never stored
    conn.execute("UPDATE request SET published_at = NULL")

    sender.send(body(item(600), item(5), UNFIT, item(7, provider=9), item(8)))

    assert life.accept() == {"repeated": 1}
    assert [identity for identity, _ in sender.items()] == ["K:4"]
    assert life.document().published_at
