"""Dead letters delivered again, by the path that ingest takes, all in one transaction.

Each ends as a row (or finds that it has one) and is gone, or stays with what is wrong now. The
unique identity makes a second replay, or a redelivery at the same time, harmless.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from ops import action
from ops.dead_letters import store
from ops.dead_letters.absent import Absent
from ops.dead_letters.core import Choice, StoredDeadLetter
from ops.sending.producer import Outgoing
from services.ingest import postgres_errors, service
from services.ingest.core import DeadLetter, Delivery, Validated, validate
from services.ingest.identity import AMQP_1_0_ID, KeptProperties
from shared import column_limits
from shared.errors import Refusal
from shared.transaction_body import Limits, decode

ACTION, SENT_ON = "dead_letter_replayed", "sent_on"


@dataclass(frozen=True, slots=True)
class Edit:
    """What to send instead of what came; None leaves it as it is."""

    body: bytes | None = None
    message_id: str | None = None


@dataclass(slots=True)
class Replayed:
    """How many became rows, were rows already, or are dead still (by reason), and each dead letter.

    Those that are no transactions were `applied`, or `ignored` because what they say is known.
    Those of another shard were `sent_on` to it.
    `absent` are those that were asked for by an id and not there; `elsewhere` is how many came from
    queues that are not ours, and are left. After a dry run it says what each would become.
    """

    dry_run: bool = False
    rows: int = 0
    duplicates: int = 0
    applied: int = 0
    ignored: int = 0
    sent_on: int = 0
    dead: Counter[str] = field(default_factory=Counter)
    letters: list[dict[str, Any]] = field(default_factory=list)
    absent: list[Absent] = field(default_factory=list)
    elsewhere: int = 0

    @property
    def ids(self) -> set[int]:
        """Which dead letters there were to replay."""
        return {one["id"] for one in self.letters}


@dataclass(frozen=True, slots=True)
class Order:
    """What to replay and who asked for it; `progress` is called with how many were done.

    `send_on` publishes what is another shard's, or raises; without it that stays a dead letter.
    """

    choice: Choice
    edit: Edit
    operator: str
    limits: Limits
    note: str = ""
    dry_run: bool = False
    progress: Callable[[int], object] = lambda _: None
    send_on: Callable[[Sequence[Outgoing]], object] | None = None


def replay(conn: psycopg.Connection, order: Order, result: Replayed) -> None:
    """Replay dead letters of ingest's queue in the caller's transaction; say what became of each.

    `conn` is ingest's kind: it writes its outbox rows itself. Raises `Refusal`, psycopg's errors.
    """
    limits = column_limits.read(conn, order.limits)
    rules = service.IngestRules("", "property", store.PAGE, limits)
    postgres_errors.check_at_once(conn)
    store.lock_waiting(conn, order.choice)
    for page in store.pages(conn, order.choice, locked=True):
        _Page(conn, order, page).replay(rules, result)
        order.progress(len(page))


class _Page:
    """Some dead letters; the tag of each message is the id of its dead letter."""

    def __init__(
        self, conn: psycopg.Connection, order: Order, dead_letters: Sequence[StoredDeadLetter]
    ) -> None:
        self._conn = conn
        self._order = order
        self._dead_letters = dead_letters
        self._identities = {one.id: order.edit.message_id or one.message_id for one in dead_letters}
        self._had_rows: set[str] = set()
        self._dead: dict[int, DeadLetter] = {}
        self._sent_on: set[int] = set()

    def replay(self, rules: service.IngestRules, result: Replayed) -> None:
        """Store what can be stored, note what was done, add up."""
        if not self._dead_letters:
            return
        self._refuse_copies()
        self._had_rows = store.with_rows(self._conn, list(self._identities.values()))
        received = (self._message(one) for one in self._dead_letters)
        batch = [validate(one, rules.limits, rules.identity_source) for one in received]
        self._send_on([one for one in batch if _is_anothers(one)], rules.limits)
        ours = [one for one in batch if one.delivery.tag not in self._sent_on]
        service.store_batch(self._conn, ours, rules, self._settle, defer_dead_letters=True)
        for dead_letter_id, outcome in self._outcomes().items():
            result.rows += outcome == "row"
            result.duplicates += outcome == "duplicate"
            result.sent_on += outcome == SENT_ON
            if dead_letter_id in self._dead:
                result.dead[outcome] += 1
            result.letters.append({"id": dead_letter_id, "outcome": outcome})

    def _send_on(self, dead_letters: Sequence[Validated], limits: Limits) -> None:
        """Have the broker take what is another shard's, before its dead letter goes.

        If that is rolled back it is sent again, under the same identity.
        """
        if self._order.send_on is None or limits.shard is None or not dead_letters:
            return
        anybodys = replace(limits, shard=None)
        messages = [
            Outgoing(
                one.delivery.body,
                self._identities[one.delivery.tag],
                limits.shard.route(decode(one.delivery.body, anybodys)[0]),
                sent_on=True,
            )
            for one in dead_letters
        ]
        if not self._order.dry_run:
            self._order.send_on(messages)
        self._sent_on = {one.delivery.tag for one in dead_letters}

    def _message(self, dead_letter: StoredDeadLetter) -> Delivery:
        edit = self._order.edit
        body = dead_letter.body if edit.body is None else edit.body
        return Delivery(
            tag=dead_letter.id,
            redelivered=False,  # a person wants it stored, whatever became of it before
            properties=KeptProperties(_headers(dead_letter), edit.message_id),
            body=body,
            fallback_id=dead_letter.message_id,
        )

    def _refuse_copies(self) -> None:
        if self._order.edit == Edit():
            return
        for dead_letter in self._dead_letters:
            refuse_copy(self._conn, dead_letter, self._order.edit)

    def _settle(self, outcome: service.Outcome) -> None:
        self._dead = {one.delivery.tag: one for one in outcome.deferred}
        store.keep(self._conn, list(self._dead.values()))
        store.delete(self._conn, [one.id for one in self._dead_letters if one.id not in self._dead])
        outcomes = self._outcomes()
        actions = [
            replayed_action(one, outcomes[one.id], self._order) for one in self._dead_letters
        ]
        action.note(self._conn, actions)

    def _outcomes(self) -> dict[int, str]:
        """Return what became of each: of two with one identity the first made the row."""
        have_rows = set(self._had_rows)
        outcomes: dict[int, str] = {}
        for dead_letter in self._dead_letters:
            identity = self._identities[dead_letter.id]
            if dead_letter.id in self._sent_on:
                outcomes[dead_letter.id] = SENT_ON
                continue
            if dead_letter.id in self._dead:
                outcomes[dead_letter.id] = self._dead[dead_letter.id].reason
                continue
            outcomes[dead_letter.id] = "duplicate" if identity in have_rows else "row"
            have_rows.add(identity)
        return outcomes


def _is_anothers(one: Validated) -> bool:
    return isinstance(one, DeadLetter) and one.reason == "wrong_shard"


def replayed_action(dead_letter: StoredDeadLetter, outcome: str, order: Order) -> dict[str, Any]:
    """Return what is kept on record of a dead letter that was replayed."""
    edit = order.edit
    detail: dict[str, Any] = {
        "message_id": dead_letter.message_id,
        "reason": dead_letter.reason,
        "queue": dead_letter.queue,
    }
    if edit.message_id is not None:
        detail["new_message_id"] = edit.message_id
    if outcome == SENT_ON:  # known as well, by less than the body: it was not changed
        detail[SENT_ON] = hashlib.sha256(dead_letter.body).hexdigest()
    detail |= action.asked(order.choice.as_detail(), order.note)
    return {
        "action": ACTION,
        "subject": str(dead_letter.id),
        "outcome": outcome,
        "operator": order.operator,
        "detail": detail,
        # By it the original is known if the broker delivers it again.
        "body": dead_letter.body if edit != Edit() else None,
    }


def refuse_copy(conn: psycopg.Connection, dead_letter: StoredDeadLetter, edit: Edit) -> None:
    """Raise `Refusal` if the dead letter, edited so, is another one already."""
    body = dead_letter.body if edit.body is None else edit.body
    twin = store.twin(conn, dead_letter.id, edit.message_id or dead_letter.message_id, body)
    if twin is not None:
        raise Refusal(f"dead letter {twin} is that message already: replay it instead")


def _headers(dead_letter: StoredDeadLetter) -> dict[str, Any]:
    # An identity that was refused is not refused again: the dead letter has one by now.
    headers: dict[str, Any] = dead_letter.properties.get("headers") or {}
    return {name: value for name, value in headers.items() if name != AMQP_1_0_ID}
