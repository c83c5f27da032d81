"""The one-shot job makes the services' logins, of which each is in its group and no other."""

import psycopg
import pytest

from migrations import rights
from shared.errors import Refusal
from tests.support import programs


def test_the_job_makes_logins_renews_their_passwords_and_tells_none(
    dsn: str, conn: psycopg.Connection
) -> None:
    try:
        for password in ("the first of them", "and the next"):
            with programs.running(
                "migrations", POSTGRES_DSN=dsn, POSTGRES_INGEST_PASSWORD=password
            ) as job:
                assert job.process.wait(60) == 0
                assert password not in job.logs()
            with psycopg.connect(dsn, user="ingest", password=password) as ingest:
                ingest.execute("SELECT FROM dead_letter")
        kept = {"POSTGRES_INGEST_PASSWORD": "a third", "POSTGRES_LOGINS": "kept"}
        with programs.running("migrations", POSTGRES_DSN=dsn, **kept) as job:
            assert job.process.wait(60) == 0
        psycopg.connect(dsn, user="ingest", password="and the next").close()
        stored = conn.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'ingest'")
        assert str(stored.fetchall()[0][0]).startswith("SCRAM-SHA-256$")
    finally:
        conn.execute("DROP ROLE ingest")


def test_a_role_that_somebody_else_uses_keeps_its_password(
    dsn: str, conn: psycopg.Connection
) -> None:
    conn.execute("CREATE ROLE ops LOGIN PASSWORD 'theirs'")
    try:
        with pytest.raises(Refusal, match="ops belongs to somebody else"):
            rights.ensure_logins(conn, {"ops": "ours"})
        psycopg.connect(dsn, user="ops", password="theirs").close()
    finally:
        conn.execute("DROP ROLE ops")
