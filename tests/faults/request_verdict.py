"""What clients of the gateway posted, held against Postgres, the documents, and the replies.

A key that is known is one request: each item of it is one row or one dead letter (`verdict.py`
holds them with all other messages), its document says how many of each, and its sender was told
the same. A key that is not known was never answered 202.
"""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg

from tests.faults import addresses
from tests.faults.difference import Difference
from tests.faults.message_mixture import Sent
from tests.faults.request_mixture import BY, REFUSED, TOKEN, Posting
from tests.faults.verdict import Stored, stored
from tests.support.eventually import eventually
from tests.support.reference_ledger import Row
from tests.support.stack import Stack

SELECT_KNOWN = "SELECT id, digest, submitted_by FROM request"
CONFLICT = "idempotency_conflict"
SHOWN_LATER = ("counted_by", "shown_at")
ANSWER_S = 20.0

Document = Mapping[str, Any]
Replies = Mapping[str, Sequence[Document]]
"""What came, by correlation id."""


@dataclass(frozen=True)
class Requests:
    """What was posted under each key, and what of it the tracker took: nothing if it knows none."""

    by_key: dict[str, list[Posting]]
    taken: dict[str, list[Posting]]

    def others(self, key: str) -> list[Posting]:
        """Return the postings of other items than those that were taken."""
        return [one for one in self.by_key[key] if one not in self.taken[key]]


def requests(conn: psycopg.Connection, postings: Iterable[Posting]) -> Requests:
    """Read which requests are known."""
    known = {key: (digest, by) for key, digest, by in conn.execute(SELECT_KNOWN)}
    by_key: dict[str, list[Posting]] = defaultdict(list)
    taken: dict[str, list[Posting]] = defaultdict(list)
    for one in postings:
        by_key[one.key].append(one)
        if known.get(one.key) == (one.digest(), BY):
            taken[one.key].append(one)
    return Requests(dict(by_key), taken)


def of_keys(found: Requests) -> Iterator[Difference]:
    """Say which request was accepted, and is not known."""
    for key, postings in found.by_key.items():
        if not found.taken[key] and any(one.accepted for one in postings):
            yield Difference(f"request {key} was answered 202 and is not known", postings[0].at_s)


def sent(found: Requests) -> dict[tuple[str, bytes], Sent]:
    """Return what must be stored, as of a producer; rows that an operator deleted must not be."""
    messages = {}
    for first in _first_of_each(found):
        deleted = _deleted(found.taken[first.key])
        for item, identity in zip(first.items, first.identities(), strict=True):
            if identity not in deleted:
                reason = "refused_by_database" if item.value == REFUSED else None
                one = Sent(identity, item.body(), item.provider, item.value, reason, first.at_s)
                one.published = one.confirmed = 1
                messages[one.identity, one.body] = one
    return messages


def documents(stack: Stack, keys: Iterable[str]) -> dict[str, Document]:
    """Ask the gateway for each document, until each is decided or waits for providers only."""
    found: dict[str, Document] = {key: {} for key in keys}

    def are_final() -> bool:
        (port,) = addresses.ports(stack, "gateway", 8080)
        login = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers=login, timeout=ANSWER_S
        ) as client:
            for key in [key for key, one in found.items() if not _is_final(one)]:
                found[key] = client.get(f"/v1/requests/{key}").json()
        return all(map(_is_final, found.values()))

    with contextlib.suppress(AssertionError, httpx.HTTPError):  # what is missing is found below
        eventually(are_final, ANSWER_S)
    return found


def _is_final(document: Document) -> bool:
    if document.get("decided_at"):
        return bool(document["shown_at"] or not document["stored"])
    return bool(document.get("waiting")) and not document["missing"]


def all_of(
    stack: Stack, conn: psycopg.Connection, postings: Iterable[Posting], replies: Replies
) -> list[Difference]:
    """Hold all that clients were told against what is stored, once all is quiet."""
    found = requests(conn, postings)
    asked = documents(stack, [one.key for one in _first_of_each(found)])
    return list(of_requests(found, stored(conn), asked, replies))


def of_requests(
    found: Requests, books: Stored, asked: Mapping[str, Document], replies: Replies
) -> Iterator[Difference]:
    """Hold documents and replies against what is stored."""
    for first in _first_of_each(found):
        expected = _expected(found.taken[first.key], books)
        document = asked.get(first.key, {})
        seen = {name: document.get(name) for name in expected}
        if seen != expected:
            yield Difference(f"request {first.key} is {seen}, not {expected}", first.at_s)
        for text in (
            *_rows_back(found.taken[first.key], books),
            *_wrong_replies(found.taken[first.key], document, replies),
            *_wrong_conflicts(found, first.key, replies),
        ):
            yield Difference(f"request {first.key}: {text}", first.at_s)
    ours = {one.correlation_id: one.key for many in found.by_key.values() for one in many}
    for correlation_id, came in replies.items():
        if wrong := {one["request"] for one in came} - {ours.get(correlation_id)}:
            yield Difference(f"replies to {correlation_id} are of requests {wrong}")


def _rows_back(taken: Sequence[Posting], books: Stored) -> Iterator[str]:
    for identity in _deleted(taken):
        if rows := books.rows.get(identity):
            yield f"an operator deleted {identity}, and it is back: {rows}"


def _expected(taken: Sequence[Posting], books: Stored) -> dict[str, object]:
    """Return what the document must say of what is stored."""
    first, deleted = taken[0], _deleted(taken)
    outcomes = [
        "stored" if identity in deleted else _outcome(identity, item.body(), row, books)
        for item, identity in zip(first.items, first.identities(), strict=True)
        for row in [Row(item.provider, item.value)]
    ]
    count = Counter(outcomes)
    is_open = count["unknown_provider"] or count["missing"]
    dead = {
        one: number
        for one, number in count.items()
        if one not in {"stored", "unknown_provider", "missing"}
    }
    return {
        "request": first.key,
        "items": len(outcomes),
        "stored": count["stored"],
        "dead": dead,
        "waiting": count["unknown_provider"],
        "missing": 0,
        "state": "running" if is_open else "failed" if dead else "done",
    }


def _outcome(identity: str, body: bytes, row: Row, books: Stored) -> str:
    rows = books.rows.get(identity)
    if rows:
        return "stored" if row in rows else "id_conflict"
    return next(iter(books.dead_letters.get((identity, body), ())), "missing")


def _wrong_replies(taken: Sequence[Posting], document: Document, replies: Replies) -> Iterator[str]:
    """Say what is wrong with the replies to who posted what was taken.

    Of two who post at once one gets the reply when it is decided, the other one at once, too.
    """
    finals = 0
    for posting in taken:
        came = replies.get(posting.correlation_id, ())
        if not came and (posting.accepted or len(taken) == 1):
            yield f"no reply to {posting.correlation_id}"
        for reply in came:
            if reply.get("error") == CONFLICT:
                yield f"{posting.correlation_id} was told of a conflict with itself"
            elif reply == document:
                finals += bool(reply["decided_at"])
            elif not _is_early(reply, document, at_once=len(taken) > 1):
                yield f"{posting.correlation_id} got {reply}, not {document}"
    if document.get("decided_at") and not finals:
        yield f"no reply says what was decided: {document}"


def _is_early(reply: Document, document: Document, *, at_once: bool) -> bool:
    """Say whether a reply is one from before: only waiting items were left, or it came at once."""
    if reply.get("items") != document.get("items"):
        return False
    if reply["decided_at"] is None:
        return at_once or bool(reply["waiting"] and not reply["missing"])
    late = dict.fromkeys(SHOWN_LATER)
    return at_once and reply["shown_at"] is None and reply == {**document, **late}


def _wrong_conflicts(found: Requests, key: str, replies: Replies) -> Iterator[str]:
    for one in found.taken[key]:
        if one.conflicts:
            yield f"{one.correlation_id} was answered {CONFLICT}, and its items were taken"
    for one in found.others(key):
        came = replies.get(one.correlation_id, ())
        if one.accepted and not came:
            yield f"{one.correlation_id} has other items, and was told of no conflict"
        if wrong := [reply for reply in came if reply.get("error") != CONFLICT]:
            yield f"{one.correlation_id} has other items, and got {wrong[0]}"


def _deleted(postings: Iterable[Posting]) -> set[str]:
    return {identity for one in postings for identity in one.deleted}


def _first_of_each(found: Requests) -> Iterator[Posting]:
    return (postings[0] for postings in found.taken.values() if postings)
