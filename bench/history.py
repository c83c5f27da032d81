"""Kept rows of `historical_transactions`, with indexes as if they had grown message by message.

Loaded without indexes, which are built afterwards. One that is built is 90 % full in each page. So
is one that grew at its right end, as those of ids and of time-ordered identities do. One that grew
at random places is about 69 % full (a page splits into halves; Yao, "On random 2-3 trees"), so that
of random identities is built with a fill factor of 70, which is then taken back. Only the order of
the identities differs.

Values are 0: the rows are in no tick and in no outbox, and balances are right without them.
"""

import shutil
from pathlib import Path
from typing import LiteralString

import click
import docker
import psycopg

from bench.ground import Ground
from bench.result import Progress

CHUNK_ROWS = 5_000_000
BYTES_A_ROW = 400
"""What the table, its indexes and the sort for the largest of them take, and the log meanwhile."""
FILL_FACTORS = {"random": 70, "time-ordered": 90}

PREPARE: LiteralString = """
SET session_replication_role = replica;
SET synchronous_commit = off;
SET maintenance_work_mem = '512MB';
ALTER TABLE historical_transactions
    DROP CONSTRAINT historical_transactions_pkey,
    DROP CONSTRAINT historical_transactions_message_id_key,
    SET (autovacuum_enabled = false);
"""
INSERT: LiteralString = """
INSERT INTO historical_transactions (provider_id, transaction_value, message_id)
SELECT 1 + n %% 100, 0, {identity}
  FROM generate_series(%(first)s::bigint, %(last)s) AS n,
       LATERAL (SELECT gen_random_uuid()::text AS chance, lpad(to_hex(
           extract(epoch FROM now())::bigint * 1000 - (%(rows)s - n) / 10), 12, '0') AS millis) AS u
"""
IDENTITY: dict[str, LiteralString] = {
    "random": "chance",
    # Version 7: milliseconds, ten of them in each, the version, and chance.
    "time-ordered": (
        "substr(millis, 1, 8) || '-' || substr(millis, 9) || '-7' || substr(chance, 16)"
    ),
}
INDEX_IDS: LiteralString = """
CREATE UNIQUE INDEX kept_ids ON historical_transactions (id);
ALTER TABLE historical_transactions
  ADD CONSTRAINT historical_transactions_pkey PRIMARY KEY USING INDEX kept_ids
"""
INDEX_IDENTITIES: LiteralString = """
CREATE UNIQUE INDEX kept_identities ON historical_transactions (message_id)
  WITH (fillfactor = {fill_factor});
ALTER TABLE historical_transactions
  ADD CONSTRAINT historical_transactions_message_id_key UNIQUE USING INDEX kept_identities;
ALTER INDEX historical_transactions_message_id_key RESET (fillfactor)
"""
LET_VACUUM: LiteralString = "ALTER TABLE historical_transactions RESET (autovacuum_enabled)"


class NoRoom(click.ClickException):
    """The disk has no room for so many rows."""


def check_room(rows: int) -> None:
    """Raise `NoRoom` unless the engine's disk, if it is this machine's, takes `rows` more."""
    folder = Path(str(docker.from_env().info()["DockerRootDir"]))
    free = shutil.disk_usage(folder).free if folder.exists() else None
    if free is not None and free < rows * BYTES_A_ROW:
        need, have = rows * BYTES_A_ROW / 1e9, free / 1e9
        raise NoRoom(f"{rows:,} rows need {need:,.0f} GB of disk, {folder} has {have:,.0f} GB free")


def fill(
    fresh: Ground, rows: int, progress: Progress, *, frozen: bool = True, since_checkpoint: int = 0
) -> None:
    """Load `rows` rows into an empty table; `frozen`, as they are soon after they came.

    Then a checkpoint, and `since_checkpoint` rows more. Raises `NoRoom`.
    """
    check_room(rows + since_checkpoint)
    with psycopg.connect(fresh.dsn, autocommit=True) as conn:
        conn.execute(PREPARE)
        _insert(conn, fresh, rows, progress)
        progress.turn("their indexes")
        conn.execute(INDEX_IDS)
        conn.execute(INDEX_IDENTITIES.format(fill_factor=FILL_FACTORS[fresh.identities]).encode())
        if frozen:
            progress.turn("their vacuum")
            conn.execute("VACUUM (FREEZE, ANALYZE) historical_transactions")
            conn.execute(LET_VACUUM)
        conn.execute("CHECKPOINT")
        _insert(conn, fresh, since_checkpoint, progress)


def _insert(conn: psycopg.Connection, fresh: Ground, rows: int, progress: Progress) -> None:
    statement = INSERT.format(identity=IDENTITY[fresh.identities])
    for first in range(1, rows + 1, CHUNK_ROWS):
        progress.turn(f"{fresh.identities} identities: {first - 1:,} of {rows:,} rows loaded")
        last = min(first + CHUNK_ROWS - 1, rows)
        conn.execute(statement, {"first": first, "last": last, "rows": rows})
