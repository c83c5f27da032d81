"""`python -m services.gateway`: settings, connections, and the order of stopping."""

import contextlib
import resource
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Annotated

import structlog
from pydantic import AfterValidator, Field, Secret

from services.gateway import app, serving, tokens
from services.gateway.accepting import Acceptor, Bounds
from services.gateway.alerting import AlertWriter
from services.gateway.asking import Inquirer
from services.gateway.front import Front
from services.gateway.http_request import BodyLimits
from services.gateway.known import KnownRequests
from services.gateway.listing import Lister
from services.gateway.producer import Producer
from services.gateway.protocol import Protocol
from services.gateway.reading import Desk
from services.gateway.streaming import Streamer
from services.gateway.ticks import Reader, Ticks
from services.gateway.valuing import Valuer
from shared import http_server, postgres, postgres_pool, program, settings, worker
from shared.alert import HistorySettings
from shared.amqp.direct import DirectPublisher
from shared.health import Health

ABOUT = "Accepts transactions by HTTP for the tracker, and answers questions about balances."
NAME = "gateway"
POOL_MAX = 8
"""Questions that Postgres answers at once; more wait a little."""

log = structlog.get_logger()


def _valid_tokens(secret: Secret[str]) -> Secret[str]:
    tokens.parse(secret.get_secret_value())
    return secret


class GatewaySettings(
    settings.PostgresSettings,
    settings.RabbitmqSettings,
    settings.BodySettings,
    settings.TickSettings,
    HistorySettings,
    settings.ServiceSettings,
):
    """What the gateway needs."""

    metrics_port: settings.MetricsPort = 9104
    gateway_host: settings.MetricsHost = Field(
        default=settings.ANY_ADDRESS, description="address that clients reach it at"
    )
    gateway_port: int = Field(
        default=8080, ge=0, le=65535, description="port that clients reach it at; 0: any free one"
    )
    gateway_tokens: Annotated[Secret[str], AfterValidator(_valid_tokens)] = Field(
        description="who may do what: name:token:scopes, separated by blanks or lines; scopes are"
        " read, write or read+write",
        examples=["shop:change-me-to-something-long:read+write"],
    )
    gateway_trusted_proxies: str = Field(
        default="",
        description="addresses or networks, separated by commas, whose X-Forwarded-For and"
        " X-Forwarded-Proto are believed; empty: nobody's",
    )
    gateway_body_max_bytes: int = Field(
        default=4_194_304, ge=1024, le=8_388_608, description="bytes of a request's body, at most"
    )
    gateway_items_max: int = Field(
        default=10_000, ge=1, le=10_000, description="transactions in one request, at most"
    )
    gateway_bytes_in_hand_max: int = Field(
        default=33_554_432,
        ge=1_048_576,
        le=1_073_741_824,
        description="bytes of all bodies that were read and wait for their confirm, at most; and"
        " as many of answers that clients do not read",
    )
    gateway_in_flight_max: int = Field(
        default=1000, ge=1, le=10_000, description="requests that wait for their confirm, at most"
    )
    gateway_connections_max: int = Field(
        default=2000, ge=1, le=50_000, description="connections of clients, at most"
    )
    gateway_head_seconds: float = Field(
        default=10, ge=0.1, le=300, description="seconds in which a request's head must have come"
    )
    gateway_body_seconds: float = Field(
        default=30, ge=0.1, le=300, description="seconds in which a request's body must have come"
    )
    gateway_answer_seconds: float = Field(
        default=30, ge=0.1, le=300, description="seconds in which a client must have read an answer"
    )

    @property
    def bounds(self) -> Bounds:
        """What is accepted at most."""
        body = BodyLimits(
            self.gateway_body_max_bytes, self.gateway_body_seconds, self.gateway_bytes_in_hand_max
        )
        return Bounds(body, self.gateway_items_max, self.gateway_in_flight_max)


Connect = Callable[..., AbstractContextManager[DirectPublisher]]


def run(
    chosen: GatewaySettings,
    health: Health,
    stop: threading.Event,
    connect: Connect = DirectPublisher.connected,
) -> None:
    """Serve until `stop`; the broker's connection is closed once nobody waits for it any more.

    Who composes the service otherwise passes another `connect`.
    """
    _allow_files(chosen.gateway_connections_max)
    Protocol.head_within_s = chosen.gateway_head_seconds
    Protocol.answer_within_s = chosen.gateway_answer_seconds
    Protocol.connections_max = chosen.gateway_connections_max
    Protocol.unread_bytes_max = chosen.gateway_bytes_in_hand_max
    served = threading.Event()
    to_rabbitmq = partial(connect, chosen, name=NAME, turn=health.turning("producer"))
    producer = Producer(to_rabbitmq, health, served)
    ticks = Ticks()
    with contextlib.ExitStack() as stack:
        known = tokens.parse(chosen.gateway_tokens.get_secret_value())
        limits = chosen.body_limits
        pool = stack.enter_context(
            postgres_pool.opened(chosen, application=NAME, size_max=POOL_MAX)
        )
        acceptor = Acceptor(
            producer, KnownRequests(pool), known, chosen.bounds, limits, chosen.own_shard
        )
        desk = Desk(pool, known)
        questions = {
            **Lister(desk, chosen.own_shard).routes(),
            **Inquirer(desk, chosen.tick_interval_seconds, chosen.own_shard).routes(),
            **Valuer(desk).routes(),
        }
        application = app.make(
            AlertWriter(acceptor, chosen.history_s), questions, Streamer(ticks, known), health
        )
        opened = stack.enter_context(
            http_server.listening(chosen.gateway_host, chosen.gateway_port, "GATEWAY_PORT")
        )
        reading = partial(_reader(chosen, ticks, acceptor, health, served).live, limits)
        stack.enter_context(worker.running("ticks", reading, served, health))
        ended = stack.enter_context(worker.running("producer", producer.live, served, health))
        host, port, *_ = opened.getsockname()
        log.info("listening", host=host, http_port=port)
        life = serving.Life((stop, ended), ticks.close, health)
        front = Front(application, acceptor.in_hand, {app.TRANSACTIONS: acceptor.transactions})
        serving.run(front, opened, chosen.gateway_trusted_proxies, life)


def _reader(
    chosen: GatewaySettings,
    ticks: Ticks,
    acceptor: Acceptor,
    health: Health,
    stop: threading.Event,
) -> Reader:
    turn = health.turning("ticks")
    to_postgres = partial(postgres.connection, chosen, application="gateway-ticks", turn=turn)
    return Reader(to_postgres, ticks, acceptor.use_limits, stop)


def _allow_files(connections: int) -> None:
    """Raise this process's own limit of open files, as far as it may, to what connections need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


PROGRAM = program.Program(NAME, ABOUT, GatewaySettings, run)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
