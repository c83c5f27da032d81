"""Postgres stopped, frozen, read-only or full under load: ingest waits, and then all is there."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import docker
import psycopg
import pytest
from docker.models.containers import Container
from psycopg import sql

from services.ingest.writer import STUCK_S
from tests.support import messages, outages, programs, servers
from tests.support.eventually import eventually
from tests.support.messages import counted, dead_letters, rows, truth
from tests.support.outages import flowing, mebibytes, reconnects

PER_S = 1000
OUTAGE_S = 3
BACK_WITHIN_S = 30.0
"""Until it is tried again 5 s may pass; the backlog of a busy machine takes longer."""
RECONNECTS_PER_S = 6
GROWTH_MIB = 30
ORDINARY_MIB = 120
SPACE = "/small"
COUNT = "SELECT count(*) FROM historical_transactions"
TERMINATE = """
SELECT pg_terminate_backend(pid)
  FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'minutebook-ingest'
"""
WRITABLE = "-c default_transaction_read_only=off"


@dataclass(frozen=True)
class Own:
    """A server that only these tests use, and its container."""

    server: servers.Postgres
    container: Container

    def ready(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.server.dsn("postgres"), connect_timeout=2).close()
            return True
        return False

    @contextlib.contextmanager
    def gone(self, how: str) -> Iterator[None]:
        """Have it `killed` or `frozen` while inside."""
        end, begin = {
            "killed": (self.container.kill, self.container.start),
            "frozen": (self.container.pause, self.container.unpause),
        }[how]
        end()
        with outages.afterwards(lambda: eventually(self.ready, 30)), outages.afterwards(begin):
            yield


@pytest.fixture(scope="module")
def own(engine: docker.DockerClient) -> Iterator[Own]:
    pinning = outages.FixedPorts(engine, tmpfs={SPACE: "size=8m,mode=1777"})
    with servers.postgres(pinning.engine()) as server:
        yield Own(server, pinning.container)


@pytest.fixture
def dsn(own: Own) -> Iterator[str]:
    """A database of the test's own, on that server."""
    with own.server.database() as dsn:
        with connected(dsn) as conn:
            messages.add_providers(conn)
        yield dsn


@contextlib.contextmanager
def connected(dsn: str) -> Iterator[psycopg.Connection]:
    """Connect as a person does, who may write where writing is switched off."""
    with psycopg.connect(dsn, autocommit=True, options=WRITABLE) as conn:
        yield conn


def stored(conn: psycopg.Connection) -> int:
    found = conn.execute(COUNT).fetchone()
    return int(found[0]) if found else 0


@dataclass
class Watch:
    """What an outage costs, from here on."""

    program: programs.Program
    traffic: outages.Traffic

    def __post_init__(self) -> None:
        self.sent = self.traffic.sent
        self.began = time.monotonic()
        self.reconnects = reconnects(self.program)
        self.mebibytes = mebibytes(self.program)

    def passed_s(self) -> float:
        """Return how long ago that was."""
        return time.monotonic() - self.began

    def lasts(self) -> None:
        """Wait until the outage has lasted long enough, by the messages that came meanwhile."""
        eventually(lambda: self.traffic.sent > self.sent + OUTAGE_S * PER_S)

    def over(self, conn: psycopg.Connection) -> None:
        """Check that ingest is back at full speed: no backlog of half a second is left."""
        eventually(lambda: stored(conn) > self.traffic.sent - PER_S // 2, BACK_WITHIN_S)
        tries = reconnects(self.program) - self.reconnects
        assert tries <= RECONNECTS_PER_S * (self.passed_s() + 1)
        assert mebibytes(self.program) < self.mebibytes + GROWTH_MIB
        assert mebibytes(self.program) < ORDINARY_MIB


def all_is_there(
    conn: psycopg.Connection, program: programs.Program, traffic: outages.Traffic, amqp_url: str
) -> None:
    """Check that what was sent is stored, each once, and that nothing else came of it."""
    eventually(lambda: stored(conn) >= traffic.sent)
    messages.queue_drained(program, amqp_url)
    assert sorted(rows(conn)) == traffic.rows()
    assert dead_letters(conn) == []
    assert counted(conn) == truth(conn)


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_postgres_gone_under_load_costs_no_more_than_the_time_it_is_gone(
    own: Own, dsn: str, amqp_url: str, how: str
) -> None:
    with messages.ingest(dsn, amqp_url) as program:
        with flowing(amqp_url, PER_S) as traffic:
            with connected(dsn) as conn:
                eventually(lambda: stored(conn) > PER_S)
            watch = Watch(program, traffic)
            with own.gone(how):
                watch.lasts()
                if how == "killed":
                    eventually(lambda: program.health()[0] == 503)
                else:
                    assert program.health()[0] == 200 or watch.passed_s() > STUCK_S
            with connected(dsn) as conn:
                watch.over(conn)
        with connected(dsn) as conn:
            all_is_there(conn, program, traffic, amqp_url)


@contextlib.contextmanager
def read_only(conn: psycopg.Connection, how: str) -> Iterator[None]:
    """Have the whole server, or one database and all who are in it, refuse to write."""
    if how == "server":
        begin = "ALTER SYSTEM SET default_transaction_read_only = on"
        end = "ALTER SYSTEM RESET default_transaction_read_only"
        tell = "SELECT pg_reload_conf()"
    else:
        name = sql.Identifier(conn.info.dbname).as_string(conn)
        begin = f"ALTER DATABASE {name} SET default_transaction_read_only = on"
        end = f"ALTER DATABASE {name} RESET default_transaction_read_only"
        tell = TERMINATE
    conn.execute(begin.encode())
    conn.execute(tell.encode())
    try:
        yield
    finally:
        conn.execute(end.encode())
        conn.execute(b"SELECT pg_reload_conf()")


@pytest.mark.parametrize("how", ["server", "database"])
def test_postgres_turned_read_only_under_load_is_waited_for(
    dsn: str, amqp_url: str, how: str
) -> None:
    with messages.ingest(dsn, amqp_url) as program, connected(dsn) as conn:
        with flowing(amqp_url, PER_S) as traffic:
            eventually(lambda: stored(conn) > PER_S)
            watch = Watch(program, traffic)
            with read_only(conn, how):
                eventually(lambda: "read-only" in program.logs())
                at_most = stored(conn)
                watch.lasts()
                assert stored(conn) == at_most
                eventually(lambda: program.health()[0] == 503)
            watch.over(conn)
        all_is_there(conn, program, traffic, amqp_url)


def test_a_full_disk_is_waited_for_until_there_is_room(own: Own, dsn: str, amqp_url: str) -> None:
    own.container.exec_run(["chown", "postgres", SPACE], user="root")
    with connected(dsn) as conn:
        conn.execute(f"CREATE TABLESPACE small LOCATION '{SPACE}'")
        conn.execute("ALTER TABLE historical_transactions SET TABLESPACE small")
        filler = f"{SPACE}/filler"
        with messages.ingest(dsn, amqp_url) as program:
            with flowing(amqp_url, PER_S) as traffic:
                eventually(lambda: stored(conn) > PER_S)
                own.container.exec_run(["dd", "if=/dev/zero", f"of={filler}", "bs=8k"])
                eventually(lambda: "53100" in program.health()[1])
                watch = Watch(program, traffic)
                at_most = stored(conn)
                watch.lasts()
                assert stored(conn) == at_most
                own.container.exec_run(["rm", filler])
                watch.over(conn)
            all_is_there(conn, program, traffic, amqp_url)
        conn.execute("ALTER TABLE historical_transactions SET TABLESPACE pg_default")
        conn.execute("DROP TABLESPACE small")
