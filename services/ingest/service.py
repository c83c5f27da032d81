"""One batch of messages becomes rows, their outbox rows and dead letters: all of it, or nothing.

An ordinary batch is one statement (`store_ordinary_batch`). Any other goes through these phases, in
one transaction of Postgres from the third on (`store_batch`):

1. Validate again what was out of range: columns may have been widened.
2. Partition: transactions, those that conflict with one of them, dead letters, repetitions.
3. Insert the transactions, each with its outbox row. If Postgres refuses a row, find out which.
4. Look for redelivered ones that were processed before: if one was inserted, repeat without it.
5. Classify the rest: what was not inserted is a duplicate or a dead letter.
6. Write the dead letters. What cannot be written is deferred.
7. Count: every message is accounted for.
8. Commit, after a last call back (`before_commit`): it checks that the channel still exists.

The caller acknowledges only after that.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import psycopg
import structlog
from psycopg import errors

from services.ingest import core, postgres_errors, processed_messages, store
from services.ingest.core import DeadLetter, PartitionedBatch, Transaction, Validated
from services.ingest.dead_letters import store_dead_letters
from shared import column_limits, postgres
from shared.errors import StatementFailed, Unavailable
from shared.transaction_body import Limits
from shared.unfit import Reason

ATTEMPTS_MAX = 5
CLASHES = (errors.DeadlockDetected, errors.SerializationFailure)
"""Two replicas hold the same messages, in another order: Postgres let one of them go on."""
log = structlog.get_logger()


@dataclass(slots=True)
class IngestRules:
    """Where messages come from, where their identity is, and what may become a row.

    `limits` are the columns'. They are read at each connection, and again before a message becomes
    a dead letter for being out of range.
    """

    queue: str
    identity_source: str
    batch_max: int
    limits: Limits


@dataclass(slots=True)
class Outcome:
    """How many messages of a batch became what; `dead` are dead letters by reason.

    `deferred` could become neither rows nor dead letters, for this `reason`: try them again.
    """

    inserted: int = 0
    duplicates: int = 0
    dead: Counter[Reason] = field(default_factory=Counter)
    deferred: Sequence[DeadLetter] = ()
    reason: str = ""

    def messages(self) -> int:
        """Return how many messages are accounted for."""
        return self.inserted + self.duplicates + self.dead.total() + len(self.deferred)


Callback = Callable[[Outcome], object]


class NotOrdinary(Exception):
    """Not each message of a batch could become a row by one statement; nothing is stored."""


class Miscount(AssertionError):
    """The outcomes of a batch do not add up to its messages: a bug, and nothing is committed."""


def store_ordinary_batch(conn: psycopg.Connection, batch: Sequence[Transaction]) -> Outcome:
    """Commit rows with their outbox rows by one statement, in one round trip.

    For a batch that `core.is_ordinary`. May be repeated after a lost answer, like `store_batch`.
    Raises `NotOrdinary`, and `Unavailable` when the server is in trouble; then nothing is known of
    the commit.
    """
    with postgres.translating():
        try:
            store.insert_all_or_none(conn, batch)
        except psycopg.Error as error:
            postgres_errors.raise_if_lost(conn, error)
            if isinstance(error, CLASHES):
                log.warning("batch_again", reason=postgres.detail(error))
            elif postgres_errors.is_trouble(error):
                raise
            raise NotOrdinary from error
    return Outcome(inserted=len(batch))


def store_batch(
    conn: psycopg.Connection,
    batch: Sequence[Validated],
    rules: IngestRules,
    before_commit: Callback = lambda _: None,
    *,
    defer_dead_letters: bool = False,
) -> Outcome:
    """Commit what `batch` becomes, all of it or nothing, and say what that was.

    `before_commit` is called with the outcome: it writes over the same connection what must be in
    the commit, or raises, and nothing is committed. With `defer_dead_letters` dead letters are not
    written, but returned as deferred.

    May be repeated after a lost answer: identities make the second time a duplicate. Raises
    `Unavailable` when the server is in trouble; then nothing is known of the commit.
    """
    reason = ""
    with postgres.translating():
        parts = core.partition(_validate_again(conn, batch, rules))
        queue = None if defer_dead_letters else rules.queue
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return _store(conn, parts, queue, before_commit)
            except postgres_errors.SequenceBehind as behind:
                store.advance_sequence(conn, behind.table)
                reason = str(behind)
            except processed_messages.AlreadyProcessed as processed:
                parts.count_as_repeated(processed.identities)
                reason = "processed before, and their rows are gone"
            except CLASHES as error:
                if attempt == ATTEMPTS_MAX:
                    raise
                reason = postgres.detail(error)
            log.warning("batch_again", reason=reason)
        raise Unavailable("postgres", f"{reason}, again and again")


def _validate_again(
    conn: psycopg.Connection, batch: Sequence[Validated], rules: IngestRules
) -> Sequence[Validated]:
    if not any(_is_out_of_range(one) for one in batch):
        return batch
    rules.limits = column_limits.read(conn, rules.limits)
    validate = partial(core.validate, limits=rules.limits, identity_source=rules.identity_source)
    return [validate(one.delivery) if _is_out_of_range(one) else one for one in batch]


def _is_out_of_range(validated: Validated) -> bool:
    return isinstance(validated, DeadLetter) and validated.reason == "out_of_range"


def _store(
    conn: psycopg.Connection, parts: PartitionedBatch, queue: str | None, before_commit: Callback
) -> Outcome:
    """Go through phases 3 to 8: insert all at once; if that fails find out what is refused."""
    try:
        with conn.transaction():
            outcome = _store_rest(conn, parts, _insert(conn, parts.transactions), [], queue)
            before_commit(outcome)
            return outcome
    except psycopg.Error as error:
        postgres_errors.raise_unless_bisectable(conn, error)
        log.warning("batch_refused", sqlstate=error.sqlstate, messages=len(parts.transactions))
    with conn.transaction():
        postgres_errors.check_at_once(conn)
        inserted, refused = _bisect(conn, parts.transactions)
        outcome = _store_rest(conn, parts, inserted, refused, queue)
        before_commit(outcome)
        return outcome


def _store_rest(
    conn: psycopg.Connection,
    parts: PartitionedBatch,
    inserted: set[str],
    refused: Sequence[DeadLetter],
    queue: str | None,
) -> Outcome:
    """Go through phases 4 to 7. Dead letters came from `queue`; without one they are deferred."""
    processed_messages.refuse_processed(conn, parts.redelivered(inserted))
    duplicates, not_rows = _classify(conn, parts, inserted | {one.identity for one in refused})
    dead = [*parts.dead, *refused, *not_rows]
    deferred, reason = store_dead_letters(conn, dead, queue) if queue else (dead, "")
    written = Counter(one.reason for one in dead) - Counter(one.reason for one in deferred)
    outcome = Outcome(len(inserted), parts.repeated + duplicates, written, deferred, reason)
    if outcome.messages() != parts.size:
        raise Miscount(f"{outcome.messages()} outcomes for {parts.size} messages")
    return outcome


def _insert(conn: psycopg.Connection, transactions: Sequence[Transaction]) -> set[str]:
    if not transactions:
        return set()
    inserted, maybe_rewritten = store.insert_transactions(conn, transactions)
    if maybe_rewritten:
        processed_messages.note(conn, [one for one in transactions if one.identity in inserted])
    return inserted


def _bisect(
    conn: psycopg.Connection, transactions: Sequence[Transaction]
) -> tuple[set[str], list[DeadLetter]]:
    """Insert what Postgres takes; return that, and what it refuses."""
    inserted: set[str] = set()
    failures: list[psycopg.Error] = []

    def attempt(part: Sequence[Transaction]) -> str | None:
        error = postgres_errors.in_savepoint(conn, lambda: inserted.update(_insert(conn, part)))
        if error is None:
            return None
        postgres_errors.raise_unless_bisectable(conn, error)
        if len(part) == 1 and postgres_errors.provider_gone(conn, error, part[0].provider_id):
            return None  # not the row's fault: `_classify` parks it
        failures.append(error)
        return postgres.detail(error)

    refused = core.bisect(transactions, attempt)
    not_of_a_row = [error for error in failures if not postgres_errors.is_fault(error)]
    if len(refused) == len(transactions) and not_of_a_row:
        said = postgres.detail(not_of_a_row[0])
        raise StatementFailed("postgres", f"refuses every row alike: {said}")
    return inserted, [core.refused(transaction, error) for transaction, error in refused]


def _classify(
    conn: psycopg.Connection, parts: PartitionedBatch, accounted: set[str]
) -> tuple[int, list[DeadLetter]]:
    """Say what became of all others: duplicates (their number), and dead letters."""
    missing = [one for one in parts.transactions if one.identity not in accounted]
    rest = missing + parts.conflicting
    dead = []
    existing = store.existing(conn, rest)
    for n, (one, (taken, alike)) in enumerate(zip(rest, existing, strict=True)):
        # A duplicate if its row is there; if not, only one that came again and is `alike`: its row
        # was deleted by hand. Any other without a row is new, and waits.
        if alike and (taken or one.delivery.redelivered):
            continue
        conflicts = n >= len(missing)  # with another of the batch
        dead.append(core.conflict(one) if taken else core.parked(one, beside_another=conflicts))
    return len(rest) - len(dead), dead
