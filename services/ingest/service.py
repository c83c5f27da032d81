"""One batch: rows, their outbox rows and the dead letters beside them, in one commit.

Every message of the batch ends as inserted, duplicate, conflict, waiting or unfit; the counts must
add up before the commit. Whoever calls acknowledges only after `store_batch` has returned.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg
import structlog
from psycopg import errors

from services.ingest import core, store
from services.ingest.core import DeadLetter, Limits, Received, Transaction
from shared import postgres
from shared.errors import Unavailable

# Classes of SQLSTATE that speak of the row: data exceptions and broken constraints, and what a
# trigger of the user's raises. All others are the server's trouble or ours until a bisection shows
# that other rows go through.
FAULT_CLASSES = ("22", "23")
FAULT_STATES = frozenset({"P0001"})
ATTEMPTS_MAX = 5
PROMOTED_MAX = 10_000
"""Waiting messages in one statement, at most: well within the statement timeout."""

log = structlog.get_logger()


@dataclass(slots=True)
class Intake:
    """What comes in from where; `limits` are the columns', read at each connection."""

    queue: str
    identity_source: str
    batch_max: int
    body_bytes_max: int
    limits: Limits


@dataclass(slots=True)
class Outcome:
    """How the messages of a batch ended, by number; `dead` by reason."""

    inserted: int = 0
    duplicates: int = 0
    dead: Counter[str] = field(default_factory=Counter)

    def messages(self) -> int:
        """Return how many messages are accounted for."""
        return self.inserted + self.duplicates + self.dead.total()


class Miscount(AssertionError):
    """The outcomes of a batch do not add up to its messages: a bug, and nothing is committed."""


class SequenceBehind(Exception):
    """A new id clashed with one that was loaded explicitly."""


def store_batch(
    conn: psycopg.Connection,
    batch: Sequence[Received],
    intake: Intake,
    in_commit: Callable[[], None] = lambda: None,
) -> Outcome:
    """Commit what `batch` becomes, all of it or nothing, and say what that was.

    `in_commit` writes over the same connection what has to be in the same commit.

    May be repeated after a lost answer: identities make the second time a duplicate. Raises
    `Unavailable` when the server is in trouble; then nothing is known of the commit.
    """
    ready = core.sort(batch, intake.limits, intake.identity_source)
    again = ""
    with postgres.translating():
        for _ in range(ATTEMPTS_MAX):
            try:
                outcome = _commit(conn, ready, intake.queue, in_commit)
            except SequenceBehind:
                store.advance_sequence(conn)
                again = "new transaction ids clash"
            except errors.DeadlockDetected as error:
                # Two replicas hold the same messages, in another order. One of us goes on now.
                again = _words(error)
            else:
                break
            log.warning("batch_again", reason=again)
        else:
            raise Unavailable("postgres", f"{again}, again and again")
    if outcome.messages() != len(batch):
        raise Miscount(f"{outcome.messages()} outcomes for {len(batch)} messages")
    return outcome


def promote_waiting(conn: psycopg.Connection) -> int:
    """Turn messages whose provider has appeared into rows, in order; returns the rows.

    One transaction per provider. Raises `Unavailable`.
    """
    with postgres.translating():
        return sum(_promote(conn, provider_id) for provider_id in store.arrived_providers(conn))


def _commit(
    conn: psycopg.Connection, ready: core.Sorted, queue: str, in_commit: Callable[[], None]
) -> Outcome:
    """Try all at once; only if that fails look for the guilty, in a transaction of its own."""
    try:
        with conn.transaction():
            in_commit()
            return _write(conn, ready, _insert(conn, ready.transactions), [], queue)
    except psycopg.Error as error:
        _raise_unless_bisectable(conn, error)
        log.warning("batch_refused", sqlstate=error.sqlstate, messages=len(ready.transactions))
    with conn.transaction():
        in_commit()
        inserted, guilty = _bisect(conn, ready.transactions)
        return _write(conn, ready, inserted, guilty, queue)


def _write(
    conn: psycopg.Connection,
    ready: core.Sorted,
    inserted: set[str],
    guilty: Sequence[DeadLetter],
    queue: str,
) -> Outcome:
    duplicates, settled = _classify(conn, ready.transactions, inserted, guilty)
    dead = [*ready.dead, *guilty, *settled]
    store.insert_dead_letters(conn, dead, queue=queue)
    outcome = Outcome(len(inserted), ready.repeated + duplicates, core.tally(dead))
    expected = len(ready.transactions) + len(ready.dead) + ready.repeated
    if outcome.messages() != expected:
        raise Miscount(f"{outcome.messages()} outcomes for {expected} messages")
    return outcome


def _insert(conn: psycopg.Connection, transactions: Sequence[Transaction]) -> set[str]:
    return store.insert_transactions(conn, transactions) if transactions else set()


def _classify(
    conn: psycopg.Connection,
    transactions: Sequence[Transaction],
    inserted: set[str],
    guilty: Sequence[DeadLetter],
) -> tuple[int, list[DeadLetter]]:
    """Say what became of those that were not inserted: duplicates (their number), dead letters."""
    blamed = {letter.identity for letter in guilty}
    rest = [one for one in transactions if one.identity not in inserted | blamed]
    if not rest:
        return 0, []
    found = {one.identity: one for one in store.outcomes(conn, rest)}
    duplicates, dead = 0, []
    for transaction in rest:
        outcome = found[transaction.identity]
        if outcome.alike and outcome.taken:
            duplicates += 1
        elif outcome.taken:
            dead.append(core.conflict(transaction))
        else:
            dead.append(core.unknown_provider(transaction))
    return duplicates, dead


def _bisect(
    conn: psycopg.Connection, transactions: Sequence[Transaction]
) -> tuple[set[str], list[DeadLetter]]:
    inserted: set[str] = set()
    states: set[str | None] = set()

    def attempt(part: Sequence[Transaction]) -> str | None:
        try:
            with conn.transaction():  # a savepoint
                inserted.update(_insert(conn, part))
        except psycopg.Error as error:
            _raise_unless_bisectable(conn, error)
            states.add(error.sqlstate)
            return _words(error)
        return None

    guilty = core.bisect(transactions, attempt)
    if len(guilty) == len(transactions) and not all(_is_fault(state) for state in states):
        raise Unavailable("postgres", f"refuses every row alike: {sorted(map(str, states))}")
    return inserted, [core.refused(transaction, error) for transaction, error in guilty]


def _promote(conn: psycopg.Connection, provider_id: int) -> int:
    with conn.transaction():
        ids = store.lock_waiting(conn, provider_id)
        states: set[str | None] = set()
        rows = 0

        def attempt(part: Sequence[int]) -> str | None:
            nonlocal rows
            try:
                with conn.transaction():  # a savepoint: one bad row must not hold back the others
                    rows += store.promote(conn, part)
            except psycopg.Error as error:
                _raise_unless_bisectable(conn, error)
                states.add(error.sqlstate)
                return _words(error)
            return None

        try:
            blamed = [
                found
                for start in range(0, len(ids), PROMOTED_MAX)
                for found in core.bisect(ids[start : start + PROMOTED_MAX], attempt)
            ]
            if blamed and len(blamed) == len(ids) and not all(_is_fault(one) for one in states):
                log.error("waiting_refused_alike", sqlstates=sorted(map(str, states)))
                return 0  # they wait on: it is not their fault
            for guilty, error in blamed:
                store.give_up(conn, guilty, error)
        except SequenceBehind:
            store.advance_sequence(conn)
            log.warning("sequence_advanced")
            # Those not reached wait on: the next round finds free ids.
    if rows:
        log.info("waiting_promoted", provider_id=provider_id, rows=rows)
    return rows


def _raise_unless_bisectable(conn: psycopg.Connection, error: psycopg.Error) -> None:
    """Let trouble of the server's pass on, and a clash of primary keys be mended."""
    clash = isinstance(error, errors.UniqueViolation)
    if clash and error.diag.constraint_name in store.id_keys(conn):
        raise SequenceBehind from error
    if isinstance(error, postgres.TROUBLE) or conn.closed or error.sqlstate is None:
        raise error


def _is_fault(state: str | None) -> bool:
    return state is not None and (state[:2] in FAULT_CLASSES or state in FAULT_STATES)


def _words(error: psycopg.Error) -> str:
    # The primary message only: the detail quotes the row.
    return f"{error.sqlstate}: {error.diag.message_primary}"
