"""Drift put right, on request: corrections in the outbox, and a full send to KeyDB.

Nothing is overwritten. A correction is an outbox row like any other, counted by the next tick, and
says why it is there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import LiteralString

import psycopg
import structlog

from reconciliation import reconcile
from reconciliation.drift import KeydbComparison
from services.syncer.projection import Projection
from shared import postgres
from shared.errors import Refusal, Unavailable

REASON_LENGTH_MAX = 1000
ATTEMPTS_MAX = 3
"""How often KeyDB's watermark is invalidated again because a tick was published in between."""

# A statement of its own: one that had to wait then sees what the other has repaired.
LOCK: LiteralString = "SELECT pg_advisory_xact_lock(hashtextextended('minutebook:repair', 0))"
# Reading the history may take longer than a service waits for a lock otherwise.
LIMIT_WAIT: LiteralString = "SET LOCAL lock_timeout = '15min'"

# Each writer changes the user's tables and the outbox in one transaction, and a tick moves amounts
# from the outbox to the balances: what is missing is the same in every snapshot, so neither writers
# nor ticks matter here. An amount of 0 makes the next tick write the key again.
INSERT_CORRECTIONS: LiteralString = (
    reconcile.ACCOUNTS  # noqa: S608 - put together from constants
    + """, appended AS (
INSERT INTO outbox (provider_id, amount, operation, reason)
SELECT provider_id, truth - balance - unfolded, 'repaired', %(reason)s
  FROM drift
 WHERE (SELECT same_cluster FROM asked)
RETURNING provider_id, amount
)
SELECT provider_id, (d.truth - d.balance - d.unfolded)::text,
       a.amount IS NOT DISTINCT FROM d.truth - d.balance - d.unfolded
  FROM drift d
  LEFT JOIN appended a USING (provider_id)
 WHERE (SELECT same_cluster FROM asked)
"""
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Correction:
    """What a repair adds to a provider's balance at the next tick; 0 for a key only."""

    provider_id: int
    amount: int


BeforeCommit = Callable[[tuple[Correction, ...]], object]


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did: the next tick shows it, and if `resending`, sends KeyDB everything."""

    corrections: tuple[Correction, ...]
    resending: bool


def repair(
    conn: psycopg.Connection,
    projection: Projection | None,
    *,
    reason: str,
    before_commit: BeforeCommit = lambda _: None,
) -> Repaired:
    """Put right whatever differs, for a `reason` that stays with each correction.

    `before_commit` is called with the corrections, to write within the same commit.

    Safe beside writers, ticks and other repairs, and harmless when nothing differs. Raises
    `Unavailable`; what was not done then can simply be tried again.
    """
    corrections = correct_ledger(conn, reason=reason, before_commit=before_commit)
    resending = False
    if projection is not None:
        leg = reconcile.compare_keydb(conn, projection)
        resending = bool(leg.drifting) and resend(projection, leg)
    return Repaired(corrections, resending)


def correct_ledger(
    conn: psycopg.Connection, *, reason: str, before_commit: BeforeCommit = lambda _: None
) -> tuple[Correction, ...]:
    """Append what takes the balances to the user's tables, in one transaction; returns that.

    Raises `ValueError` for a reason that is empty or too long, `Unavailable`, and `Refusal` unless
    each correction is in the outbox as it should be.
    """
    if not reason.strip() or len(reason) > REASON_LENGTH_MAX:
        raise ValueError(f"a reason has 1 to {REASON_LENGTH_MAX} characters")
    with postgres.translating(), conn.transaction():
        conn.execute(reconcile.FOR_THE_WHOLE_HISTORY)
        conn.execute(LIMIT_WAIT)
        conn.execute(LOCK)
        rows = conn.execute(INSERT_CORRECTIONS, {"reason": reason}).fetchall()
        if not all(appended for _, _, appended in rows):
            raise Refusal("nothing was repaired: a rule or trigger on outbox changes corrections")
        corrections = tuple(Correction(provider_id, int(amount)) for provider_id, amount, _ in rows)
        before_commit(corrections)
    log.warning("ledger_repaired", providers=len(corrections), reason=reason)
    return corrections


def resend(projection: Projection, leg: KeydbComparison | None = None) -> bool:
    """Give up KeyDB's watermark, so that the next tick sends everything; its epoch stays.

    Returns whether that will happen. Raises `Unavailable`.
    """
    for _ in range(ATTEMPTS_MAX):
        observed = projection.read()
        if observed.watermark is None:
            return True  # there is nothing to give up
        if projection.invalidate_watermark(observed):
            log.warning(
                "keydb_disowned", epoch=observed.watermark.epoch, keys=leg and len(leg.drifting)
            )
            return True
    raise Unavailable("keydb", "its watermark moved at every attempt")
