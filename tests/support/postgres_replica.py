"""A Postgres and its streaming replica: cut off, killed, promoted, as a failover goes."""

import contextlib
import uuid
from collections.abc import Iterator

import docker
import psycopg
from docker.models.containers import Container

from tests.support import servers
from tests.support.containers import address, published_port, running, succeeds
from tests.support.eventually import eventually
from tests.support.outages import FixedPorts
from tests.support.readiness import await_postgres
from tests.support.servers import PASSWORD, TEMPLATE, USER

ALLOW = "echo 'host replication all all scram-sha-256' >> \"$PGDATA/pg_hba.conf\""
COPY = (
    f'pg_basebackup -h {{host}} -U {USER} -D "$PGDATA" -R -c fast'
    f" && exec docker-entrypoint.sh {servers.POSTGRES_COMMAND}"
)
RESTORE = (
    "set -o pipefail; pg_dump --dbname='postgresql://{login}@{source}/{name}'"
    " | psql --quiet --set=ON_ERROR_STOP=1 --dbname='postgresql://{login}@{target}/{name}'"
)


class Cluster:
    """One that takes writes and, at times, a replica that may come to take its place."""

    def __init__(
        self,
        engine: docker.DockerClient,
        started: contextlib.ExitStack,
        primary: servers.Postgres,
        container: Container,
    ) -> None:
        """`started` removes the containers at the end."""
        self._engine = engine
        self._started = started
        self._container = container
        self._replica_container: Container
        self.primary = primary
        self.replica: servers.Postgres

    def database(self) -> str:
        """Make a migrated database; returns its name."""
        name = f"test_{uuid.uuid4().hex}"
        with admin(self.primary) as one:
            one.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return name

    def dsn(self, database: str) -> str:
        """Return the URL that leads to whichever of the two takes writes."""
        ports = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.replica.port}"
        return f"postgresql://{USER}:{PASSWORD}@{ports}/{database}"

    def add_replica(self) -> None:
        """Copy the primary into a replica, which follows it from then on."""
        options = {
            "command": ["bash", "-c", COPY.format(host=self.primary.address)],
            "environment": {"PGPASSWORD": PASSWORD, "POSTGRES_PASSWORD": PASSWORD},
            "ports": {"5432/tcp": ("127.0.0.1", None)},
            "shm_size": "256m",
        }
        container = self._started.enter_context(running(self._engine, "POSTGRES_IMAGE", **options))
        self.replica = servers.Postgres(published_port(container, 5432), address(container))
        await_postgres(self.replica.dsn("postgres"))
        self._replica_container = container

    def cut_off(self) -> None:
        """Let the replica have all there is now, and nothing that comes later."""
        with admin(self.primary) as one, admin(self.replica) as other:
            reached = one.execute("SELECT pg_current_wal_lsn()").fetchone()
            replayed = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
            eventually(lambda: other.execute(replayed, reached).fetchone() == (True,))
            other.execute("ALTER SYSTEM SET primary_conninfo = ''")
            other.execute("SELECT pg_reload_conf()")
            receivers = "SELECT count(*) FROM pg_stat_wal_receiver"
            eventually(lambda: other.execute(receivers).fetchone() == (0,))

    def restore_into(self, server: servers.Postgres, database: str) -> str:
        """Restore a dump of the primary's database into another cluster; returns its URL there."""
        return restore(database, self.primary, server, self._container)

    def fail_over(self) -> None:
        """Kill the primary and promote the replica."""
        self._container.kill()
        self.promote()
        self.primary, self._container = self.replica, self._replica_container

    def promote(self) -> None:
        """Promote the replica, whatever becomes of the primary: if nothing does, there are two."""
        with admin(self.replica) as other:
            assert other.execute("SELECT pg_promote()").fetchone() == (True,)


def admin(server: servers.Postgres) -> psycopg.Connection:
    """Connect as the server's owner."""
    return psycopg.connect(server.dsn("postgres"), autocommit=True)


def restore(name: str, source: servers.Postgres, target: servers.Postgres, by: Container) -> str:
    """Have a container restore a dump of a database under the same name; returns its URL there."""
    with admin(target) as one:
        one.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    login = f"{USER}:{PASSWORD}"
    given = {"source": source.address, "target": target.address, "name": name}
    done = by.exec_run(["bash", "-c", RESTORE.format(login=login, **given)])
    assert done.exit_code == 0, done.output
    return target.dsn(name)


def drop(server: servers.Postgres, name: str) -> None:
    """Drop a database, whoever uses it."""
    with admin(server) as one:
        one.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def cluster(engine: docker.DockerClient) -> Iterator[Cluster]:
    """Start a primary with the migrated template; all of it is gone at the end."""
    pinning = FixedPorts(engine)
    with servers.postgres(pinning.engine()) as primary, contextlib.ExitStack() as started:
        assert succeeds(pinning.container, ["bash", "-c", ALLOW])
        with admin(primary) as one:
            one.execute("SELECT pg_reload_conf()")
        yield Cluster(engine, started, primary, pinning.container)
