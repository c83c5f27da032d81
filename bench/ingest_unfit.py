"""What unfit messages cost, and how many statements find the rows at fault in a batch.

Measured: the speed with every second message unfit (of six kinds, in turn) against good ones only,
in turns; and, with a CHECK that nobody told us of, how many INSERTs of transactions one batch takes
with 0, 1, 2, 4 and 8 rows at fault among 1,000, spread evenly, which takes most statements.

Not measured: the two short statements (SAVEPOINT, RELEASE) around each INSERT of a bisection.
"""

import json
import math
import uuid
from collections.abc import Iterator
from typing import LiteralString

import psycopg

from bench.drain import Drain
from bench.drain import drain_with as drain
from bench.ground import Message, Site, ground, ordinary, publish
from bench.ingest_speed import compare
from bench.programs import ingest
from bench.result import Plan, Progress, Result
from services.ingest import core, service, store
from shared import column_limits
from shared.amqp.properties import Properties
from shared.transaction_body import Limits

QUESTION = "speed with unfit messages, statements of a bisection"
BODY_MAX = 65536
BATCH = 1000
FORBIDDEN = 666
UNFIT = (
    b'{"id": 17, "value": 600',
    b'{"id": 17, "amount": 600}',
    b'{"id": 17, "value": "600"}',
    b'{"id": 17, "value": 600.0}',
    b'{"id": 17, "value": 1, "value": 2}',
    b'{"id": 17, "value": 600, "note": "\xff"}',
)
AT_FAULT = (0, 1, 2, 4, 8)
MESSAGE_ID_FLAG = b"\x00\x80"

# What a sequence gave out is not taken back with a savepoint: it counts the refused INSERTs, too.
PREPARE: LiteralString = """
ALTER TABLE historical_transactions
    ADD CONSTRAINT nobody_told_us CHECK (transaction_value <> 666);
CREATE SEQUENCE inserts MINVALUE 0 START 0;
SELECT nextval('inserts');
CREATE FUNCTION count_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('inserts');
    RETURN NULL;
END
$$;
CREATE TRIGGER count_insert
    BEFORE INSERT ON historical_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION count_insert();
"""


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Compare speeds, then count statements."""
    drains: dict[str, list[Drain]] = {"half unfit": [], "good only": []}
    for run in range(plan.runs):
        for name in sorted(drains, reverse=run % 2 == 1):
            progress.turn(f"run {run + 1} of {plan.runs}: {name}")
            drains[name].append(_turn(site, plan.messages, unfit=name == "half unfit"))
    progress.turn("bisection")
    rows = compare(drains, "half unfit", {"good only": 1 / 3})
    return Result("ingest_unfit", QUESTION, rows, [_bisections(site)])


def _turn(site: Site, messages: int, *, unfit: bool) -> Drain:
    with ground(site) as fresh:
        publish(fresh, _mixed(messages) if unfit else ordinary(messages))
        return drain(ingest(), fresh, messages)


def _mixed(count: int) -> Iterator[Message]:
    for number, (body, identity) in enumerate(ordinary(count)):
        yield (UNFIT[number // 2 % len(UNFIT)] if number % 2 else body), identity


def _bisections(site: Site) -> str:
    counts = ", ".join(f"{at_fault}: {_inserts(site, at_fault)}" for at_fault in AT_FAULT)
    depth = 2 * math.ceil(math.log2(BATCH))
    return f"INSERTs by rows at fault in {BATCH:,}: {counts} (2·log2 n = {depth} a row at fault)"


def _inserts(site: Site, at_fault: int) -> int:
    """Store one batch as the writer does and return how many INSERTs of transactions that took."""
    with (
        ground(site) as fresh,
        psycopg.connect(fresh.dsn, autocommit=True, options=store.OPTIONS) as conn,
    ):
        conn.execute(PREPARE)
        limits = column_limits.read(conn, Limits(BODY_MAX))
        rules = service.IngestRules("bench", "property", BATCH, limits)
        outcome = service.store_batch(conn, _batch(at_fault, rules), rules)
        assert outcome.dead.total() == at_fault, f"{outcome.dead.total()} dead letters"
        row = conn.execute("SELECT last_value FROM inserts").fetchone()
        return int(row[0]) if row else 0


def identified() -> Properties:
    """Return properties with a new identity and nothing else."""
    identity = str(uuid.uuid4()).encode()
    return Properties(MESSAGE_ID_FLAG + bytes([len(identity)]) + identity)


def _batch(at_fault: int, rules: service.IngestRules) -> list[core.Validated]:
    tags = {round((number + 0.5) * BATCH / at_fault) for number in range(at_fault)}
    received = (
        core.Delivery(
            tag,
            False,  # noqa: FBT003 - a named tuple
            identified(),
            json.dumps({"id": 17, "value": FORBIDDEN if tag in tags else 600}).encode(),
            "",
        )
        for tag in range(BATCH)
    )
    return [core.validate(one, rules.limits, rules.identity_source) for one in received]
