"""What kept history costs ingest and ticks, with random and with time-ordered identities.

Measured: ingest as it ships empties a queue, beside nothing and beside `--retained` kept rows
(`bench.history`), `--messages` in each of `--runs` turns that alternate; of both the messages/s and
the bytes of WAL for a message. Then `--ticks` ticks of each, half of them in a turn, beside half of
the speed that ingest keeps up with here (`tick_lateness`).

Both databases lie on one server, so the turn before may have taken the buffers of the next; a turn
is short beside what is kept. Loading ends with a checkpoint: at first Postgres logs each page whole
that is touched, the worst part of its cycle. How many messages that is depends on `max_wal_size`.
With `--since-checkpoint` so many rows come after it, before the first turn: what the rest of the
cycle is like.

Not measured: reconciliation, which reads all of history once in RECONCILE_EVERY_TICKS ticks.
"""

from statistics import fmean, median
from typing import LiteralString

import psycopg

from bench import history, load, programs
from bench.drain import drain_with
from bench.ground import IDENTITIES, Ground, Site, ground, ordinary, publish
from bench.reader import Seconds, row
from bench.result import Plan, Progress, Result, Row
from bench.tick_lateness import EVERY_SECOND, LOAD_SHARE, PROVIDERS, watched

QUESTION = "messages per second and lateness of ticks beside kept rows, in turns"
TARGETS = {"random": 0.75, "time-ordered": 0.95}

NOW: LiteralString = "SELECT (pg_current_wal_lsn() - '0/0')::float8"
NEWEST: LiteralString = "SELECT coalesce(max(id), 0) FROM historical_transactions"
SIZES: LiteralString = """
SELECT pg_total_relation_size('historical_transactions') / 1e6::float8,
       pg_relation_size('historical_transactions_message_id_key') / 1e6::float8
"""
BUFFERS: LiteralString = "SELECT current_setting('shared_buffers'), current_setting('max_wal_size')"


class Side:
    """One database, and what was seen of it."""

    def __init__(self, fresh: Ground) -> None:
        """Nothing was seen yet."""
        self.fresh = fresh
        self.per_s: list[float] = []
        self.wal_bytes: list[float] = []
        self.ticks: Seconds = []

    def drain(self, messages: int) -> None:
        """Fill the queue and let ingest empty it."""
        publish(self.fresh, ordinary(messages, identities=self.fresh.identities))
        kept, before = int(self._number(NEWEST)), self._number(NOW)
        found = drain_with(programs.ingest(), self.fresh, messages, kept)
        self.per_s.append(found.per_s)
        self.wal_bytes.append((self._number(NOW) - before) / messages)

    def sizes(self) -> tuple[float, float]:
        """Return the size of the table with its indexes, and of the identities' index, in MB."""
        with psycopg.connect(self.fresh.dsn) as conn:
            found = conn.execute(SIZES).fetchone()
        return found or (0.0, 0.0)

    def _number(self, query: LiteralString) -> float:
        with psycopg.connect(self.fresh.dsn) as conn:
            found = conn.execute(query).fetchone()
        return float(found[0]) if found else 0.0


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Compare nothing kept with `plan.retained` rows kept, for each kind of identities."""
    progress.turn("full speed of ingest")
    rate = LOAD_SHARE * load.full_speed(site, PROVIDERS, **EVERY_SECOND)
    rows: list[Row] = []
    for kind in IDENTITIES:
        with (
            ground(site, providers=PROVIDERS, identities=kind) as empty,
            ground(site, providers=PROVIDERS, identities=kind) as kept,
        ):
            history.fill(kept, plan.retained, progress, since_checkpoint=plan.since_checkpoint)
            sides = {"nothing": Side(empty), f"{plan.retained:,} rows": Side(kept)}
            for run in range(plan.runs):
                for name, side in _in_turn(sides, run):
                    progress.turn(f"{kind}, run {run + 1} of {plan.runs}: beside {name}")
                    side.drain(plan.messages)
            _watch(site, sides, rate, plan.ticks, progress)
            rows += _rows(kind, sides)
    with psycopg.connect(site.postgres.dsn("postgres")) as conn:
        buffers, wal = conn.execute(BUFFERS).fetchone() or ("?", "?")
    note = (
        f"{plan.runs} turns of {plan.messages:,} messages each, {plan.since_checkpoint:,} rows"
        f" after a checkpoint; shared_buffers {buffers}, max_wal_size {wal};"
        f" ticks beside {rate:,.0f} messages/s"
    )
    return Result("ingest_growth", QUESTION, rows, [note])


def _watch(site: Site, sides: dict[str, Side], rate: float, ticks: int, progress: Progress) -> None:
    for run in range(2):
        for name, side in _in_turn(sides, run):
            progress.turn(f"{side.fresh.identities}: ticks beside {name}")
            with site.keydb.client() as keydb:
                keydb.flushall()  # the other database's ticks
            half = (ticks + 1) // 2
            found = watched(site, side.fresh, rate, half, RECONCILE_EVERY_TICKS="0")
            side.ticks += found[0]


def _in_turn(sides: dict[str, Side], run: int) -> list[tuple[str, Side]]:
    pair = list(sides.items())
    return pair if run % 2 == 0 else pair[::-1]


def _rows(kind: str, sides: dict[str, Side]) -> list[Row]:
    """Return a row for each side; the ratio is the median over the turns, each with its pair."""
    empty = sides["nothing"]
    rows = []
    for name, side in sides.items():
        late, (table_mb, index_mb) = row("ticks", side.ticks), side.sizes()
        rows.append(
            {
                "identities": f"{kind}, {name}",
                "messages/s": median(side.per_s),
                "least": min(side.per_s),
                "most": max(side.per_s),
                "/ nothing": median(
                    mine / other for mine, other in zip(side.per_s, empty.per_s, strict=True)
                ),
                "target": None if side is empty else TARGETS[kind],
                "WAL B": fmean(side.wal_bytes),
                "table MB": table_mb,
                "index MB": index_mb,
                "tick ms": late["median ms"],
                "p99": late["p99 ms"],
            }
        )
    return rows
