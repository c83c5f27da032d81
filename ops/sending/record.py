"""The record of batches in `operator_action`: looked up before a batch is sent, and kept.

Sending needs no Postgres, but for names given by people: without one copies cannot be noticed, and
the answer says so.
"""

from collections.abc import Callable, Sequence
from typing import LiteralString

import psycopg

from ops import action, deployment
from ops.sending.batch import Batch, Earlier, objection, same_lines
from ops.wording import visible
from shared import settings
from shared.errors import Refusal, Unavailable

ACTION = "batch_sent"
BEGUN, WHOLE, INCOMPLETE = "begun", "confirmed", "incomplete"

# Two people who send copies of a file at the same time must see each other's record.
LOCK: LiteralString = "SELECT pg_advisory_xact_lock(hashtextextended('minutebook:batches', 0))"
SELECT_EARLIER: LiteralString = """
SELECT a.subject, a.detail ->> 'file', a.detail ->> 'sha256', a.created_at, a.operator,
       EXISTS (SELECT
                 FROM operator_action b
                WHERE b.action = 'batch_sent'
                  AND b.subject = a.subject
                  AND b.outcome = 'confirmed'),
       (SELECT count(*)
          FROM jsonb_array_elements_text(a.detail -> 'runs') AS run
         WHERE run = ANY (%(runs)s))::int,
       jsonb_array_length(a.detail -> 'runs')
  FROM operator_action a
 WHERE a.action = 'batch_sent'
   AND a.outcome = 'begun'
   AND (a.subject = %(name)s
        OR a.detail ->> 'sha256' = %(sha256)s
        OR a.detail ->> 'file' = %(file)s
        OR a.detail -> 'runs' ?| %(runs)s)
 ORDER BY a.id
"""

Work = Callable[[psycopg.Connection, str], str | None]


class RecordSettings(settings.PostgresSettings, deployment.OperatorSettings):
    """Where the record is, and who the operator is."""


class Record:
    """The record of one command's batches; `trouble` says why it could not be kept."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        """Batches whose lines all have identities of their own need none."""
        self.batches = [one for one in batches if one.made_up]
        self.trouble = ""
        self.resumed: list[Earlier] = []
        """Batches that were begun before, and not confirmed whole."""

    def begin(self, *, again: bool, not_a_copy: bool) -> None:
        """Note what is about to be sent. Raises `Refusal` if that may have been sent before."""

        def work(conn: psycopg.Connection, operator: str) -> str | None:
            conn.execute(LOCK)
            for batch in self.batches:
                found = earlier_batches(conn, batch)
                if why := objection(batch, found, again=again, not_a_copy=not_a_copy):
                    return why
                same = [one for one in found if one.name == batch.name and not one.whole]
                self.resumed += same[-1:]
            note(conn, self.batches, BEGUN, operator)
            return None

        why = same_lines(self.batches, not_a_copy=not_a_copy) or self._kept(work)
        if why := why or self._unknown_name():
            raise Refusal(f"nothing was sent: {why}")

    def end(self, *, whole: bool) -> None:
        """Note whether all was confirmed."""

        def work(conn: psycopg.Connection, operator: str) -> None:
            outcome = WHOLE if whole else INCOMPLETE
            note(conn, self.batches, outcome, operator)

        if not self.trouble:
            self._kept(work)

    def _unknown_name(self) -> str | None:
        """A name that a person gave may stand for other lines already: those here would be lost."""
        named = [one for one in self.batches if not one.name_is_ours]
        if not (self.trouble and named):
            return None
        return (
            f"whether batch {visible(named[0].name)} stands for other lines already cannot be"
            f" looked up ({self.trouble}): try again when it can; or, if none of it was ever sent,"
            " leave --batch out"
        )

    def _kept(self, work: Work) -> str | None:
        if not self.batches:
            return None
        if not settings.given("POSTGRES_DSN"):
            self.trouble = "POSTGRES_DSN is not set"
            return None
        chosen = settings.load(RecordSettings)
        try:
            with deployment.postgres_connection(chosen) as conn, conn.transaction():
                return work(conn, chosen.operator)
        except (Unavailable, Refusal) as error:
            self.trouble = str(error)
        return None


def earlier_batches(conn: psycopg.Connection, batch: Batch) -> list[Earlier]:
    """Return the batches of the same name, content, file name or some of the same lines."""
    given = {
        "name": batch.name,
        "sha256": batch.sha256,
        "file": batch.file or None,
        "runs": batch.runs,
    }
    return [Earlier(*row) for row in conn.execute(SELECT_EARLIER, given)]


def note(conn: psycopg.Connection, batches: Sequence[Batch], outcome: str, operator: str) -> None:
    """Write that batches were begun, or how they ended. Never commits."""
    actions = []
    for one in batches:
        detail = {"file": one.file, "sha256": one.sha256, "lines": one.lines}
        if outcome == BEGUN:
            detail |= {"made_up": one.made_up, "runs": one.runs}
        actions.append(
            {"action": ACTION, "subject": one.name, "outcome": outcome, "operator": operator}
            | {"detail": detail}
        )
    action.note(conn, actions)
