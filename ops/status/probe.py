"""What the three servers and our services say, asked at once; one that is down is part of that.

Only the broker's management page knows how many messages ingest has not acknowledged. It counts
every five seconds, so one answer cannot tell what is held from what was just passing: an ingest
that seems to acknowledge nothing is asked about until the page must have counted again.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar

import psycopg

from ops import queue_stats
from ops.deployment import DeploymentSettings
from ops.management_page import Page
from ops.status import replicas, store
from ops.status.snapshot import (
    Down,
    Ledger,
    Occupied,
    Queues,
    Refuses,
    Service,
    Shown,
    Snapshot,
    Unacknowledged,
)
from services.syncer.core import parse_watermark
from services.syncer.projection import KEYS_KEY, WATERMARK_KEY
from services.syncer.tick_store import OPTIONS
from shared import keydb, postgres
from shared.amqp import ticks
from shared.errors import Busy, Denied, Unavailable
from shared.shard import Shard

COUNTED_ANEW_S = 6.0
PAUSE_S = 0.5

T = TypeVar("T")
KnownLedger = tuple[Ledger, bool | None]
"""What Postgres says, and whether it wrote the tick that KeyDB shows: None if that is unknown."""
Held = Callable[[DeploymentSettings], Unacknowledged | Down | None]


class Sample(NamedTuple):
    """Unacknowledged messages, how many were ever acknowledged, and how many per second lately."""

    messages: int
    acknowledged: int
    rate: float


def take(chosen: DeploymentSettings) -> Snapshot:
    """Return what can be found out now; a server in trouble raises nothing. Takes up to 6 s."""
    with ThreadPoolExecutor(4) as pool:
        services = pool.submit(replicas.ask, chosen.addresses)
        keydb_says = pool.submit(or_down, partial(ask_keydb, chosen))
        rabbitmq_says = pool.submit(or_down, partial(ask_rabbitmq, chosen, unacknowledged))
        postgres_says = pool.submit(or_down, partial(ask_postgres, chosen, keydb_says.result))
        said = (postgres_says.result(), rabbitmq_says.result(), keydb_says.result())
        return together(chosen, *said, services.result())


def together(
    chosen: DeploymentSettings,
    postgres_says: KnownLedger | Down,
    queues: Queues | Down,
    shown: Shown | Down,
    services: list[Service],
) -> Snapshot:
    """Return what each said as what was found at one moment."""
    ledger, known = (postgres_says, None) if isinstance(postgres_says, Down) else postgres_says
    if isinstance(shown, Shown):
        shown = replace(shown, known=known)
    interval_s = _interval_s(chosen, ledger)
    return Snapshot(interval_s, ledger, queues, shown, services, chosen.composed)


def _interval_s(chosen: DeploymentSettings, ledger: Ledger | Down) -> float:
    # The ticks themselves say it where the setting was forgotten here.
    measured = None if isinstance(ledger, Down) else ledger.interval_s
    return min(chosen.tick_interval_seconds, measured or chosen.tick_interval_seconds)


def or_down(ask: Callable[[], T]) -> T | Down:
    """Return the answer of a server, or that it is down and why."""
    try:
        return ask()
    except Unavailable as error:
        kinds = {Busy: Occupied, Denied: Refuses}
        return kinds.get(type(error), Down)(error.detail)


def ask_postgres(chosen: DeploymentSettings, shown: Callable[[], Shown | Down]) -> KnownLedger:
    """Return what Postgres says, and whether it wrote the tick `shown`. Raises `Unavailable`."""
    with postgres.connection(chosen, application="ops", options=OPTIONS) as conn:
        ledger, in_keydb = store.read(conn, chosen.postgres_disk_bytes), shown()
        if ledger.tick is None or isinstance(in_keydb, Down):
            return ledger, None
        return ledger, is_known(conn, in_keydb)


def is_known(conn: psycopg.Connection, shown: Shown) -> bool:
    """Say whether this Postgres wrote the tick that KeyDB shows."""
    mark = parse_watermark(shown.epoch, shown.token, "").watermark
    return mark is not None and store.is_known(conn, mark.epoch, mark.token)


def ask_rabbitmq(chosen: DeploymentSettings, held: Held) -> Queues:
    """Return what RabbitMQ says; `held` is asked for what ingest holds. Raises `Unavailable`."""
    of_ticks = chosen.own_shard.name(ticks.QUEUE)
    stats = queue_stats.inspect(chosen, [chosen.source, of_ticks], name="ops")
    queue, is_stream = stats.queues[chosen.source], bool(chosen.ingest_stream)
    return Queues(
        stats.version,
        chosen.source,
        queue,
        stats.queues[of_ticks],
        is_stream=is_stream,
        unacknowledged=held(chosen) if queue and not is_stream else None,
    )


def unacknowledged(chosen: DeploymentSettings) -> Unacknowledged | Down | None:
    """Return what is not acknowledged; None where the management page is not set."""
    if not chosen.rabbitmq_management_url.get_secret_value():
        return None
    page = Page(chosen)
    try:
        first = now = sample(page, chosen.source)
        until = time.monotonic() + COUNTED_ANEW_S
        while now.messages and not first.rate and now.acknowledged == first.acknowledged:
            if time.monotonic() > until:
                return Unacknowledged(now.messages, stuck=True)
            time.sleep(PAUSE_S)
            now = sample(page, chosen.source)
    except Unavailable as error:
        return Down(f"management page: {error.detail}")
    return Unacknowledged(now.messages, stuck=False)


def sample(page: Page, queue: str) -> Sample:
    """Return what the management page says now of a queue. Raises `Unavailable`."""
    found = page.queue(queue)
    stats = found.get("message_stats") or {}
    rate = (stats.get("ack_details") or {}).get("rate", 0.0)
    return Sample(found.get("messages_unacknowledged", 0), stats.get("ack", 0), rate)


def ask_keydb(chosen: DeploymentSettings) -> Shown:
    """Return what KeyDB says. Raises `Unavailable`."""
    with keydb.client(chosen, name="ops") as client:
        with keydb.translating(client):
            info: dict[str, Any] = client.info("server")
            seconds, micros = client.time()
        fields, keys = _watermark(client, chosen.own_shard)
        return Shown(
            str(info.get("redis_version", "unknown")),
            datetime.fromtimestamp(seconds + micros / 1e6, UTC),
            fields["epoch"],
            fields["token"],
            _time(fields["boundary"]),
            _time(fields["applied_at"]),
            keys,
        )


def _watermark(client: keydb.Client, shard: Shard) -> tuple[dict[str, str], int]:
    names = ["epoch", "token", "boundary", "applied_at"]
    try:
        with keydb.translating(client):
            values = client.hmget(shard.key(WATERMARK_KEY), names)
            keys = int(client.scard(shard.key(KEYS_KEY)))
    except Unavailable as error:
        if not keydb.wrong_type(error):
            raise
        values, keys = [None] * len(names), 0  # somebody else's: the syncer takes it for missing
    return dict(zip(names, (str(one or "") for one in values), strict=True)), keys


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
