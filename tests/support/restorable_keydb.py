"""A KeyDB of the test's own: stopped, and started from an older copy of its append-only file."""

import contextlib
from collections.abc import Iterator

import docker
import redis
from docker.models.containers import Container

from tests.support import containers, servers
from tests.support.containers import LABEL, START_TIMEOUT_S
from tests.support.eventually import eventually
from tests.support.outages import FixedPorts

KEEP = "mkdir /data/kept && cp -a /data/append* /data/kept"
PUT_BACK = "rm -r /data/append* && cp -a /data/kept/. /data"


class Store:
    """A server that can be stopped, and the files it leaves."""

    def __init__(
        self, engine: docker.DockerClient, container: Container, keydb: servers.Keydb
    ) -> None:
        """`keydb` stays at the same port."""
        self._engine = engine
        self._container = container
        self.keydb = keydb

    def stop(self) -> None:
        """End it in order; its file is complete."""
        self._container.stop()

    def start(self) -> None:
        """Start it from the file that is there; returns when it answers."""
        self._container.start()
        with self.keydb.client() as client:
            eventually(lambda: _answers(client), START_TIMEOUT_S)

    def keep(self) -> None:
        """Copy the file as it is now; the server is stopped."""
        self._shell(KEEP)

    def put_back(self) -> None:
        """Put the kept copy in the place of the file; the server is stopped."""
        self._shell(PUT_BACK)

    def _shell(self, command: str) -> None:
        self._engine.containers.run(
            containers.image(servers.KEYDB_KINDS[self.keydb.kind]),
            ["sh", "-ec", command],
            entrypoint=[],
            labels={LABEL: "true"},
            remove=True,
            volumes_from=[str(self._container.id)],
        )


@contextlib.contextmanager
def keydb(engine: docker.DockerClient, kind: str) -> Iterator[Store]:
    """Start a server of that kind, gone at the end with its files."""
    pinning = FixedPorts(engine)
    with servers.keydb(pinning.engine(), kind) as started:
        yield Store(engine, pinning.container, started)


def _answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.ConnectionError:
        return False
