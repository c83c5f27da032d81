"""The SQL of accepting requests: each key once, whoever else accepts it at the same moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import LiteralString

import psycopg

from shared.ledger.request_store import ITEMS
from shared.request_message import Request, is_reply_queue

NOT_A_REPLY_QUEUE = "not_a_reply_queue"

# A question has no items: it is decided as soon as it is answered, which its sender is told.
INSERT: LiteralString = """
INSERT INTO request (id, kind, submitted_by, items, digest, numbers, provider_ids, "values",
       message_ids, bodies_sha256, reply_to, correlation_id, error, state, decided_at)
VALUES (%(key)s, %(kind)s, %(by)s, %(items)s, %(digest)b, %(numbers)b, %(provider_ids)b,
        %(values)b, %(message_ids)b, %(bodies_sha256)b, %(reply_to)s, %(correlation_id)s,
        %(error)s, %(state)s, CASE WHEN %(state)s = 'done' THEN clock_timestamp() END)
ON CONFLICT (id) DO NOTHING
RETURNING id
"""
SELECT_KNOWN: LiteralString = """
SELECT id, submitted_by, digest, published_at IS NOT NULL
  FROM request
 WHERE id = ANY (%(keys)s)
"""
# What was published before, by somebody who could not note it, is not published again. That another
# row has an item's identity does not say that the item was: then it has a dead letter.
SELECT_MISSING: LiteralString = (
    """
WITH asked AS MATERIALIZED (
    SELECT *
      FROM request
     WHERE id = ANY (%(keys)s)
), """  # noqa: S608 - put together from constants
    + ITEMS
    + """
SELECT id,
       array_agg(number) FILTER (
           WHERE NOT stored AND NOT waiting
             AND (reason IS NULL OR reason = 'id_conflict' AND NOT is_dead_letter))
  FROM item
 GROUP BY id
"""
)
# A dead letter is an item's by its bytes: those that were published, not those that were written
# down by somebody who could not publish them, and may have had the same item written otherwise.
UPDATE_BODIES: LiteralString = """
UPDATE request
   SET bodies_sha256 = (
       SELECT array_agg(coalesce(sent, noted) ORDER BY n)
         FROM unnest(bodies_sha256, %(bodies_sha256)b::bytea[])
              WITH ORDINALITY AS b (noted, sent, n))
 WHERE id = %(key)s
   AND published_at IS NULL
"""
UPDATE_PUBLISHED: LiteralString = """
UPDATE request
   SET published_at = clock_timestamp()
 WHERE id = ANY (%(keys)s)
   AND published_at IS NULL
"""
# Who repeats a request is told what becomes of it if nobody else is. Who is has nothing to wait for
# but the reply that is still to come.
UPDATE_REPLY_TO: LiteralString = """
UPDATE request
   SET reply_to = %(reply_to)s,
       correlation_id = %(correlation_id)s
 WHERE id = %(key)s
   AND (decided_at IS NULL OR xids IS NOT NULL)
   AND (reply_to IS NULL
        OR (reply_to, correlation_id)
           IS NOT DISTINCT FROM (%(reply_to)s::text, %(correlation_id)s::text))
"""
UPDATE_ANSWERED: LiteralString = """
UPDATE request
   SET replied_at = CASE WHEN %(error)s::text IS NULL THEN clock_timestamp() END,
       error = %(error)s::text
 WHERE id = %(key)s
   AND kind <> 'transactions'
"""

STATEMENTS = (
    INSERT, SELECT_KNOWN, SELECT_MISSING, UPDATE_BODIES, UPDATE_PUBLISHED, UPDATE_REPLY_TO,
    UPDATE_ANSWERED,
)  # fmt: skip
"""Tried out at each connection."""


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """Where a message's sender wants its reply; `queue` is None if it wants none."""

    queue: str | None
    correlation_id: str | None

    @property
    def error(self) -> str | None:
        """Why no reply can be sent there."""
        return NOT_A_REPLY_QUEUE if self.queue and not is_reply_queue(self.queue) else None


@dataclass(frozen=True, slots=True)
class Known:
    """What is there under a key."""

    by: str
    digest: bytes
    published: bool

    def is_same(self, request: Request) -> bool:
        """Say whether a request is this one, come again."""
        return (self.by, self.digest) == (request.by, request.digest)


def insert(conn: psycopg.Connection, requests: Mapping[str, tuple[Request, ReplyTo]]) -> set[str]:
    """Write down those whose keys are new, and return these keys; in the caller's transaction.

    In the order of their keys: two trackers that have the same ones do not wait for each other.
    """
    cursor = conn.cursor()
    rows = [_row(*requests[key]) for key in sorted(requests)]
    cursor.executemany(INSERT, rows, returning=True)
    new = set()
    while True:
        new |= {key for (key,) in cursor.fetchall()}
        if not cursor.nextset():
            return new


def _row(request: Request, to: ReplyTo) -> dict[str, object]:
    items = request.items
    is_question = request.kind != "transactions"
    return {
        "key": request.key,
        "kind": request.kind,
        "by": request.by,
        "items": len(items),
        "digest": request.digest,
        "numbers": None if is_question else list(range(len(items))),
        "provider_ids": None if is_question else [one.provider_id for one in items],
        "values": None if is_question else [one.value for one in items],
        "message_ids": None if is_question else [one.identity for one in items],
        "bodies_sha256": None if is_question else [sha256(one.body).digest() for one in items],
        "reply_to": to.queue,
        "correlation_id": to.correlation_id,
        "error": to.error,
        "state": "done" if is_question else "pending",
    }


def known(conn: psycopg.Connection, keys: Sequence[str]) -> dict[str, Known]:
    """Return what is there under each of these keys."""
    rows = conn.execute(SELECT_KNOWN, {"keys": list(keys)})
    return {key: Known(by, digest, published) for key, by, digest, published in rows}


def missing(conn: psycopg.Connection, keys: Sequence[str]) -> dict[str, set[int]]:
    """Return the items of each request of which nothing is known."""
    rows = conn.execute(SELECT_MISSING, {"keys": list(keys)})
    return {key: set(numbers or ()) for key, numbers in rows}


def note_published(
    conn: psycopg.Connection,
    keys: Sequence[str],
    again: Mapping[str, Sequence[bytes | None]],
) -> None:
    """Note that all items of these are published: they never are again.

    `again` has the items of those that were written down before: None for what was known already.
    """
    for key, bodies in again.items():
        digests = [body and sha256(body).digest() for body in bodies]
        conn.execute(UPDATE_BODIES, {"key": key, "bodies_sha256": digests})
    conn.execute(UPDATE_PUBLISHED, {"keys": list(keys)})


def adopt_reply_to(conn: psycopg.Connection, key: str, to: ReplyTo) -> bool:
    """Have a request's reply sent there, if nobody else is to get it and it is still to come."""
    given = {"key": key, "reply_to": to.queue, "correlation_id": to.correlation_id}
    return conn.execute(UPDATE_REPLY_TO, given).rowcount == 1


def note_answered(conn: psycopg.Connection, key: str, error: str | None) -> None:
    """Note that a question's answer was confirmed, or why it was not."""
    conn.execute(UPDATE_ANSWERED, {"key": key, "error": error})
