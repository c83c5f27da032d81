"""Clients that post requests by HTTP, and repeat each under its key until it is answered.

They run in a process of their own. What became of their requests is held against Postgres at the
end (`request_verdict.py`); what they were answered meanwhile must be what is documented.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from typing import Any

import httpx
import psycopg

from shared.errors import Unavailable
from tests.faults import addresses
from tests.faults.difference import Difference
from tests.faults.request_mixture import REPLIES, TOKEN, Posting, RequestMixture
from tests.support.stack import Stack

CLIENTS = 32
PAUSE_S, AGAIN_S = 0.35, 1.0
ANSWER_S = 15.0
"""The gateway waits 10 s for a confirm."""
LAST_ANSWERS_S = 30.0
OLD_S = 15.0
"""Nothing of a request is on its way any more so long after it was shown: a message that has no row
any more, and that was not delivered before, would be stored."""
SAY_AGAIN = frozenset({429, 503})
DELETE = "DELETE FROM historical_transactions WHERE message_id = %s"

Document = dict[str, Any]


@dataclass
class Posted:
    """All requests, and what was wrong with their answers."""

    postings: list[Posting] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    """By status, or what came instead of one."""
    differences: list[Difference] = field(default_factory=list)

    def describe(self) -> str:
        """Return it in one line."""
        keys = Counter(one.key for one in self.postings)
        again = sum(one.attempts > 1 for one in self.postings)
        deleted = sum(bool(one.deleted) for one in self.postings)
        return (
            f"{len(self.postings)} requests posted under {len(keys)} keys, {again} more than once,"
            f" {sum(count > 1 for count in keys.values())} keys by two clients at once, {deleted}"
            f" with a row deleted; answers {dict(self.answers)}"
        )


class Clients:
    """Many clients of one gateway."""

    def __init__(self, stack: Stack, stop: Event, seed: int) -> None:
        """Nothing is posted before `run`."""
        self._stack = stack
        self._stop = stop
        self._mixture = RequestMixture(seed)
        self._client = httpx.Client(timeout=ANSWER_S, headers={"Authorization": f"Bearer {TOKEN}"})
        self._stopped_s = 0.0
        self._lock = threading.Lock()
        self.posted = Posted()

    def run(self) -> None:
        """Post until told to stop, and then until each request is answered."""
        begun: list[Future[None]] = []
        with self._client, ThreadPoolExecutor(CLIENTS) as pool:
            while not self._stop.wait(PAUSE_S):
                if sum(not one.done() for one in begun) < CLIENTS:
                    drawn = self._mixture.draw()
                    self.posted.postings += drawn
                    begun += [pool.submit(self._use, one) for one in drawn]
            self._stopped_s = time.monotonic()
        for one in begun:
            one.result()  # raises what is a mistake of ours

    def _use(self, posting: Posting) -> None:
        posting.at_s = time.monotonic()
        self._post(posting, until_answered=posting.habit != "gives up")
        if posting.habit == "again" and posting.accepted:
            self._post(posting)
        if posting.habit == "row deleted" and posting.accepted:
            self._delete_between(posting)

    def _post(self, posting: Posting, *, until_answered: bool = True) -> None:
        """Post it, again and again if it is to be answered."""
        while True:
            posting.attempts += 1
            if self._was_answered(posting) or not until_answered:
                return
            if self._is_over():
                self._note(posting, "was never answered")
                return
            threading.Event().wait(AGAIN_S)

    def _was_answered(self, posting: Posting) -> bool:
        headers = {
            "Content-Type": "application/json", "Idempotency-Key": posting.key,
            "Reply-To": REPLIES, "Correlation-Id": posting.correlation_id,
        }  # fmt: skip
        answer = self._asked("POST", "/v1/transactions", content=posting.body(), headers=headers)
        said = "nothing" if answer is None else str(answer.status_code)
        with self._lock:
            self.posted.answers[said] += 1
        if answer is None or answer.status_code in SAY_AGAIN:
            return False
        found = answer.json()
        if answer.status_code == 202:
            posting.accepted += 1
            if found != {"request": posting.key, "items": len(posting.items)}:
                self._note(posting, f"was answered 202 with {found}")
        elif found.get("reason") == "idempotency_conflict":
            posting.conflicts += 1
        else:
            self._note(posting, f"was answered {said}: {answer.text[:300]}")
        return True

    def _delete_between(self, posting: Posting) -> None:
        """Repeat it after an operator has deleted a row of it: that must not come back."""
        while not (before := self._shown(posting)):
            if self._stop.wait(AGAIN_S):
                return
        ours = _deletable(posting, before)
        if not ours or self._stop.wait(OLD_S):
            return
        posting.deleted.add(ours[0])
        if not self._within(lambda: self._was_deleted(ours[0])):
            self._note(posting, f"{ours[0]} could not be deleted")
        self._post(posting)
        after = self._within(lambda: self._shown(posting))
        if after != before:
            text = f"after a row of it was deleted and it was repeated it is {after}, not {before}"
            self._note(posting, text)

    def _shown(self, posting: Posting) -> Document | None:
        """Return its document once that will not change any more."""
        answer = self._asked("GET", f"/v1/requests/{posting.key}")
        found = answer.json() if answer is not None and answer.status_code == 200 else {}
        return found if found.get("shown_at") else None

    def _was_deleted(self, identity: str) -> bool:
        with contextlib.suppress(Unavailable, psycopg.Error):
            dsn = addresses.postgres_dsn(self._stack, "operator")
            with psycopg.connect(dsn, autocommit=True) as conn:
                conn.execute(DELETE, [identity])
                return True
        return False

    def _asked(self, method: str, path: str, **options: Any) -> httpx.Response | None:
        """Return an answer; None without one."""
        for port in addresses.ports(self._stack, "gateway", 8080):  # none while it is down
            with contextlib.suppress(httpx.TransportError):
                return self._client.request(method, f"http://127.0.0.1:{port}{path}", **options)
        return None

    def _within(self, probe: Callable[[], Any]) -> Any:
        """Return what `probe` finds, None if there is no time left for it."""
        while not (found := probe()) and not self._is_over():
            threading.Event().wait(AGAIN_S)
        return found

    def _is_over(self) -> bool:
        return self._stop.is_set() and 0 < self._stopped_s < time.monotonic() - LAST_ANSWERS_S

    def _note(self, posting: Posting, text: str) -> None:
        with self._lock:
            difference = Difference(f"request {posting.key} {text}", posting.at_s)
            self.posted.differences.append(difference)


def _deletable(posting: Posting, document: Document) -> list[str]:
    """Return identities that have a row which no other request may have a claim to."""
    dead = {one["item"] for one in document["errors"]}
    named = enumerate(zip(posting.items, posting.identities(), strict=True))
    return [name for number, (one, name) in named if one.own is None and number not in dead]


def post(seed: int, stack: Stack, stop: Event, ready: Event) -> Posted:
    """Post until told to stop; returns all requests once each is answered."""
    clients = Clients(stack, stop, seed)
    ready.set()
    clients.run()
    return clients.posted
