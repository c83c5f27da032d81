"""Postgres: settings that keep ingest and ticks fast as history grows. Advice, never an error."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import LiteralString

import psycopg

from ops.doctor import core
from ops.doctor.core import Check

MIB = 2**20
BUFFERS_MIN = 256 * MIB
WAL_MIN = 2048 * MIB
VACUUM_WANTED = {
    "autovacuum_vacuum_insert_scale_factor": "0",
    "autovacuum_vacuum_insert_threshold": "1000000",
    "autovacuum_freeze_min_age": "0",
    "autovacuum_vacuum_cost_limit": "100",
}
"""What the migrations set; other values that somebody chose will do."""
SET_VACUUM = "ALTER TABLE historical_transactions SET ({})"

SELECT_GROWTH: LiteralString = """
SELECT pg_size_bytes(current_setting('shared_buffers')),
       pg_size_bytes(current_setting('max_wal_size')),
       current_setting('autovacuum')::boolean AND current_setting('track_counts')::boolean,
       coalesce((SELECT jsonb_object_agg(option_name, option_value)
                   FROM pg_class c, pg_options_to_table(c.reloptions)
                  WHERE c.oid = 'historical_transactions'::regclass), '{}')
"""


@dataclass(frozen=True, slots=True)
class Growth:
    """The settings; `parameters` are the storage parameters of `historical_transactions`."""

    buffers_bytes: int
    wal_bytes_max: int
    autovacuum: bool
    parameters: Mapping[str, str]


def inspect(conn: psycopg.Connection) -> Iterator[Check]:
    """Ask the server, and assess."""
    row = conn.execute(SELECT_GROWTH).fetchone()
    if row is None:
        raise LookupError(SELECT_GROWTH)
    yield from assess(Growth(*row))


def assess(growth: Growth) -> Iterator[Check]:
    """Assess what a server is set to."""
    say = partial(core.check, "postgres")
    yield say(
        "shared_buffers",
        _mib(growth.buffers_bytes),
        warn=growth.buffers_bytes < BUFFERS_MIN,
        advice="ALTER SYSTEM SET shared_buffers to a quarter of the machine's memory, and restart:"
        " what does not fit is read for each message",
    )
    yield say(
        "max_wal_size",
        _mib(growth.wal_bytes_max),
        warn=growth.wal_bytes_max < WAL_MIN,
        advice="ALTER SYSTEM SET max_wal_size = '4GB': after each checkpoint every page is logged"
        " whole once more, and a small log means many checkpoints",
    )
    yield say(
        "autovacuum",
        "on" if growth.autovacuum else "off",
        warn=not growth.autovacuum,
        advice="ALTER SYSTEM SET autovacuum = on, and track_counts = on: else all of history is"
        " vacuumed in one go when transaction ids run out",
    )
    yield _vacuum(growth.parameters)


def _vacuum(parameters: Mapping[str, str]) -> Check:
    enabled = parameters.get("autovacuum_enabled", "true") not in {"false", "off", "0", "no"}
    missing = {name: value for name, value in VACUUM_WANTED.items() if name not in parameters}
    wanted = missing if enabled else {"autovacuum_enabled": "true", **missing}
    return core.check(
        "postgres",
        "vacuum of historical_transactions",
        "off" if not enabled else "by Postgres's defaults" if missing else "as rows come",
        warn=bool(wanted),
        advice=SET_VACUUM.format(", ".join(f"{name} = {value}" for name, value in wanted.items()))
        + ": a little after each million rows, instead of all of them at once",
    )


def _mib(size: int) -> str:
    return f"{size // MIB:,} MB"
