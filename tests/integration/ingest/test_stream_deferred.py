"""A dead letter of a stream that cannot be written holds up no good row, whatever is restarted."""

from collections.abc import Sequence
from functools import partial

import pika
import psycopg
import pytest

from tests.support import messages, programs, streams
from tests.support.eventually import eventually
from tests.support.messages import body, counted, dead_letters, rows, truth

STREAM = "transactions"
UNFIT = b"{"
REFUSED = "ALTER TABLE dead_letter ADD CONSTRAINT theirs CHECK (false) NOT VALID"
ACCEPTED = "ALTER TABLE dead_letter DROP CONSTRAINT theirs"


@pytest.fixture
def settings(dsn: str, amqp_url: str, conn: psycopg.Connection) -> dict[str, str]:
    messages.add_providers(conn)
    with messages.channel(amqp_url) as channel:
        channel.queue_declare(STREAM, durable=True, arguments={"x-queue-type": "stream"})
    return {"POSTGRES_DSN": dsn, "RABBITMQ_URL": amqp_url, "INGEST_STREAM": STREAM}


def publish(amqp_url: str, *bodies: bytes, identities: Sequence[str | None] = ()) -> None:
    with messages.channel(amqp_url) as channel:
        channel.confirm_delivery()
        named = identities or [None] * len(bodies)
        for one, identity in zip(bodies, named, strict=True):
            properties = pika.BasicProperties(message_id=identity)
            channel.basic_publish("", STREAM, one, properties)


def reached(conn: psycopg.Connection) -> int:
    """Return up to which offset the stream is stored."""
    query = """
    SELECT coalesce(deferred - 1, reached)
      FROM stream_offset
     WHERE stream = %s
     ORDER BY reached DESC
     LIMIT 1
    """
    row = conn.execute(query, (STREAM,)).fetchone()
    return row[0] if row else -1


def values(conn: psycopg.Connection) -> list[int]:
    return [value for _, value in rows(conn)]


def stores(conn: psycopg.Connection, expected: Sequence[int]) -> None:
    eventually(lambda: values(conn) == [*expected])


def unhealthy_because(program: programs.Program, reason: str) -> bool:
    status, text = program.health()
    return status == 503 and reason in text


def test_good_rows_are_stored_behind_a_dead_letter_that_is_kept_until_it_can_be_written(
    amqp_url: str, conn: psycopg.Connection, settings: dict[str, str]
) -> None:
    conn.execute(REFUSED)
    publish(amqp_url, body(1, 0), UNFIT, *(body(1, value) for value in range(1, 5)))
    with programs.running("services.ingest", **settings) as ingest:
        stores(conn, range(5))
        publish(amqp_url, body(1, 5), body(99, 1), body(1, 6))
        stores(conn, range(7))
        eventually(partial(unhealthy_because, ingest, "theirs"))
        assert reached(conn) < 1
        assert dead_letters(conn) == []

        conn.execute(ACCEPTED)
        eventually(lambda: reached(conn) == 8, 60)
        assert [reason for reason, _, _ in dead_letters(conn)] == ["not_json", "unknown_provider"]
        eventually(lambda: ingest.health()[0] == 200)
        publish(amqp_url, body(1, 7))
        stores(conn, range(8))
        eventually(lambda: reached(conn) == 9)
    assert counted(conn) == truth(conn)


def test_restarted_meanwhile_nothing_is_stored_twice_lost_or_falsely_a_dead_letter(
    amqp_url: str, conn: psycopg.Connection, settings: dict[str, str]
) -> None:
    conn.execute(REFUSED)
    bodies = [body(1, 0), UNFIT, *(body(1, value) for value in range(1, 100)), body(2, 100)]
    bodies += [body(1, 100), body(1, 4711), body(99, 8)]
    named = [None] * 102 + ["same", "same", "waits"]
    publish(amqp_url, *bodies, identities=named)
    for number in range(3):
        with programs.running("services.ingest", **settings) as ingest:
            eventually(lambda: len(rows(conn)) == 102)
            publish(amqp_url, body(2, number))
            eventually(lambda: len(rows(conn)) == 103)
            eventually(partial(unhealthy_because, ingest, "theirs"))
            assert reached(conn) < 1
            ingest.kill()
        conn.execute("DELETE FROM historical_transactions WHERE id = (SELECT max(id)"
                     " FROM historical_transactions)")  # fmt: skip
    conn.execute(ACCEPTED)
    with programs.running("services.ingest", **settings):
        eventually(lambda: reached(conn) == 107, 60)
    assert sorted(rows(conn)) == [*((1, value) for value in range(101)), (2, 100)]
    assert sorted(reason for reason, _, _ in dead_letters(conn)) == [
        "id_conflict", "not_json", "unknown_provider",
    ]  # fmt: skip
    assert counted(conn) == truth(conn)


def test_a_stream_never_settled_keeps_its_identities_over_restarts(
    amqp_url: str, conn: psycopg.Connection, settings: dict[str, str]
) -> None:
    conn.execute(REFUSED)
    publish(amqp_url, UNFIT, *(body(1, value) for value in range(20)))
    for _ in range(3):
        with programs.running("services.ingest", **settings) as ingest:
            stores(conn, range(20))
            eventually(partial(unhealthy_because, ingest, "theirs"))
            ingest.kill()
    conn.execute(ACCEPTED)
    with programs.running("services.ingest", **settings):
        eventually(lambda: reached(conn) == 20, 60)
    assert values(conn) == [*range(20)]
    assert [reason for reason, _, _ in dead_letters(conn)] == ["not_json"]


def test_retention_that_cuts_the_first_message_while_it_is_deferred_stops_ingest(
    amqp_url: str, conn: psycopg.Connection, settings: dict[str, str]
) -> None:
    short = {"x-max-length-bytes": 100_000, "x-stream-max-segment-size-bytes": 50_000}
    with messages.channel(amqp_url) as channel:
        channel.queue_delete(STREAM)
        arguments = {"x-queue-type": "stream", **short}
        channel.queue_declare(STREAM, durable=True, arguments=arguments)
    conn.execute(REFUSED)
    publish(amqp_url, UNFIT, body(1, 0), body(1, 1))
    for _ in range(2):
        with programs.running("services.ingest", **settings) as ingest:
            stores(conn, range(2))
            eventually(partial(unhealthy_because, ingest, "theirs"))
            ingest.kill()
    publish(amqp_url, *[body(1, 2) + b" " * 2000] * 400)
    streams.cut_to(amqp_url, STREAM, 1)
    conn.execute(ACCEPTED)
    with programs.running("services.ingest", **settings) as ingest:
        assert eventually(lambda: ingest.process.poll() is not None, 30)
        assert ingest.process.returncode == 1
        assert "retention" in ingest.logs()
    assert (values(conn), dead_letters(conn)) == ([0, 1], [])


def test_a_stream_created_again_while_its_first_message_is_deferred_stops_ingest(
    amqp_url: str, conn: psycopg.Connection, settings: dict[str, str]
) -> None:
    conn.execute(REFUSED)
    publish(amqp_url, UNFIT, body(1, 0), body(1, 1))
    with programs.running("services.ingest", **settings) as ingest:
        stores(conn, range(2))
        eventually(partial(unhealthy_because, ingest, "theirs"))
        ingest.kill()
    with messages.channel(amqp_url) as channel:
        channel.queue_delete(STREAM)
        channel.queue_declare(STREAM, durable=True, arguments={"x-queue-type": "stream"})
    publish(amqp_url, body(1, 7), body(1, 0), body(1, 1))  # the last two would pass for duplicates
    with programs.running("services.ingest", **settings) as ingest:
        assert eventually(lambda: ingest.process.poll() is not None, 30)
        assert ingest.process.returncode == 1
        assert "that is deferred: it was deleted and created again" in ingest.logs()
    assert values(conn) == [0, 1]


def test_a_message_that_is_never_ready_in_time_is_kept_and_those_behind_it_are_stored(
    dsn: str, amqp_url: str, conn: psycopg.Connection, settings: dict[str, str]
) -> None:
    conn.execute(
        "CREATE FUNCTION their_loop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.transaction_value = 3 THEN PERFORM pg_sleep(10); END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER their_loop BEFORE INSERT ON historical_transactions"
        " FOR EACH ROW EXECUTE FUNCTION their_loop()"
    )
    impatient = f"{dsn}?options=-c%20statement_timeout%3D200ms"
    publish(amqp_url, *(body(1, value) for value in range(8)))
    with programs.running("services.ingest", **settings | {"POSTGRES_DSN": impatient}) as ingest:
        eventually(lambda: values(conn) == [0, 1, 2, 4, 5, 6, 7], 60)
        eventually(partial(unhealthy_because, ingest, "57014"))
        assert reached(conn) == 2
        conn.execute("DROP FUNCTION their_loop CASCADE")
        eventually(lambda: reached(conn) == 7, 60)
    assert sorted(values(conn)) == [*range(8)]
    assert dead_letters(conn) == []
    assert counted(conn) == truth(conn)
