"""The three servers with TLS beside plain text, and the certificates for it, made here and now."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import trustme

from tests.support import servers
from tests.support.containers import await_success, published_port, running
from tests.support.readiness import LOCAL, await_broker
from tests.support.servers import PASSWORD, USER

INSIDE = "/tls"
RABBITMQ_CONF = f"""
listeners.ssl.default = 5671
ssl_options.cacertfile = {INSIDE}/ca.pem
ssl_options.certfile = {INSIDE}/server.pem
ssl_options.keyfile = {INSIDE}/server.key
"""
# A server of Postgres wants its key for itself.
POSTGRES_COMMAND = (
    f"install -o postgres -m 600 {INSIDE}/server.key /var/lib/postgresql/server.key"
    f" && exec docker-entrypoint.sh postgres -c ssl=on -c ssl_cert_file={INSIDE}/server.pem"
    " -c ssl_key_file=/var/lib/postgresql/server.key"
)
KEYDB_COMMAND = (
    "keydb-server --bind 0.0.0.0 --protected-mode no --dir /data --appendonly yes"
    f" --maxmemory-policy noeviction --tls-port 6380 --tls-ca-cert-file {INSIDE}/ca.pem"
    f" --tls-cert-file {INSIDE}/server.pem --tls-key-file {INSIDE}/server.key --tls-auth-clients no"
)
READY = ["pg_isready", "-q", "-h", LOCAL, "-U", USER]


@dataclass(frozen=True)
class Encrypted:
    """Ports of 127.0.0.1, for which, and for no name, the servers' certificate is."""

    postgres: int
    rabbitmq: int
    rabbitmq_plain: int
    keydb: int
    keydb_plain: int

    def settings(self, ca: Path, *, host: str = LOCAL) -> dict[str, str]:
        """Return the settings of a program that trusts `ca`."""
        login = f"{USER}:{PASSWORD}@{host}"
        verified = f"sslmode=verify-full&sslrootcert={ca}"
        return {
            "POSTGRES_DSN": f"postgresql://{login}:{self.postgres}/postgres?{verified}",
            "RABBITMQ_URL": f"amqps://{login}:{self.rabbitmq}/%2F",
            "RABBITMQ_CA_FILE": str(ca),
            "KEYDB_URL": f"rediss://{host}:{self.keydb}/0",
            "KEYDB_CA_FILE": str(ca),
        }


def authority(folder: Path, name: str) -> trustme.CA:
    """Make an authority and write its certificate to `name`.pem."""
    made = trustme.CA()
    made.cert_pem.write_to_path(folder / f"{name}.pem")
    return made


@contextlib.contextmanager
def servers_with(folder: Path, ca: trustme.CA, client: docker.DockerClient) -> Iterator[Encrypted]:
    """Start all three with a certificate that `ca` gives to 127.0.0.1; `folder` has ca.pem."""
    certificate = ca.issue_cert(LOCAL)
    certificate.cert_chain_pems[0].write_to_path(folder / "server.pem")
    certificate.private_key_pem.write_to_path(folder / "server.key")
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    mounted = {str(folder): {"bind": INSIDE, "mode": "ro"}}
    with contextlib.ExitStack() as started:
        postgres = started.enter_context(
            running(
                client,
                "POSTGRES_IMAGE",
                entrypoint=["bash", "-c", POSTGRES_COMMAND],
                environment={"POSTGRES_USER": USER, "POSTGRES_PASSWORD": PASSWORD},
                ports={"5432/tcp": (LOCAL, None)},
                volumes=mounted,
            )
        )
        (folder / "95-tls.conf").write_text(RABBITMQ_CONF)
        options = servers.rabbitmq_options()
        options["ports"]["5671/tcp"] = (LOCAL, None)
        conf = {"bind": "/etc/rabbitmq/conf.d/95-tls.conf", "mode": "ro"}
        options["volumes"] |= mounted | {str(folder / "95-tls.conf"): conf}
        rabbitmq = started.enter_context(running(client, "RABBITMQ_IMAGE", **options))
        keydb = started.enter_context(
            running(
                client,
                "KEYDB_IMAGE",
                command=KEYDB_COMMAND,
                ports={"6379/tcp": (LOCAL, None), "6380/tcp": (LOCAL, None)},
                volumes=mounted,
            )
        )
        await_success(postgres, READY)
        await_success(keydb, ["keydb-cli", "ping"])
        await_broker(rabbitmq)
        yield Encrypted(
            published_port(postgres, 5432),
            published_port(rabbitmq, 5671),
            published_port(rabbitmq, 5672),
            published_port(keydb, 6380),
            published_port(keydb, 6379),
        )
