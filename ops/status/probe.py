"""One look at the three servers, at once; one that is down is part of the picture."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from ops.deployment import DeploymentSettings
from ops.status import replicas, store, unacknowledged
from ops.status.snapshot import Down, Ledger, Occupied, Queues, Refuses, Seen, Shown
from services.syncer.core import parse_watermark
from services.syncer.projection import KEYS_KEY, WATERMARK_KEY
from services.syncer.tick_store import OPTIONS
from shared import keydb, postgres
from shared.amqp import queue_stats, ticks
from shared.errors import Busy, Denied, Unavailable

T = TypeVar("T")


def look(chosen: DeploymentSettings) -> Seen:
    """Return what can be seen now; raises nothing because a server is in trouble."""
    with ThreadPoolExecutor(4) as pool:
        at_services = pool.submit(replicas.look, chosen.addresses)
        at_store = pool.submit(_or_down, partial(_keydb, chosen))
        at_broker = pool.submit(_or_down, partial(_rabbitmq, chosen))
        at_ledger = pool.submit(_or_down, partial(_postgres, chosen, at_store.result))
        shown = at_store.result()
        ledger, known = _with_known(at_ledger.result())
        if isinstance(shown, Shown):
            shown = replace(shown, known=known)
        return Seen(
            _interval_s(chosen, ledger),
            ledger,
            at_broker.result(),
            shown,
            at_services.result(),
            chosen.composed,
        )


def _with_known(found: tuple[Ledger, bool | None] | Down) -> tuple[Ledger | Down, bool | None]:
    return (found, None) if isinstance(found, Down) else found


def _interval_s(chosen: DeploymentSettings, ledger: Ledger | Down) -> float:
    # Whoever forgot the setting here is told the truth by the ticks themselves.
    measured = None if isinstance(ledger, Down) else ledger.interval_s
    return min(chosen.tick_interval_seconds, measured or chosen.tick_interval_seconds)


def _or_down(look: Callable[[], T]) -> T | Down:
    try:
        return look()
    except Unavailable as error:
        kinds = {Busy: Occupied, Denied: Refuses}
        return kinds.get(type(error), Down)(error.detail)


def _postgres(
    chosen: DeploymentSettings, shown: Callable[[], Shown | Down]
) -> tuple[Ledger, bool | None]:
    with postgres.connection(chosen, application="ops", options=OPTIONS) as conn:
        ledger = store.look(conn)
        at_store = shown()
        if ledger.tick is None or isinstance(at_store, Down):
            return ledger, None
        mark = parse_watermark(at_store.epoch, at_store.token, "").watermark
        return ledger, mark is not None and store.is_known(conn, mark.epoch, mark.token)


def _rabbitmq(chosen: DeploymentSettings) -> Queues:
    seen = queue_stats.inspect(chosen, [chosen.source, ticks.QUEUE], name="ops")
    queue, is_stream = seen.queues[chosen.source], bool(chosen.ingest_stream)
    return Queues(
        seen.version,
        chosen.source,
        queue,
        seen.queues[ticks.QUEUE],
        is_stream=is_stream,
        unacknowledged=unacknowledged.look(chosen) if queue and not is_stream else None,
    )


def _keydb(chosen: DeploymentSettings) -> Shown:
    with keydb.client(chosen, name="ops") as client:
        with keydb.translating(client):
            info: dict[str, Any] = client.info("server")
            seconds, micros = client.time()
        fields, keys = _watermark(client)
        return Shown(
            str(info.get("redis_version", "unknown")),
            datetime.fromtimestamp(seconds + micros / 1e6, UTC),
            fields["epoch"],
            fields["token"],
            _time(fields["boundary"]),
            _time(fields["applied_at"]),
            keys,
        )


def _watermark(client: keydb.Client) -> tuple[dict[str, str], int]:
    names = ["epoch", "token", "boundary", "applied_at"]
    try:
        with keydb.translating(client):
            values = client.hmget(WATERMARK_KEY, names)
            keys = int(client.scard(KEYS_KEY))
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
