"""Two shards under the faults' mixture, a tenth of it for the wrong shard, while parts fail.

What is misrouted is one dead letter, and after a replay that was killed in its middle one row where
it belongs. Postgres of shard 1, both ingests, both syncers and the broker's connections are struck.
"""

import contextlib
import random
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import docker
import psycopg
import pytest
import redis
from docker.models.containers import Container

from shared import shard
from tests.faults import shard_mixture, verdict
from tests.faults.difference import Difference
from tests.faults.load import Load, publishing
from tests.faults.message_mixture import PROVIDERS, Sent
from tests.faults.shard_mixture import ShardMixture
from tests.support import ledger, locks, messages, outages, programs, servers, shards, tcp_proxy
from tests.support.eventually import eventually
from tests.support.programs import Program
from tests.support.reference_ledger import Books, Provider
from tests.support.shards import COUNT, Pipeline

PER_S, BETWEEN_S, FROZEN_S, AWAY_S, RIGHT_WITHIN_S = 200, 0.7, 1.5, 0.5, 60.0
SERVICES = ("services.ingest", "services.syncer")
INSERT_PROVIDER = "INSERT INTO initial_data VALUES (%s, %s, 1000)"
REPLAY = ("dead-letters", "replay", "--reason", shard_mixture.WRONG)


class Struck:
    """Both pipelines as processes; a method for each way in which something fails."""

    def __init__(
        self, pair: tuple[Pipeline, Pipeline], postgres: Container, broker: tcp_proxy.TcpProxy
    ) -> None:
        """`postgres` is that of shard 1, `broker` what leads all services to RabbitMQ."""
        self._pair, self._postgres, self._broker = pair, postgres, broker
        self._started = contextlib.ExitStack()
        self._running: dict[tuple[int, str], Program] = {}

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Have all services while inside."""
        first = self._pair[0].environment
        ticker = {name: first[name] for name in ("RABBITMQ_URL", "TICK_INTERVAL_SECONDS")}
        with self._started:
            self._started.enter_context(programs.running("services.ticker", **ticker))
            for one in self._pair:
                for module in SERVICES:
                    self._start(one.shard.number, module)
            yield

    def kill(self, number: int, module: str) -> None:
        """Kill a service, and start it again."""
        self._running[number, module].kill()
        self._start(number, module)

    def freeze(self, number: int, module: str) -> None:
        """Freeze a service for a while."""
        process = self._running[number, module].process
        process.send_signal(signal.SIGSTOP)
        threading.Event().wait(FROZEN_S)
        process.send_signal(signal.SIGCONT)

    def cut(self) -> None:
        """Have the broker hang up on everybody for a while."""
        with self._broker.down():
            threading.Event().wait(AWAY_S)

    def restart_postgres(self) -> None:
        """Kill Postgres of shard 1, and its ingest while it has messages in hand."""
        self._postgres.kill()
        ingest = self._running[1, SERVICES[0]]
        eventually(lambda: ingest.metric("minutebook_ingest_in_hand_messages") > 0)
        self.kill(1, SERVICES[0])
        self._postgres.start()

    def ways(self) -> list[Callable[[], None]]:
        """Return every way, each once."""
        return [
            self.cut,
            self.restart_postgres,
            *(partial(self.kill, k, one) for k in range(COUNT) for one in SERVICES),
            *(partial(self.freeze, k, one) for k in range(COUNT) for one in SERVICES),
        ]

    def _start(self, number: int, module: str) -> None:
        environment = self._pair[number].environment
        program = self._started.enter_context(programs.running(module, **environment))
        self._running[number, module] = program


@pytest.fixture
def struck(
    engine: docker.DockerClient,
    postgres_server: servers.Postgres,
    amqp_url: str,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
) -> Iterator[tuple[Struck, tuple[Pipeline, Pipeline]]]:
    """Two pipelines that do not run yet; shard 1 has a server of its own."""
    pinning = outages.FixedPorts(engine)
    with contextlib.ExitStack() as stack:
        start = stack.enter_context
        own = start(servers.postgres(pinning.engine()))
        proxy, through = start(tcp_proxy.proxying(amqp_url))
        made = []
        for number, server in enumerate((postgres_server, own)):
            dsn = start(server.database())
            environment = {
                "POSTGRES_DSN": dsn,
                "RABBITMQ_URL": through,
                "KEYDB_URL": keydb_server.url(),
                "TICK_INTERVAL_SECONDS": "1",
                "SHARD": f"{number}/{COUNT}",
            }
            with psycopg.connect(dsn, autocommit=True) as conn, conn.cursor() as cursor:
                cursor.executemany(INSERT_PROVIDER, [(n, named(n)) for n in of(number)])
            made.append(Pipeline(shard.Shard(number, COUNT), environment, conn))
        pair = made[0], made[1]
        yield Struck(pair, pinning.container, proxy), pair


def of(number: int) -> list[int]:
    """Return the providers of a shard."""
    return [one for one in PROVIDERS if shard.of(one, COUNT) == number]


def named(provider: int) -> str:
    return f"Card {provider}"


def test_what_is_misrouted_is_one_dead_letter_and_by_a_replay_one_row_whatever_fails_meanwhile(
    struck: tuple[Struck, tuple[Pipeline, Pipeline]], amqp_url: str, store: "redis.Redis"
) -> None:
    parts, pair = struck
    seed = random.randrange(1_000_000)
    load = Load(lambda: amqp_url, seed, PER_S, mixture=ShardMixture(seed, COUNT))
    ways = random.Random(seed).sample(parts.ways(), len(parts.ways()))
    with parts.running():
        with publishing(load):
            for strike in ways:
                strike()
                threading.Event().wait(BETWEEN_S)
        with connected(pair[0]) as first, connected(pair[1]) as second:
            both = first, second
            settled(both, load)
            for one in both:
                break_off_a_replay(one)
            for one in both:
                assert one.ops.json(*REPLAY)["dead"] == {}
            assert shard_mixture.sent_right(load.sent.values(), COUNT) > 0
            settled(both, load)
            eventually(lambda: ledger.shown(store) == shards.truth(*both))
            for one in both:
                ledger.assert_counted_once(one.conn)


@contextlib.contextmanager
def connected(pipeline: Pipeline) -> Iterator[Pipeline]:
    """Yield a pipeline with a connection that stands, now that nobody strikes any more."""

    def probe() -> psycopg.Connection | None:
        with contextlib.suppress(psycopg.OperationalError):  # it may start still
            return psycopg.connect(pipeline.environment["POSTGRES_DSN"], autocommit=True)
        return None

    found = eventually(probe)
    assert found
    with found as conn:
        yield replace(pipeline, conn=conn)


def settled(pair: tuple[Pipeline, Pipeline], load: Load) -> None:
    """Wait until each message is what it must be, once, where it must be; and the balances."""

    def right() -> bool:
        found = [one for k in range(COUNT) for one in differences(pair[k], load)]
        assert not found, "\n".join(one.text for one in found[: verdict.SHOWN_MAX])
        return True

    eventually(right, RIGHT_WITHIN_S, pause_s=0.5)


def differences(pipeline: Pipeline, load: Load) -> Iterator[Difference]:
    number = pipeline.shard.number
    sent: list[Sent] = [one for one in load.sent.values() if one.key == str(number)]
    found = verdict.stored(pipeline.conn)
    providers = {one: Provider(named(one), 1000) for one in of(number)}
    yield from verdict.of_messages(sent, found, providers)
    expected = verdict.balances(sent, found, Books(providers))
    yield from verdict.of_balances(expected, ledger.truth(pipeline.conn), f"shard {number}")


def break_off_a_replay(pipeline: Pipeline) -> None:
    """Kill a replay that has published what it sends on, and committed nothing."""
    before = messages.reasons(pipeline.conn).count(shard_mixture.WRONG)
    with psycopg.connect(pipeline.environment["POSTGRES_DSN"]) as holder:
        holder.execute("LOCK TABLE operator_action IN EXCLUSIVE MODE")
        with pipeline.ops.started(*REPLAY) as replaying:
            locks.awaited(pipeline.conn)
            replaying.kill()
    assert messages.reasons(pipeline.conn).count(shard_mixture.WRONG) == before > 0
