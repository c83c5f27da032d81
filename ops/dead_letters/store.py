"""Dead letters in SQL. Every function works inside its caller's transaction and never commits."""

from collections.abc import Iterator, Sequence
from typing import LiteralString

import psycopg
from psycopg.rows import class_row

from ops.dead_letters.core import Choice, StoredDeadLetter
from services.ingest.core import DeadLetter
from shared.errors import Refusal

PAGE = 1000
PAGE_BYTES = 32 * 2**20
"""Dead letters beyond so many bytes of bodies are left to the next page: each may have 16 MiB."""

CHOSEN: LiteralString = """
       (%(ids)s::bigint[] IS NULL OR id = ANY (%(ids)s::bigint[]))
   AND (%(state)s::text IS NULL OR state = %(state)s::text)
   AND (%(reason)s::text IS NULL OR reason = %(reason)s::text)
   AND (%(since)s::timestamptz IS NULL OR received_at >= %(since)s::timestamptz)
   AND (%(until)s::timestamptz IS NULL OR received_at < %(until)s::timestamptz)
   AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
"""
SELECT_PAGE: LiteralString = f"""
SELECT id, message_id, reason, error, state, queue, received_at, provider_id, value, properties,
       body
  FROM dead_letter
 WHERE id IN (
       SELECT id
         FROM (SELECT id, sum(size) OVER (ORDER BY id) - size AS before
                 FROM (SELECT id, octet_length(body) AS size
                         FROM dead_letter
                        WHERE id > %(after)s
                          AND {CHOSEN}
                        ORDER BY id
                        LIMIT %(page)s) AS next) AS sized
        WHERE before < %(page_bytes)s)
   AND {CHOSEN}
 ORDER BY id
"""  # noqa: S608 - constants of ours only
SELECT_PAGE_LOCKED: LiteralString = SELECT_PAGE + "FOR UPDATE"
SELECT_IDS: LiteralString = f"""
SELECT id
  FROM dead_letter
 WHERE {CHOSEN}
 ORDER BY id
"""  # noqa: S608 - constants of ours only
COUNT_ELSEWHERE: LiteralString = f"""
SELECT count(*)
  FROM dead_letter
 WHERE queue <> ALL (%(queues)s::text[])
   AND {CHOSEN}
"""  # noqa: S608 - constants of ours only
COUNT: LiteralString = f"""
SELECT state, reason, count(*)
  FROM dead_letter
 WHERE {CHOSEN}
 GROUP BY state, reason
 ORDER BY count(*) DESC, state, reason
"""  # noqa: S608 - constants of ours only
# The lock under which ingest releases a provider's parked messages: it waits until we commit.
LOCK_WAITING: LiteralString = f"""
SELECT pg_advisory_xact_lock(hashtextextended('minutebook:waiting:' || provider_id, 0))
  FROM (SELECT DISTINCT provider_id
          FROM dead_letter
         WHERE state = 'waiting'
           AND {CHOSEN}
         ORDER BY provider_id) AS awaited
"""  # noqa: S608 - constants of ours only
SELECT_ROWS: LiteralString = """
SELECT message_id
  FROM historical_transactions
 WHERE message_id = ANY (%(identities)s::text[])
"""
SELECT_TWIN: LiteralString = """
SELECT id
  FROM dead_letter
 WHERE message_id = %(identity)s
   AND body_sha256 = sha256(%(body)s)
   AND id <> %(id)s
"""
KEEP: LiteralString = """
UPDATE dead_letter d
   SET message_id = n.message_id,
       reason = n.reason,
       error = n.error,
       state = n.state,
       provider_id = n.provider_id,
       value = n.value,
       body = n.body
  FROM unnest(%(ids)s::bigint[], %(identities)s::text[], %(reasons)s::text[], %(errors)s::text[],
              %(states)s::text[], %(provider_ids)s::bigint[], %(values)s::bigint[],
              %(bodies)s::bytea[])
       AS n (id, message_id, reason, error, state, provider_id, value, body)
 WHERE d.id = n.id
"""
DELETE: LiteralString = """
DELETE FROM dead_letter
 WHERE id = ANY (%(ids)s::bigint[])
"""


def pages(
    conn: psycopg.Connection, choice: Choice, *, locked: bool = False, after: int = 0
) -> Iterator[list[StoredDeadLetter]]:
    """Yield the chosen dead letters, oldest first, some at a time; `locked` until the commit.

    Those with an id up to `after` are left out.
    """
    query = SELECT_PAGE_LOCKED if locked else SELECT_PAGE
    wanted = choice.parameters() | {"page": PAGE, "page_bytes": PAGE_BYTES}
    with conn.cursor(row_factory=class_row(StoredDeadLetter)) as cursor:
        while page := cursor.execute(query, wanted | {"after": after}).fetchall():
            after = page[-1].id
            if choice.provider is not None:
                page = [one for one in page if one.provider == choice.provider]
            yield page


def count(conn: psycopg.Connection, choice: Choice) -> list[tuple[str, str, int]]:
    """Return state, reason and number of the chosen dead letters, of whatever provider."""
    return conn.execute(COUNT, choice.parameters()).fetchall()


def ids(conn: psycopg.Connection, choice: Choice) -> list[int]:
    """Return the ids of the chosen dead letters, oldest first."""
    if choice.provider is None:
        return [one for (one,) in conn.execute(SELECT_IDS, choice.parameters())]
    # Whose an unfit message is stands in its body only: each has to be read.
    return [one.id for page in pages(conn, choice) for one in page]


def elsewhere(conn: psycopg.Connection, choice: Choice, queues: Sequence[str]) -> int:
    """Return how many chosen dead letters there are now that came from other queues than these."""
    if choice.provider is None:
        wanted = choice.parameters() | {"queues": list(queues)}
        ((found,),) = conn.execute(COUNT_ELSEWHERE, wanted).fetchall()
        return int(found)
    # Whose an unfit message is stands in its body only: each has to be read.
    return sum(one.queue not in queues for page in pages(conn, choice) for one in page)


def lock_waiting(conn: psycopg.Connection, choice: Choice) -> None:
    """Keep ingest from releasing the chosen parked messages until the commit."""
    conn.execute(LOCK_WAITING, choice.parameters())


def with_rows(conn: psycopg.Connection, identities: Sequence[str]) -> set[str]:
    """Return those identities that have a row already."""
    return {one for (one,) in conn.execute(SELECT_ROWS, {"identities": list(identities)})}


def twin(conn: psycopg.Connection, dead_letter_id: int, identity: str, body: bytes) -> int | None:
    """Return another dead letter with this identity and body, if there is one."""
    row = conn.execute(
        SELECT_TWIN, {"id": dead_letter_id, "identity": identity, "body": body}
    ).fetchone()
    return row[0] if row else None


def keep(conn: psycopg.Connection, dead_letters: Sequence[DeadLetter]) -> None:
    """Write what is wrong with dead letters now; each message's tag is its dead letter's id.

    Raises `Refusal` unless all of them were written.
    """
    changed = conn.execute(
        KEEP,
        {
            "ids": [one.delivery.tag for one in dead_letters],
            "identities": [one.identity for one in dead_letters],
            "reasons": [one.reason for one in dead_letters],
            "errors": [one.error for one in dead_letters],
            "states": [one.state for one in dead_letters],
            "provider_ids": [one.provider_id for one in dead_letters],
            "values": [one.value for one in dead_letters],
            "bodies": [one.delivery.body for one in dead_letters],
        },
    )
    _need_all(changed.rowcount, len(dead_letters))


def delete(conn: psycopg.Connection, ids: Sequence[int]) -> None:
    """Remove dead letters that became rows or are purged. Raises `Refusal` unless all go."""
    _need_all(conn.execute(DELETE, {"ids": list(ids)}).rowcount, len(ids))


def _need_all(changed: int, wanted: int) -> None:
    if changed != wanted:
        raise Refusal(
            f"nothing was done: a rule or trigger on dead_letter let only {changed} of {wanted}"
            " dead letters change"
        )
