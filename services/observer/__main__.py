"""`python -m services.observer`: settings, connections, threads, the order of stopping."""

import resource
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, Field, Secret

from services.observer import expiry
from services.observer.api import Api
from services.observer.life import Amounts, Connectors, Observer
from services.observer.lookups import NAME as LOOKUPS
from services.observer.lookups import Lookups
from shared import addresses, keydb, postgres, program, retry, settings, worker
from shared.amqp.consumer import Consumer
from shared.amqp.delays import DelayingPublisher
from shared.errors import Refusal
from shared.health import MAIN, Health

ABOUT = "Asks an API about each object that was seen, and keeps when it was last seen online."
NAME = "observer"
FILES_BESIDE = 100
"""Files that are open besides the connections of lookups."""


def _valid_url(secret: Secret[str]) -> Secret[str]:
    try:
        fits = not addresses.check_url(secret.get_secret_value(), "http", "https").query
    except ValueError:
        fits = False
    if not fits:
        raise ValueError("not a URL of the form http://user:password@host:8080/path")
    return secret


class ObserverSettings(
    settings.PostgresSettings,
    settings.RabbitmqSettings,
    settings.KeydbSettings,
    settings.ServiceSettings,
):
    """What the observer needs."""

    metrics_port: settings.MetricsPort = 9108
    observer_url: Annotated[Secret[str], AfterValidator(_valid_url)] = Field(
        description='URL of the API; /objects/{id} below it answers {"id": 7, "online": true}',
        examples=["http://observer-api:8080"],
    )
    observer_ca_file: Annotated[str, settings.READABLE] = Field(
        default="", description=settings.CA_FILE.format("https://")
    )
    observer_concurrency: int = Field(
        default=100, ge=1, le=5000, description="lookups at a time, in one process"
    )
    observer_timeout_seconds: float = Field(
        default=5, ge=0.1, le=60, description="seconds for a lookup; then it counts as unanswered"
    )
    observer_expire_after_seconds: float = Field(
        default=30,
        ge=1,
        le=86_400,
        description="seconds for which it is kept that an object was seen",
    )
    observer_expire_every_seconds: float = Field(
        default=3, ge=0.1, le=3600, description="seconds within which what has expired is removed"
    )


def connectors(chosen: ObserverSettings) -> Connectors:
    """Return how the servers are reached."""
    return Connectors(
        partial(postgres.connection, chosen, application=NAME),
        partial(keydb.client, chosen, name=NAME),
        partial(Consumer.connected, chosen, name=NAME),
        partial(DelayingPublisher.connected, chosen, name=f"{NAME}-retries"),
    )


def run(
    chosen: ObserverSettings,
    health: Health,
    stop: threading.Event,
    connect: Callable[[ObserverSettings], Connectors] = connectors,
) -> None:
    """Observe until `stop`; start again when a server was lost. Raises `Refusal`.

    Who composes the service otherwise passes other connections.
    """
    permit_files(chosen.observer_concurrency + FILES_BESIDE)
    url = chosen.observer_url.get_secret_value()
    api = Api(url, chosen.observer_timeout_seconds, chosen.observer_ca_file)
    lookups = Lookups(api, chosen.observer_concurrency, health.turning(LOOKUPS))
    kept_s = chosen.observer_expire_after_seconds
    amounts = Amounts(chosen.observer_concurrency, kept_s)
    observer = Observer(connect(chosen), lookups, amounts, health, stop)
    to_expire = partial(postgres.connection, chosen, application=expiry.NAME)
    every_s = chosen.observer_expire_every_seconds
    expiring = expiry.Expiry(to_expire, health, stop, every_s, kept_s)
    with lookups.running(), worker.running(expiry.NAME, expiring.live, stop, health):
        retry.run_with_reconnect(stop, observer.live, health.turning(MAIN))


def permit_files(needed: int) -> None:
    """Raise the limit of open files where it is lower and may be raised. Raises `Refusal`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= needed:
        return
    if hard != unlimited and hard < needed:
        raise Refusal(
            f"OBSERVER_CONCURRENCY needs {needed} open files, and {hard} are allowed (ulimit -n)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


PROGRAM = program.Program(NAME, ABOUT, ObserverSettings, run)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
