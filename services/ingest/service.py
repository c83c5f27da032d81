"""One batch: rows, their outbox rows and the dead letters beside them, in one commit.

Every message of the batch ends as inserted, duplicate, conflict, waiting or unfit; the counts must
add up before the commit. Whoever calls acknowledges only after `store_batch` has returned.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import psycopg
import structlog
from psycopg import errors

from services.ingest import core, postgres_errors, processed_messages, store
from services.ingest.body import Limits
from services.ingest.core import DeadLetter, Transaction, Validated
from services.ingest.deferred import StoreDeadLetters, Unwritten, store_dead_letters
from shared import postgres
from shared.errors import StatementFailed, Unavailable

ATTEMPTS_MAX = 5
CLASHES = (errors.DeadlockDetected, errors.SerializationFailure)
"""Two replicas hold the same rows, in another order. One of us goes on now."""
log = structlog.get_logger()


@dataclass(slots=True)
class Intake:
    """What comes in from where.

    `limits` are the columns', read at each connection and before anything is out of range.
    """

    queue: str
    identity_source: str
    batch_max: int
    body_bytes_max: int
    limits: Limits


@dataclass(slots=True)
class Outcome:
    """How the messages of a batch ended, by number; `dead` by reason.

    `deferred` are neither rows nor dead letters: their message is to be kept, and tried again.
    """

    inserted: int = 0
    duplicates: int = 0
    dead: Counter[str] = field(default_factory=Counter)
    deferred: Sequence[Unwritten] = ()

    def messages(self) -> int:
        """Return how many messages are accounted for."""
        return self.inserted + self.duplicates + self.dead.total() + len(self.deferred)


InCommit = Callable[[Outcome], object]


class Miscount(AssertionError):
    """The outcomes of a batch do not add up to its messages: a bug, and nothing is committed."""


class NotOrdinary(Exception):
    """Not each message of a batch could become a row by one statement; nothing is stored."""


def store_ordinary_batch(conn: psycopg.Connection, batch: Sequence[Transaction]) -> Outcome:
    """Commit rows with their outbox rows by one statement, in one round trip.

    For a batch that `core.is_ordinary`. May be repeated after a lost answer, like `store_batch`.
    Raises `NotOrdinary`, and `Unavailable` when the server is in trouble; then nothing is known of
    the commit.
    """
    with postgres.translating():
        try:
            store.insert_all_or_none(conn, batch)
        except CLASHES as error:
            log.warning("batch_again", reason=postgres_errors.describe(error))
            raise NotOrdinary from error
        except psycopg.Error as error:
            postgres_errors.raise_if_lost(conn, error)
            if postgres_errors.is_trouble(error):
                raise
            raise NotOrdinary from error
    return Outcome(inserted=len(batch))


def store_batch(
    conn: psycopg.Connection,
    batch: Sequence[Validated],
    intake: Intake,
    in_commit: InCommit = lambda _: None,
    store_letters: StoreDeadLetters | None = None,
) -> Outcome:
    """Commit what `batch` becomes, all of it or nothing, and say what that was.

    `in_commit` is called last before the commit, with the outcome: it writes over the same
    connection what has to be in it, or raises, and nothing is committed. `store_letters` keeps the
    dead letters; it returns those that it cannot keep, and all else is committed without them.

    May be repeated after a lost answer: identities make the second time a duplicate. Raises
    `Unavailable` when the server is in trouble; then nothing is known of the commit.
    """
    write = partial(store.insert_dead_letters, queue=intake.queue)
    store_letters = store_letters or partial(store_dead_letters, write=write)
    again = ""
    with postgres.translating():
        ready = core.partition(_judged_anew(conn, batch, intake))
        for clashes in range(ATTEMPTS_MAX):
            try:
                outcome = _commit(conn, ready, store_letters, in_commit)
            except postgres_errors.SequenceBehind as behind:
                store.advance_sequence(conn, behind.table)
                again = str(behind)
            except processed_messages.AlreadyProcessed as returned:
                ready.settle(returned.identities)
                again = "settled before, and their rows are gone"
            except CLASHES as error:
                if clashes + 1 == ATTEMPTS_MAX:
                    raise
                again = postgres_errors.describe(error)
            else:
                break
            log.warning("batch_again", reason=again)
        else:
            raise Unavailable("postgres", f"{again}, again and again")
    if outcome.messages() != len(batch):
        raise Miscount(f"{outcome.messages()} outcomes for {len(batch)} messages")
    return outcome


def _judged_anew(
    conn: psycopg.Connection, batch: Sequence[Validated], intake: Intake
) -> Sequence[Validated]:
    """Judge again what was out of range: the columns may have been widened meanwhile."""
    if not any(_is_out_of_range(one) for one in batch):
        return batch
    intake.limits = store.column_limits(conn, intake.body_bytes_max)
    validate = partial(core.validate, limits=intake.limits, identity_source=intake.identity_source)
    return [validate(one.delivery) if _is_out_of_range(one) else one for one in batch]


def _is_out_of_range(validated: Validated) -> bool:
    return isinstance(validated, DeadLetter) and validated.reason == "out_of_range"


def _commit(
    conn: psycopg.Connection,
    ready: core.PartitionedBatch,
    store_letters: StoreDeadLetters,
    in_commit: InCommit,
) -> Outcome:
    """Try all at once; only if that fails look for the guilty, in a transaction of its own."""
    try:
        with conn.transaction():
            inserted = _insert(conn, ready.transactions)
            _look_after(conn, ready, inserted)
            outcome = _write(conn, ready, inserted, [], store_letters)
            in_commit(outcome)
            return outcome
    except psycopg.Error as error:
        postgres_errors.raise_unless_bisectable(conn, error)
        log.warning("batch_refused", sqlstate=error.sqlstate, messages=len(ready.transactions))
    with conn.transaction():
        postgres_errors.check_at_once(conn)
        inserted, guilty = _bisect(conn, ready.transactions)
        _look_after(conn, ready, inserted)
        outcome = _write(conn, ready, inserted, guilty, store_letters)
        in_commit(outcome)
        return outcome


def _look_after(conn: psycopg.Connection, ready: core.PartitionedBatch, inserted: set[str]) -> None:
    """See whether what came again was settled before."""
    again = [one for one in ready.transactions if one.delivery.redelivered]
    processed_messages.refuse_processed(conn, [one for one in again if one.identity in inserted])


def _write(
    conn: psycopg.Connection,
    ready: core.PartitionedBatch,
    inserted: set[str],
    guilty: Sequence[DeadLetter],
    store_letters: StoreDeadLetters,
) -> Outcome:
    duplicates, settled = _classify(conn, ready, inserted, guilty)
    dead = [*ready.dead, *guilty, *settled]
    deferred = store_letters(conn, dead)
    tally = core.tally(dead)
    tally.subtract(core.tally(letter for letter, _ in deferred))
    outcome = Outcome(len(inserted), ready.repeated + duplicates, +tally, deferred=deferred)
    expected = len(ready.transactions) + len(ready.conflicting) + len(ready.dead) + ready.repeated
    if outcome.messages() != expected:
        raise Miscount(f"{outcome.messages()} outcomes for {expected} messages")
    return outcome


def _insert(conn: psycopg.Connection, transactions: Sequence[Transaction]) -> set[str]:
    if not transactions:
        return set()
    inserted, maybe_rewritten = store.insert_transactions(conn, transactions)
    if maybe_rewritten:
        processed_messages.note(conn, [one for one in transactions if one.identity in inserted])
    return inserted


def _classify(
    conn: psycopg.Connection,
    ready: core.PartitionedBatch,
    inserted: set[str],
    guilty: Sequence[DeadLetter],
) -> tuple[int, list[DeadLetter]]:
    """Say what became of those that were not inserted: duplicates (their number), dead letters."""
    accounted = inserted | {letter.identity for letter in guilty}
    rest = [one for one in ready.transactions if one.identity not in accounted]
    waits = [core.unknown_provider] * len(rest) + [core.beside_waiting] * len(ready.conflicting)
    rest += ready.conflicting
    if not rest:
        return 0, []
    duplicates, dead = 0, []
    for transaction, wait, met in zip(rest, waits, store.outcomes(conn, rest), strict=True):
        if met.alike and (met.taken or transaction.delivery.redelivered):
            duplicates += 1
        elif met.taken:
            dead.append(core.conflict(transaction))
        else:
            dead.append(wait(transaction))
    return duplicates, dead


def _bisect(
    conn: psycopg.Connection, transactions: Sequence[Transaction]
) -> tuple[set[str], list[DeadLetter]]:
    inserted: set[str] = set()
    failures: list[psycopg.Error] = []

    def attempt(part: Sequence[Transaction]) -> str | None:
        try:
            with conn.transaction():  # a savepoint
                inserted.update(_insert(conn, part))
        except psycopg.Error as error:
            postgres_errors.raise_unless_bisectable(conn, error)
            if len(part) == 1 and postgres_errors.provider_gone(conn, error, part[0].provider_id):
                return None  # it is classified as waiting
            failures.append(error)
            return postgres_errors.describe(error)
        return None

    guilty = core.bisect(transactions, attempt)
    faultless = [error for error in failures if not postgres_errors.is_fault(error)]
    if len(guilty) == len(transactions) and faultless:
        words = postgres_errors.describe(faultless[0])
        raise StatementFailed("postgres", f"refuses every row alike: {words}")
    return inserted, [core.refused(transaction, error) for transaction, error in guilty]
