"""The record of batches in `operator_action`: looked up before a batch is sent, and kept.

Sending needs no Postgres, but for names given by people: without one copies cannot be noticed, and
the answer says so.
"""

from collections.abc import Callable, Sequence

import psycopg

from ops import deployment
from ops.sending import store
from ops.sending.batch import Batch, Earlier, objection, same_lines
from ops.wording import visible
from shared import settings
from shared.errors import Refusal, Unavailable

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
            store.lock(conn)
            for batch in self.batches:
                found = store.earlier(conn, batch)
                if why := objection(batch, found, again=again, not_a_copy=not_a_copy):
                    return why
                same = [one for one in found if one.name == batch.name and not one.whole]
                self.resumed += same[-1:]
            store.note(conn, self.batches, store.BEGUN, operator)
            return None

        why = same_lines(self.batches, not_a_copy=not_a_copy) or self._kept(work)
        if why := why or self._unknown_name():
            raise Refusal(f"nothing was sent: {why}")

    def end(self, *, whole: bool) -> None:
        """Note whether all was confirmed."""

        def work(conn: psycopg.Connection, operator: str) -> None:
            outcome = store.WHOLE if whole else store.INCOMPLETE
            store.note(conn, self.batches, outcome, operator)

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
            with deployment.ledger(chosen) as conn, conn.transaction():
                return work(conn, chosen.operator)
        except (Unavailable, Refusal) as error:
            self.trouble = str(error)
        return None
