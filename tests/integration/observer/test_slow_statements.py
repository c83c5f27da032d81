"""A statement that takes longer than the broker waits for a sign of life costs no connection."""

import psycopg

from tests.support.eventually import eventually
from tests.support.observing import Sender, seen
from tests.support.programs import Program

SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
    PERFORM pg_sleep(17);
    RETURN NULL;
END';
CREATE TRIGGER slow AFTER INSERT ON last_seen FOR EACH STATEMENT EXECUTE FUNCTION slow();
"""
"""Longer than two heartbeats, and half of one more."""


def test_an_observer_answers_the_broker_while_it_writes_what_was_seen(
    observer: Program, sender: Sender, conn: psycopg.Connection
) -> None:
    conn.execute(SLOW)
    sender.send([1])
    eventually(lambda: list(seen(conn)) == [1], 60)
    conn.execute("DROP TRIGGER slow ON last_seen")
    sender.send([2])
    eventually(lambda: 2 in seen(conn))
    assert observer.metric('minutebook_reconnects_total{server="rabbitmq"}') == 0
