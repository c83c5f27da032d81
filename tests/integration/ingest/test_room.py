"""Too many unacknowledged bytes: ingest reads no more, and keeps what it has, and its channel."""

import psycopg

from services.ingest.backlog import BYTES_MAX
from tests.support.eventually import eventually
from tests.support.messages import add_providers, ingest, publish

BODY = b'{"id": 1, "value": 1, "note": "%s"}' % (b"x" * 8000)
MESSAGES = 2 * BYTES_MAX // len(BODY)


def test_a_slow_postgres_neither_loses_nor_doubles_what_does_not_fit(
    dsn: str, amqp_url: str, conn: psycopg.Connection
) -> None:
    add_providers(conn)
    publish(amqp_url, *[BODY] * MESSAGES)
    with psycopg.connect(dsn) as lock:
        lock.execute("LOCK TABLE historical_transactions IN SHARE MODE")
        with ingest(dsn, amqp_url) as program:
            # Longer than a wait for room, shorter than the lock timeout.
            eventually(lambda: program.metric("process_cpu_seconds_total") > 0)
            with psycopg.connect(dsn) as other:
                other.execute("SELECT pg_sleep(5)")
            lock.commit()
            count = "SELECT count(*) FROM historical_transactions"
            eventually(lambda: conn.execute(count).fetchone() == (MESSAGES,), 60)
            assert program.stop() == 0
            assert conn.execute(count).fetchone() == (MESSAGES,)
            assert program.logs().count("consuming") == 1
