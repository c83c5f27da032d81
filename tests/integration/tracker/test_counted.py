"""Which tick has counted a request follows from the Postgres transactions that stored its items."""

import psycopg

from tests.support.tracking import Life, Sender, body, item, tick

ROW = """
INSERT INTO historical_transactions (provider_id, transaction_value, message_id)
VALUES (%s, %s, %s)
"""


def accept(life: Life, sender: Sender, *items: object) -> None:
    sender.send(body(*items))
    life.accept()


def counted(life: Life) -> tuple[object, bool]:
    found = life.document()
    return found.counted_by, found.shown_at is not None


def test_it_is_counted_by_the_first_due_tick_that_sees_all_of_it_and_shown_with_that(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    accept(life, sender, item(600), item(5))
    first, second = sender.items()
    sender.store(first)
    tick(conn, shown=False)
    sender.store(second)
    life.run()
    assert counted(life) == (None, False)

    boundary = tick(conn, shown=False)
    tick(conn, shown=False)
    conn.execute("UPDATE tick SET published_at = now() WHERE epoch = 1")  # it has not all of it
    life.run()
    assert counted(life) == (None, False)
    conn.execute("UPDATE tick SET published_at = now() WHERE epoch = 3")
    life.run()

    assert counted(life) == (boundary, True)  # a later tick shows it, too


def test_a_row_deleted_later_does_not_change_which_tick_counted_it(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    accept(life, sender, item(600))
    sender.ingest()
    life.run()
    boundary = tick(conn, shown=False)
    conn.execute("DELETE FROM historical_transactions")
    tick(conn)
    life.run()

    assert counted(life) == (boundary, True)


def test_what_is_decided_after_its_tick_was_shown_is_counted_by_that(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    accept(life, sender, item(600))
    sender.ingest()
    boundary = tick(conn)
    tick(conn)
    life.run()

    assert counted(life) == (boundary, True)


def test_an_interim_tick_counts_it_for_the_due_one_after_it(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    accept(life, sender, item(600))
    sender.ingest()
    tick(conn)
    conn.execute("UPDATE tick SET interim = true, boundary = NULL, published_at = NULL"
                 " WHERE epoch = 1")  # fmt: skip
    boundary = tick(conn)
    life.run()

    assert counted(life) == (boundary, True)


def test_a_row_that_a_savepoint_stored_is_counted_when_what_is_around_it_is(
    life: Life, sender: Sender, conn: psycopg.Connection, dsn: str
) -> None:
    accept(life, sender, item(600))
    with psycopg.connect(dsn) as other, other.transaction():
        other.execute("SELECT pg_current_xact_id()")
        with other.transaction():  # its own xid is beyond what the tick takes for unfinished
            other.execute(ROW, [1, 600, "K:0"])
        conn.execute("CREATE TABLE burns_an_xid ()")
        tick(conn)
    life.run()
    assert life.document().state == "done"
    assert counted(life) == (None, False)

    boundary = tick(conn)
    life.run()
    assert counted(life) == (boundary, True)


def test_after_everything_was_counted_anew_the_new_baseline_has_counted_it(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    accept(life, sender, item(600))
    sender.ingest()
    tick(conn)
    life.run()
    conn.execute("UPDATE request SET xids = '{9999999999}', counted_by = NULL, shown_at = NULL")
    conn.execute("UPDATE tick SET system_identifier = 1")
    boundary = tick(conn)
    life.run()

    assert counted(life) == (boundary, True)
