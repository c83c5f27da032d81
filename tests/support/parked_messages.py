"""Messages that wait for provider 99, and the statement with which it comes."""

import psycopg

from tests.support.messages import body, received, store_batch

ADD = "INSERT INTO initial_data VALUES (99, 'Late', 100)"


def wait_for_99(conn: psycopg.Connection, *identities: str | None) -> None:
    """Store messages of values 1, 2, … for a provider that is not there."""
    batch = [
        received(body(99, tag), identity, tag=tag) for tag, identity in enumerate(identities, 1)
    ]
    assert store_batch(conn, batch).dead == {"unknown_provider": len(batch)}
