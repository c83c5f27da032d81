"""What stays behind: dead tuples after a soak, and bytes per tick.

Measured: ingest at half of its full speed, ticker and syncer as processes with ticks of one second,
for as many seconds as `--ticks` says, while one transaction keeps its snapshot open throughout, so
that nothing could be cleaned; then dead tuples in all partitions of the outbox (pgstattuple, which
reads every page). And how much balance, tick and outbox grow with each tick of 1,000 changed
providers, indexes included, one transaction each.
"""

import time
from typing import LiteralString

import psycopg

from bench import load, programs
from bench.ground import Ground, Site, ground
from bench.result import Plan, Progress, Result, Row
from tests.support import ledger

QUESTION = "dead tuples after a soak, bytes per tick"
LOAD_SHARE = 0.5
CHANGING = 1000
TICKS_FOR_BYTES = 200
TABLES = ("balance", "tick", "outbox")

DEAD: LiteralString = """
SELECT sum((s.found).tuple_count)::bigint, sum((s.found).dead_tuple_count)::bigint
  FROM (SELECT pgstattuple(relid) AS found
          FROM pg_partition_tree(%(table)s::regclass)
         WHERE isleaf) AS s
"""
SIZE: LiteralString = """
SELECT pg_total_relation_size(%(table)s::regclass)::bigint
       + coalesce((SELECT sum(pg_total_relation_size(relid))
                     FROM pg_partition_tree(%(table)s::regclass)
                    WHERE isleaf AND level > 0), 0)::bigint
"""
WORK: LiteralString = """
INSERT INTO historical_transactions (provider_id, transaction_value)
SELECT n, 5 FROM generate_series(1, %(rows)s) AS n
"""


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Soak, then count; tick, then weigh."""
    progress.turn("full speed of ingest")
    rate = LOAD_SHARE * load.full_speed(site)
    progress.turn(f"{plan.ticks} s at {rate:,.0f} messages/s beside an idle transaction")
    with ground(site) as fresh:
        rows, dead = _soaked(fresh, rate, plan.ticks)
    progress.turn("bytes per tick")
    with ground(site, providers=CHANGING) as fresh:
        sizes = _weighed(site, fresh)
    found: list[Row] = [
        {"what": "rows in outbox", "figure": rows, "target": None},
        {"what": "dead tuples in outbox", "figure": dead, "target": 0},
    ]
    found += [
        {"what": f"{table}: bytes per tick", "figure": size, "target": None}
        for table, size in sizes.items()
    ]
    note = f"bytes: {CHANGING:,} providers changed by as many transactions, indexes included"
    return Result("tick_soak", QUESTION, found, [note])


def _soaked(fresh: Ground, rate: float, seconds: int) -> tuple[int, int]:
    with (
        psycopg.connect(fresh.dsn) as idle,
        load.ingesting(fresh),
        programs.service("syncer").running(fresh),
        programs.service("ticker", TICK_INTERVAL_SECONDS="1").running(fresh),
        load.publishing(fresh, int(rate * seconds), rate) as published,
    ):
        idle.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        idle.execute("SELECT count(*) FROM outbox")
        published()
        time.sleep(2)  # what was published last is stored and counted
        with psycopg.connect(fresh.dsn, autocommit=True) as conn:
            conn.execute("CREATE EXTENSION pgstattuple")
            found = conn.execute(DEAD, {"table": "outbox"}).fetchone()
    assert found
    assert found[0], "nothing was stored: no soak"
    return found


def _weighed(site: Site, fresh: Ground) -> dict[str, int]:
    with (
        ledger.syncing(fresh.dsn, site.keydb.url()) as syncer,
        psycopg.connect(fresh.dsn, autocommit=True) as conn,
    ):
        syncer.tick(ledger.minute(1))
        before = {table: _size(conn, table) for table in TABLES}
        for number in range(2, TICKS_FOR_BYTES + 2):
            conn.execute(WORK, {"rows": CHANGING})
            syncer.tick(ledger.minute(number))
        return {
            table: (_size(conn, table) - size) // TICKS_FOR_BYTES for table, size in before.items()
        }


def _size(conn: psycopg.Connection, table: str) -> int:
    row = conn.execute(SIZE, {"table": table}).fetchone()
    assert row
    return int(row[0])
