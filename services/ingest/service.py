"""One batch: rows, their outbox rows and the dead letters beside them, in one commit.

Every message of the batch ends as inserted, duplicate, conflict, waiting or unfit; the counts must
add up before the commit. Whoever calls acknowledges only after `store_batch` has returned.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import psycopg
import structlog
from psycopg import errors

from services.ingest import blame, core, received, store
from services.ingest.body import Limits
from services.ingest.core import DeadLetter, Judged, Transaction
from shared import postgres
from shared.errors import Unavailable

ATTEMPTS_MAX = 5
log = structlog.get_logger()


@dataclass(slots=True)
class Intake:
    """What comes in from where; `limits` are the columns', read at each connection.

    So is `rewritten`: whether triggers of the user's may store something else than was sent.
    """

    queue: str
    identity_source: str
    batch_max: int
    body_bytes_max: int
    limits: Limits
    rewritten: bool = False


@dataclass(slots=True)
class Outcome:
    """How the messages of a batch ended, by number; `dead` by reason.

    `clashes` is how often all of it was tried in vain before, mostly because of others.
    """

    inserted: int = 0
    duplicates: int = 0
    dead: Counter[str] = field(default_factory=Counter)
    clashes: int = 0

    def messages(self) -> int:
        """Return how many messages are accounted for."""
        return self.inserted + self.duplicates + self.dead.total()


class Bury(Protocol):
    """Keeps dead letters over the connection of the commit they belong to."""

    def __call__(self, conn: psycopg.Connection, letters: Sequence[DeadLetter], /) -> object:
        """Write `letters`; never commits. Called once in each attempt at a commit."""


class Miscount(AssertionError):
    """The outcomes of a batch do not add up to its messages: a bug, and nothing is committed."""


def store_batch(
    conn: psycopg.Connection,
    batch: Sequence[Judged],
    intake: Intake,
    in_commit: Callable[[], None] = lambda: None,
    bury: Bury | None = None,
) -> Outcome:
    """Commit what `batch` becomes, all of it or nothing, and say what that was.

    `in_commit` is called last before the commit: it writes over the same connection what has to
    be in it, or raises, and nothing is committed. `bury` keeps the dead letters, instead of
    inserting new ones.

    May be repeated after a lost answer: identities make the second time a duplicate. Raises
    `Unavailable` when the server is in trouble; then nothing is known of the commit.
    """
    ready = core.sort(batch)
    bury = bury or partial(store.insert_dead_letters, queue=intake.queue)
    again = ""
    with postgres.translating():
        for clashes in range(ATTEMPTS_MAX):
            try:
                outcome = _commit(conn, ready, bury, in_commit, rewritten=intake.rewritten)
            except blame.SequenceBehind:
                store.advance_sequence(conn)
                again = "new transaction ids clash"
            except received.Returned as returned:
                ready.settle(returned.identities)
                again = "settled before, and their rows are gone"
            except errors.DeadlockDetected as error:
                # Two writers hold the same rows, in another order. One of us goes on now.
                again = blame.words(error)
            else:
                outcome.clashes = clashes
                break
            log.warning("batch_again", reason=again)
        else:
            raise Unavailable("postgres", f"{again}, again and again")
    if outcome.messages() != len(batch):
        raise Miscount(f"{outcome.messages()} outcomes for {len(batch)} messages")
    return outcome


def _commit(
    conn: psycopg.Connection,
    ready: core.Sorted,
    bury: Bury,
    in_commit: Callable[[], None],
    *,
    rewritten: bool,
) -> Outcome:
    """Try all at once; only if that fails look for the guilty, in a transaction of its own."""
    try:
        with conn.transaction():
            inserted = _insert(conn, ready.transactions)
            _look_after(conn, ready, inserted, rewritten=rewritten)
            outcome = _write(conn, ready, inserted, [], bury)
            in_commit()
            return outcome
    except psycopg.Error as error:
        blame.raise_unless_bisectable(conn, error)
        log.warning("batch_refused", sqlstate=error.sqlstate, messages=len(ready.transactions))
    with conn.transaction():
        blame.check_at_once(conn)
        inserted, guilty = _bisect(conn, ready.transactions)
        _look_after(conn, ready, inserted, rewritten=rewritten)
        outcome = _write(conn, ready, inserted, guilty, bury)
        in_commit()
        return outcome


def _look_after(
    conn: psycopg.Connection, ready: core.Sorted, inserted: set[str], *, rewritten: bool
) -> None:
    """See whether what came again was settled before, and note what was stored otherwise."""
    again = [one for one in ready.transactions if one.message.redelivered]
    received.refuse_returned(conn, [one for one in again if one.identity in inserted])
    if rewritten:
        received.note(conn, [one for one in ready.transactions if one.identity in inserted])


def _write(
    conn: psycopg.Connection,
    ready: core.Sorted,
    inserted: set[str],
    guilty: Sequence[DeadLetter],
    bury: Bury,
) -> Outcome:
    duplicates, settled = _classify(conn, ready, inserted, guilty)
    dead = [*ready.dead, *guilty, *settled]
    bury(conn, dead)
    outcome = Outcome(len(inserted), ready.repeated + duplicates, core.tally(dead))
    expected = len(ready.transactions) + len(ready.rivals) + len(ready.dead) + ready.repeated
    if outcome.messages() != expected:
        raise Miscount(f"{outcome.messages()} outcomes for {expected} messages")
    return outcome


def _insert(conn: psycopg.Connection, transactions: Sequence[Transaction]) -> set[str]:
    return store.insert_transactions(conn, transactions) if transactions else set()


def _classify(
    conn: psycopg.Connection,
    ready: core.Sorted,
    inserted: set[str],
    guilty: Sequence[DeadLetter],
) -> tuple[int, list[DeadLetter]]:
    """Say what became of those that were not inserted: duplicates (their number), dead letters."""
    accounted = inserted | {letter.identity for letter in guilty}
    rest = [one for one in ready.transactions if one.identity not in accounted]
    waits = [core.unknown_provider] * len(rest) + [core.beside_waiting] * len(ready.rivals)
    rest += ready.rivals
    if not rest:
        return 0, []
    duplicates, dead = 0, []
    for transaction, wait, met in zip(rest, waits, store.outcomes(conn, rest), strict=True):
        if met.alike and (met.taken or transaction.message.redelivered):
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
    states: set[str | None] = set()

    def attempt(part: Sequence[Transaction]) -> str | None:
        try:
            with conn.transaction():  # a savepoint
                inserted.update(_insert(conn, part))
        except psycopg.Error as error:
            blame.raise_unless_bisectable(conn, error)
            if len(part) == 1 and blame.provider_gone(conn, error, part[0].provider_id):
                return None  # it is classified as waiting
            states.add(error.sqlstate)
            return blame.words(error)
        return None

    guilty = core.bisect(transactions, attempt)
    if len(guilty) == len(transactions) and not all(blame.is_fault(state) for state in states):
        raise Unavailable("postgres", f"refuses every row alike: {sorted(map(str, states))}")
    return inserted, [core.refused(transaction, error) for transaction, error in guilty]
